"""Ranks started on this machine, one set of processes after the other."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

from hpc_lstm.errors import HpcLstmError, InputError

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


def launcher(given: Sequence[str]) -> list[str]:
    """The command that starts ranks, less their number: as given, or the ``mpiexec`` of this Python or the machine.

    Open MPI is told not to refuse more ranks than cores, and not to bind them: a run's threads share its node's cores.

    Raises:
        InputError: there is none.
    """
    if given:
        return list(given)
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec") or shutil.which("mpirun")
    if found is None:
        raise InputError(
            'a sweep over ranks needs mpiexec: pip install "hpc-lstm[mpich]", load a system MPI, or set local.launcher'
        )
    said = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=60).stdout
    if "Open MPI" not in said and "OpenRTE" not in said and "PRRTE" not in said:
        return [found]
    root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    return [found, *root, "--oversubscribe", "--bind-to", "none"]


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
