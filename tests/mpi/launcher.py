"""Starts programs on several MPI ranks, as a user would."""

from __future__ import annotations

import contextlib
import json
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
SCRIPT = Path(__file__).with_name("in_turn.py")


def program(*arguments: str) -> list[str]:
    """The command line of ``hpc-lstm``."""
    return [sys.executable, "-m", "hpc_lstm", *arguments]


def launch(ranks: int, command: Sequence[str], timeout: float = LIMIT_S) -> subprocess.CompletedProcess[str]:
    """Run a command on ``ranks`` ranks to its end; 0 ranks: without mpiexec."""
    return outcome(start(ranks, command), timeout)


def outcome(process: subprocess.Popen[str], timeout: float = LIMIT_S) -> subprocess.CompletedProcess[str]:
    """Wait for the end of what was started; kill it if that does not come."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        kill(process)
        out, err = process.communicate()
        raise AssertionError(f"hung for {timeout} s\n{out}\n{err}") from None
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


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


class InTurn:
    """Commands of hpc-lstm that one launch runs one after the other, for where starting takes longest.

    Each must leave its ranks alive, with one exit code on all of them: what ends by a signal or an abort needs a launch
    of its own.
    """

    def __init__(self, ranks: int, folder: Path, commands: Sequence[Sequence[str]]) -> None:
        """Start them.

        Args:
            folder: is made, and holds what they say.
            commands: words as after ``hpc-lstm``; NAME=VALUE before them is a variable of that command alone. Or a
                script, whose name ends in ".py", and its words; what it changes in modules stays so for commands
                after it.
        """
        folder.mkdir()
        self._folder, self._ranks, self._commands = folder, max(ranks, 1), commands
        self._process = start(ranks, [sys.executable, str(SCRIPT), str(folder), json.dumps(commands)])

    def finish(self, timeout: float = LIMIT_S) -> list[subprocess.CompletedProcess[str]]:
        """What each came to; its output is that of all ranks, one after the other."""
        done = outcome(self._process, timeout)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done.stdout + done.stderr
        return [self._result(number) for number in range(len(self._commands))]

    def kill(self) -> None:
        """End what still runs."""
        if self._process.poll() is None:
            kill(self._process)

    def _result(self, number: int) -> subprocess.CompletedProcess[str]:
        paths = [self._folder / f"{number}-{rank}" for rank in range(self._ranks)]
        out, err, codes = (
            [path.with_suffix(f".{kind}").read_text() for path in paths] for kind in ("out", "err", "code")
        )
        assert len(set(codes)) == 1, codes
        return subprocess.CompletedProcess(self._commands[number], int(codes[0]), "".join(out), "".join(err))


def finish_all(
    launches: Sequence[InTurn], timeout: float = LIMIT_S
) -> list[list[subprocess.CompletedProcess[str]]]:
    """What the commands of launches that run side by side came to; none is left if one does not end."""
    try:
        return [one.finish(timeout) for one in launches]
    finally:
        for one in launches:
            one.kill()


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
