"""A log file for each rank, and rank 0's lines on stdout."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpc_lstm.errors import InputError
from hpc_lstm.parallel.world import World
from hpc_lstm.runs import directory
from hpc_lstm.runs.directory import RunDirectory
from hpc_lstm.text.table import aligned
from hpc_lstm.training import log_files
from hpc_lstm.training.log_files import close_log, open_log
from hpc_lstm.training.terminal import Terminal


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    yield directory.at(tmp_path)
    close_log()


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


@pytest.mark.parametrize("what", ["file", "folder", "fifo"])
def test_nothing_is_written_through_a_link_that_somebody_else_has_left(run: RunDirectory, what: str) -> None:
    keys = run.path / "home" / "rank-00000.log"
    keys.parent.mkdir()
    keys.write_text("ssh-ed25519 AAAA own\n")
    if what == "folder":
        run.rank_log(0).parent.symlink_to(keys.parent)
    else:
        run.rank_log(0).parent.mkdir()
        if what == "file":
            run.rank_log(0).symlink_to(keys)
        else:
            os.mkfifo(run.rank_log(0))
    with pytest.raises(InputError, match="nothing is written through a symbolic link"):
        open_log(run, World())
    assert keys.read_text() == "ssh-ed25519 AAAA own\n"


def test_a_run_directory_may_be_told_from_the_folder_above(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    run = directory.at(tmp_path / "here" / ".." / "run")
    run.path.mkdir()
    try:
        open_log(run, World()).info("heard")
    finally:
        close_log()
    assert "heard" in (tmp_path / "run" / "log" / "rank-00000.log").read_text()


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
    log = open_log(run, World(rank=1, size=2))
    (to_file,) = [handler for handler in log.handlers if isinstance(handler, logging.FileHandler)]
    with open("/dev/full", "w") as full:
        to_file.stream.close()
        to_file.stream = full
        log.warning("lost")
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


def test_a_table_fits_the_terminal_and_stays_whole_in_the_file(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = "\n".join(aligned([["", "RMSSE", "direction %"], ["a simple forecast", "1.0008", "50.4"]]))
    log = open_log(run, World())
    log.info("%s", table)
    assert capsys.readouterr().out == table + "\n"
    monkeypatch.setattr(log_files, "find_terminal", lambda: Terminal(sys.stdout, 30))
    log.info("%s", table)
    close_log()
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 30
    assert run.rank_log(0).read_text().count(table) == 2


def test_faults_in_a_message_are_not_hidden(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    log = open_log(run, World(rank=1, size=2))
    log.info("%d", "no number")
    assert "not all arguments" in (said := capsys.readouterr().err) or "TypeError" in said


def test_what_a_thread_says_after_the_end_is_not_on_stderr(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    log = open_log(run, World())
    close_log()
    log.warning("the cluster's lease could not be renewed")
    assert capsys.readouterr() == ("", "")
