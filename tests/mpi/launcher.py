"""Starts programs on several MPI ranks, as a user would."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

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


def start(ranks: int, command: Sequence[str], output: IO[str] | None = None) -> subprocess.Popen[str]:
    """Start a command in a process group of its own; what it says goes to pipes, or all of it to ``output``."""
    started = [*mpiexec_command(), "-n", str(ranks), *command] if ranks else list(command)
    return subprocess.Popen(
        started,
        stdin=subprocess.DEVNULL,
        stdout=output or subprocess.PIPE,
        stderr=output or subprocess.PIPE,
        text=True,
        env=_environment(),
        start_new_session=True,
    )


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


class InTurn:
    """Commands of hpc-lstm that ranks run one after the other, for where starting takes longest.

    Each must leave its ranks alive, with one exit code on all of them: what ends by a signal or an abort needs a launch
    of its own. Ranks that have ended what they were given wait for more.
    """

    def __init__(
        self,
        ranks: int,
        folder: Path,
        commands: Sequence[Sequence[str]],
        *,
        fresh: bool = False,
        harmless: bool = False,
    ) -> None:
        """Let them begin.

        Args:
            folder: is made, and holds what they say.
            commands: words as after ``hpc-lstm``; NAME=VALUE before them is a variable of that command alone. Or a
                script, whose name ends in ".py", and its words; what it changes in modules stays so for commands
                after it, and ends with them.
            fresh: start ranks, although others wait.
            harmless: scripts among the commands change nothing in modules, so that their ranks may wait for more.
        """
        folder.mkdir()
        self._folder, self._ranks, self._commands = folder, max(ranks, 1), commands
        self._again = harmless or not any(word.endswith(".py") for words in commands for word in words[:1])
        waiting = [] if fresh else [one for one in _waiting if one.ranks == ranks]
        self._launch = waiting[0] if waiting else _Launch(ranks)
        if waiting:
            _waiting.remove(self._launch)
        self._launch.give(folder, commands)

    def finish(self, timeout: float = LIMIT_S) -> list[subprocess.CompletedProcess[str]]:
        """What each came to; its output is that of all ranks, one after the other."""
        try:
            self._launch.wait(timeout)
        except AssertionError as error:
            said = "".join(path.read_text() for path in sorted(self._folder.glob("*.err")))
            raise AssertionError(f"{error}\n{said}") from None
        if self._again:
            _waiting.append(self._launch)
        else:
            self._launch.end()
        if len(_waiting) > MOST_WAITING:
            _waiting.pop(0).end()
        return [self._result(number) for number in range(len(self._commands))]

    def kill(self) -> None:
        """End what still runs."""
        if self._launch not in _waiting:
            self._launch.kill()

    def _result(self, number: int) -> subprocess.CompletedProcess[str]:
        paths = [self._folder / f"{number}-{rank}" for rank in range(self._ranks)]
        out, err, codes = (
            [path.with_suffix(f".{kind}").read_text() for path in paths] for kind in ("out", "err", "code")
        )
        assert len(set(codes)) == 1, codes
        return subprocess.CompletedProcess(self._commands[number], int(codes[0]), "".join(out), "".join(err))


class _Launch:
    """Ranks that run commands whenever they are given some: each reads a pipe with a name, and answers in another."""

    def __init__(self, ranks: int) -> None:
        self.ranks = ranks
        self._folder = tempfile.TemporaryDirectory(prefix="hpc_lstm-ranks-")
        folder = Path(self._folder.name)
        names = ["answers", *(f"tasks-{rank}" for rank in range(max(ranks, 1)))]
        for name in names:
            os.mkfifo(folder / name)
        # To read and to write: neither waits for the other side, and what is read has no end before ``end``.
        self._answers, *self._tasks = (os.open(folder / name, os.O_RDWR) for name in names)
        self._said = (folder / "said").open("w+")
        self._process = start(ranks, [sys.executable, str(SCRIPT), str(folder)], output=self._said)

    def give(self, folder: Path, commands: Sequence[Sequence[str]]) -> None:
        """Let all ranks run commands, with this process's environment and in its folder."""
        task = {
            "folder": str(folder),
            "commands": commands,
            "environment": _environment(),
            "cwd": os.getcwd(),
        }
        for descriptor in self._tasks:
            with open(descriptor, "w", closefd=False) as pipe:
                pipe.write(json.dumps(task) + "\n")

    def wait(self, timeout: float) -> None:
        """Return when all ranks have ended what they were given; kill them if that does not come."""
        deadline, missing = time.monotonic() + timeout, len(self._tasks)
        while missing:
            if select.select([self._answers], [], [], 0.2)[0]:
                missing -= len(os.read(self._answers, missing))
            elif self._process.poll() is not None or time.monotonic() > deadline:
                code = self._process.poll()
                self.kill()
                said = Path(self._said.name).read_text()
                raise AssertionError(
                    f"hung for {timeout} s" if code is None else f"ended with {code}\n{said}"
                )
        said = Path(self._said.name).read_text()
        assert said == "", said

    def end(self) -> None:
        """Let the ranks end."""
        for descriptor in self._tasks:
            os.close(descriptor)
        try:
            code = self._process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            kill(self._process)
            raise
        said = Path(self._said.name).read_text()
        os.close(self._answers)
        self._said.close()
        self._folder.cleanup()
        assert (code, said) == (0, ""), said

    def kill(self) -> None:
        """End them at once."""
        if self._process.poll() is None:
            kill(self._process)
            self._process.wait()


# Ranks that wait for commands, those that have waited longest first, and how many launches of them: each rank holds a
# hundred megabytes.
_waiting: list[_Launch] = []
MOST_WAITING = 5


def end_waiting() -> None:
    """Let all ranks end that wait for commands."""
    while _waiting:
        _waiting.pop().end()


def launch_waiting(
    ranks: int, command: Sequence[str], timeout: float = LIMIT_S
) -> subprocess.CompletedProcess[str]:
    """As ``launch`` of a command of ``program``, where ranks may be taken that wait for it: see ``InTurn``."""
    words = command[len(program()) :]
    assert list(command[: -len(words)]) == program()
    with tempfile.TemporaryDirectory(prefix="hpc_lstm-said-") as folder:
        (done,) = InTurn(ranks, Path(folder, "said"), [words]).finish(timeout)
    return done


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
