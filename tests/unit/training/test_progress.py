"""What a run says while it goes."""

from __future__ import annotations

import io
import logging
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hpc_lstm.parallel.world import World
from hpc_lstm.runs import directory
from hpc_lstm.runs.directory import RunDirectory
from hpc_lstm.training import progress
from hpc_lstm.training.progress import ProgressDisplay, Speed, close_log, open_log


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    yield directory.at(tmp_path)
    close_log()


class Clock:
    """A clock that is set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


def test_rank_0_says_it_too_and_the_others_write(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    for rank in (0, 1):
        open_log(run, World(rank=rank, size=2)).info("rank %d speaks", rank)
    close_log()
    assert capsys.readouterr().out == "rank 0 speaks\n"
    for rank in (0, 1):
        (line,) = run.rank_log(rank).read_text().splitlines()
        assert line.endswith(f"INFO rank {rank} speaks")


def test_a_restart_appends(run: RunDirectory) -> None:
    for word in ("first", "second"):
        open_log(run, World()).info(word)
    close_log()
    assert [line.split()[-1] for line in run.rank_log(0).read_text().splitlines()] == ["first", "second"]


def test_closed_log_is_closed(run: RunDirectory) -> None:
    log = open_log(run, World())
    handlers = list(log.handlers)
    close_log()
    close_log()
    assert not set(handlers) & set(log.handlers)


def test_full_disk_under_the_log_stops_nothing(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    run.rank_log(1).parent.mkdir()
    run.rank_log(1).symlink_to("/dev/full")
    open_log(run, World(rank=1, size=2)).warning("lost")
    close_log()
    assert capsys.readouterr() == ("", "")


def test_reader_that_has_gone_stops_nothing(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Gone())
    open_log(run, World()).info("unheard")
    close_log()
    assert "unheard" in run.rank_log(0).read_text()


def test_faults_in_a_message_are_not_hidden(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    log = open_log(run, World(rank=1, size=2))
    log.info("%d", "no number")
    assert "not all arguments" in (said := capsys.readouterr().err) or "TypeError" in said


def test_speed_leaves_out_the_time_before_the_first_meeting(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    speed = Speed(5000)
    assert math.isnan(speed.samples_per_second)
    clock.now += 60  # compiling
    speed.update(5100)
    assert math.isnan(speed.samples_per_second)
    clock.now += 2
    speed.update(5300)
    assert speed.samples_per_second == 100
    clock.now += 2
    speed.update(5900)
    assert speed.samples_per_second == 200


def test_a_line_every_so_often(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock(monkeypatch)
    log = logging.getLogger("test_progress")
    caplog.set_level(logging.INFO, "test_progress")
    display = ProgressDisplay(True, 40, 10.0, log)
    for step in range(1, 41):
        clock.now += 1
        display.update(step, step / 10, 0.5, 1234.0)
    display.close()
    told = [record.getMessage() for record in caplog.records]
    assert [line.split()[1] for line in told] == ["10", "20", "30", "40"]
    assert told[0] == "step 10 of 40  epoch 1.00  loss 0.500000  1,234 samples/s"


def test_other_ranks_show_nothing(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock(monkeypatch)
    caplog.set_level(logging.INFO, "test_progress")
    display = ProgressDisplay(False, 40, 1.0, logging.getLogger("test_progress"))
    clock.now += 5
    display.update(1, 0.1, 0.5, 1.0)
    display.close()
    assert not caplog.records


def test_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen: Any = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("TERM", "xterm")
    display = ProgressDisplay(True, 40, 10.0, logging.getLogger("test_progress"))
    display.update(20, 0.5, 0.25, 99.0)
    display.close()
    display.close()
    shown = screen.getvalue()
    assert "20/40 steps" in shown
    assert "loss 0.250000" in shown
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")  # Open MPI's terminal may be a file
    ProgressDisplay(True, 40, 10.0, logging.getLogger("test_progress")).close()
    assert screen.getvalue() == shown
    assert progress.LOGGER == "hpc_lstm"


def test_what_a_thread_says_after_the_end_is_not_on_stderr(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    log = open_log(run, World())
    close_log()
    log.warning("the cluster's lease could not be renewed")
    assert capsys.readouterr() == ("", "")
