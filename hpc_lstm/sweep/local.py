"""Ranks started on this machine, one set of processes after the other."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

from hpc_lstm.errors import HpcLstmError, InputError
from hpc_lstm.jobs.mpiexec import mpiexec_command

# Lines of a failed launch's log that the error shows.
SHOWN = 3
# How long ranks may take to end when they are asked to.
GRACE_S = 20


class LaunchError(HpcLstmError):
    """A set of processes failed.

    Attributes:
        refused: it went through its runs, and some of them were refused for their settings.
    """

    refused = False


def local_launcher(given: Sequence[str]) -> list[str]:
    """The command that starts ranks, without their number: ``local.launcher``, or the ``mpiexec`` that is found.

    Raises:
        InputError: there is none.
    """
    try:
        return list(given) or mpiexec_command()
    except InputError as error:
        raise InputError(f"{error}, or set local.launcher") from None


def run(command: Sequence[str], log: Path, timeout_s: float, tick: Callable[[], None] = lambda: None) -> None:
    """Run a command to its end, its output into ``log``; ``tick`` is called every now and then meanwhile.

    Raises:
        LaunchError: it failed or took too long: what its ranks said, and where their output lies.
    """
    deadline = time.monotonic() + timeout_s
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            while process.poll() is None and time.monotonic() < deadline:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.5)
                tick()
        finally:
            late = process.poll() is None
            if late:
                _end(process)
    if late or process.returncode != 0:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        said = (line for line in lines if line.startswith("hpc-lstm: "))
        wrong = next(said, " | ".join(lines[-SHOWN:])).removeprefix("hpc-lstm: ").removeprefix("error: ")
        what = f"took more than {timeout_s:g} s" if late else f"ended with code {process.returncode}"
        error = LaunchError(f"{what}: {wrong or 'no output'}; its output is in {log}")
        error.refused = not late and process.returncode == InputError.exit_code
        raise error


@contextlib.contextmanager
def ending_on_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end this process as an exception would, so that ``run`` ends its ranks."""

    def end(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a launcher and its ranks, also those that it no longer reaches."""
    import psutil

    try:
        ranks = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        ranks = []
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for rank in ranks:
        with contextlib.suppress(psutil.NoSuchProcess):
            rank.kill()
