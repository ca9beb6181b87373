"""Processes: helpers that a command starts and waits for, what it does not wait for, and whether others live."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Name of threads that a command does not wait for, which may be in the code of a library when it ends.
LEFT_BEHIND = "hpc_lstm left behind"
# A Python that reads nothing of the user's, and writes no bytecode: on a full disk it would be cut off, unnoticed by
# Python before 3.12.8, and no later process could import the module.
ISOLATED = (sys.executable, "-I", "-S", "-B")
# A Python that runs ``-m MODULE`` or ``-c CODE`` with this one's packages, whatever lies in the working directory.
PYTHON = (sys.executable, str(Path(__file__).absolute().parent / "parallel" / "python.py"))
# Schedulers and terminals send these to all processes of a job.
_TO_JOBS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGINT)


def run_helper(command: Sequence[str], timeout_s: float, **options: Any) -> subprocess.CompletedProcess[Any]:
    """As ``subprocess.run`` without ``check``, but signals that ask the job to stop do not end the helper.

    It ends by itself, after ``timeout_s``, or when this process is interrupted. Otherwise a run that was asked to stop
    while it starts would take the helper's end for a failure of what it was to do.

    Args:
        options: of ``subprocess.Popen``.

    Raises:
        OSError: it cannot be started.
        subprocess.TimeoutExpired: it was killed.
    """
    with _blocked(_TO_JOBS):  # as its children inherit
        process = subprocess.Popen(command, **options)
    with process:
        try:
            out, err = process.communicate(timeout=timeout_s)
        except BaseException:  # too late, or this process is interrupted
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


@contextmanager
def _blocked(signals: Sequence[signal.Signals]) -> Iterator[None]:
    """Let signals to this thread wait."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def machine() -> str:
    """This boot of this machine and its PID namespace, in which process numbers are unique; "" if unknown."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return f"{file.read().strip()}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def started(pid: Any) -> str:
    """When a process of this machine was started, in ticks since boot; "" if there is none."""
    try:
        with open(f"/proc/{int(pid)}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except (OSError, TypeError, ValueError, OverflowError):
        return ""
    return "" if fields[0] == "Z" else fields[19]
