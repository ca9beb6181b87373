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
from hpc_lstm.parallel.starter import named_starter

# Lines of a failed launch's log that the error quotes, where its ranks printed no error of their own.
QUOTED_LINES = 3
# Seconds that ranks may take to end after SIGTERM.
GRACE_S = 20


class LaunchError(HpcLstmError):
    """A set of processes failed.

    Attributes:
        settings_refused: it went through its runs, and the settings of some of them were refused.
    """

    settings_refused = False


def local_launcher(given: Sequence[str]) -> list[str]:
    """The command that starts ranks, without their number: ``local.launcher``, or the ``mpiexec`` that is found.

    Raises:
        InputError: there is none.
    """
    try:
        return list(given) or mpiexec_command()
    except InputError as error:
        raise InputError(f"{error}, or set local.launcher") from None


def run_ranks(
    command: Sequence[str], log_file: Path, timeout_s: float, poll: Callable[[], None] = lambda: None
) -> None:
    """Run a command to its end.

    Args:
        log_file: takes its output.
        timeout_s: seconds after which it is ended.
        poll: called about twice a second meanwhile.

    Raises:
        InputError: the launcher cannot be started.
        LaunchError: it failed or took too long: the error that its ranks printed, and where their output is.
    """
    deadline = time.monotonic() + timeout_s
    with log_file.open("wb") as output:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **named_starter()},
            )
        except (OSError, ValueError) as refusal:  # also a name with a null byte
            reason = getattr(refusal, "strerror", None) or refusal
            raise InputError(
                f"local.launcher: {command[0]!r} cannot be started: {reason}; set it to what starts MPI's ranks on "
                'this machine, such as ["mpiexec"]'
            ) from None
        try:
            while process.poll() is None and time.monotonic() < deadline:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.5)
                poll()
        finally:  # also when this process is interrupted
            timed_out = process.poll() is None
            if timed_out:
                _end(process)
    if timed_out or process.returncode != 0:
        what = f"took more than {timeout_s:g} s" if timed_out else f"ended with code {process.returncode}"
        error = LaunchError(f"{what}: {_printed_error(log_file)}; its output is in {log_file}")
        error.settings_refused = not timed_out and process.returncode == InputError.exit_code
        raise error


@contextlib.contextmanager
def end_on_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end this process as an exception would, so that ``run_ranks`` ends its ranks."""

    def end(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _printed_error(log_file: Path) -> str:
    """The first error that a rank printed, or else the last lines of the output."""
    lines = [line.strip() for line in log_file.read_text(errors="replace").splitlines() if line.strip()]
    errors = (line for line in lines if line.startswith("hpc-lstm: "))
    message = next(errors, " | ".join(lines[-QUOTED_LINES:]))
    return message.removeprefix("hpc-lstm: ").removeprefix("error: ") or "no output"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a launcher and its ranks, also those that it no longer reaches."""
    import psutil

    # Hydra gives ranks sessions of their own, which a signal to the launcher's group does not reach.
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
