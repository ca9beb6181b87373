"""Progress on rank 0, and the throughput that it shows."""

from __future__ import annotations

import io
import logging
import math
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hpc_lstm.training.progress_bar import ProgressBar, Throughput


class Clock:
    """A clock that is set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


def test_speed_leaves_out_the_time_before_the_first_meeting(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    speed = Throughput(5000)
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


def test_a_line_at_once_and_every_so_often(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock(monkeypatch)
    log = logging.getLogger("test_progress")
    caplog.set_level(logging.INFO, "test_progress")
    display = ProgressBar(True, 40, 10.0, log)
    for step in range(1, 41):
        clock.now += 1
        display.update(step, step / 10, 0.5, 1234.0)
    display.close()
    told = [record.getMessage() for record in caplog.records]
    assert [line.split()[1] for line in told] == ["1", "11", "21", "31"]
    assert told[1] == "step 11 of 40  epoch 1.10  loss 0.500000  1,234 samples/s"


def test_other_ranks_show_nothing(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock(monkeypatch)
    caplog.set_level(logging.INFO, "test_progress")
    display = ProgressBar(False, 40, 1.0, logging.getLogger("test_progress"))
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
    display = ProgressBar(True, 40, 10.0, logging.getLogger("test_progress"))
    display.update(20, 0.5, 0.25, 99.0)
    display.close()
    display.close()
    shown = screen.getvalue()
    assert "20/40 steps" in shown
    assert "loss 0.250000" in shown
    monkeypatch.setenv(
        "OMPI_COMM_WORLD_SIZE", "2"
    )  # Open MPI's terminal may be a file: its launcher's counts
    ProgressBar(True, 40, 10.0, logging.getLogger("test_progress")).close()
    assert screen.getvalue() == shown


def test_without_colour_there_is_still_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen: Any = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    display = ProgressBar(True, 40, 10.0, logging.getLogger("test_progress"))
    display.update(20, 0.5, 0.25, math.nan)
    print("a line for the file")
    display.close()
    assert "20/40 steps" in screen.getvalue()
    assert "samples/s" not in screen.getvalue()
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", screen.getvalue())
    assert sys.stdout.getvalue() == "a line for the file\n"  # type: ignore[attr-defined]


LAUNCHED = """
import os, sys
os.environ["PMI_SIZE"] = "2"
from hpc_lstm.training.terminal import find_terminal
found = find_terminal()
print(found and (found.stream.name, found.width, found.forwarded))
"""


@pytest.mark.parametrize(("on_terminal", "found"), [(True, "('<stdout>', 57, True)"), (False, "None")])
def test_the_launchers_terminal_counts(tmp_path: Path, on_terminal: bool, found: str) -> None:
    launcher = tmp_path / "mpiexec"  # forwards its rank's output by a pipe, as launchers do
    launcher.write_text('#!/bin/sh\n"$@" | cat\n')
    launcher.chmod(0o755)
    command = f"{launcher} {sys.executable} -c '{LAUNCHED}'"
    if on_terminal:
        command = f"script -qec 'stty cols 57; . /dev/stdin' /dev/null <<'END'\n{command}\nEND"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == found, done.stdout
