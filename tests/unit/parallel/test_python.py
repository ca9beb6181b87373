"""Processes that this package starts find its modules, and none in the working directory."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from hpc_lstm import __version__
from hpc_lstm.processes import PYTHON


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-m", "hpc_lstm", "--version"], f"hpc-lstm, version {__version__}"),
        (["-c", "import signal, mine, hpc_lstm; print(mine.NAME, signal.SIGTERM.name)"], "mine SIGTERM"),
    ],
)
def test_modules_of_the_working_directory_are_not_taken_for_others(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    for folder in (here, elsewhere):
        folder.mkdir()
    for name in ("signal", "runpy", "mine"):
        (here / f"{name}.py").write_text("raise SystemExit('of the working directory')\n")
    (elsewhere / "mine.py").write_text("NAME = 'mine'\n")
    environment = {**os.environ, "PYTHONPATH": str(elsewhere)}
    done = subprocess.run([*PYTHON, *arguments], cwd=here, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == said, done.stderr
