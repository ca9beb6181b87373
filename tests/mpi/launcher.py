"""Starts programs on several MPI ranks, as a user would."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hpc_lstm.jobs.mpiexec import mpiexec_command

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 120


def program(*arguments: str) -> list[str]:
    """The command line of ``hpc-lstm``."""
    return [sys.executable, "-m", "hpc_lstm", *arguments]


def launch(ranks: int, command: Sequence[str], timeout: float = LIMIT_S) -> subprocess.CompletedProcess[str]:
    """Run a command on ``ranks`` ranks to its end; 0 ranks: without mpiexec."""
    process = start(ranks, command)
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        kill(process)
        out, err = process.communicate()
        raise AssertionError(f"hung for {timeout} s\n{out}\n{err}") from None
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def start(ranks: int, command: Sequence[str]) -> subprocess.Popen[str]:
    """Start a command in a process group of its own."""
    started = [*mpiexec_command(), "-n", str(ranks), *command] if ranks else list(command)
    return subprocess.Popen(
        started,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )


def kill(process: subprocess.Popen[str]) -> None:
    """SIGKILL everything that was started, as a node that loses power would."""
    for pid in [*ranks_of(process), process.pid]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def ranks_of(process: subprocess.Popen[str]) -> list[int]:
    """Process ids of all that descends from ``process``, the deepest last; Hydra gives ranks sessions of their own."""
    import psutil

    try:
        return [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def wait_until(
    condition: Callable[[], bool], process: subprocess.Popen[str], timeout: float = LIMIT_S
) -> None:
    """Return when the condition holds; fail if the process ends first."""
    deadline = time.monotonic() + timeout
    while not condition():
        if process.poll() is not None:
            out, err = process.communicate()
            raise AssertionError(f"ended early with {process.returncode}\n{out}\n{err}")
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)
