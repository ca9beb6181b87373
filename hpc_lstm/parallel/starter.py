"""The process that has started the ranks of this machine, and which they do not outlive.

They are told of it by their environment, which every launcher hands on; a pipe or a signal at a parent's death would
reach the launcher alone.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time

from hpc_lstm.processes import machine, started

VARIABLE = "HPC_LSTM_STARTED_BY"
# Seconds between two looks at whether it lives, where the kernel does not tell (Linux before 5.3).
LOOK_S = 1.0


def named_starter() -> dict[str, str]:
    """What the environment of ranks that this process starts must have besides, so that they follow it."""
    return {VARIABLE: f"{machine()} {os.getpid()} {started(os.getpid())}"}


def follow_starter() -> None:
    """From here on, ask this process to stop, as a batch system does, if the process dies that has started it.

    That may have happened before. Nothing is done where no such process is named, or where it cannot be seen, as on
    another node.
    """
    here, _, whom = os.environ.pop(VARIABLE, "").partition(" ")
    pid, _, since = whom.partition(" ")
    if not (here and here == machine() and pid.isdigit() and since):
        return
    # Now: later there may be no descriptor left.
    nowhere, process = os.open(os.devnull, os.O_WRONLY), _opened(int(pid))
    if started(pid) != since:
        _stop(nowhere)
    else:
        threading.Thread(
            target=_follow, args=(int(pid), since, process, nowhere), daemon=True, name="starter"
        ).start()


def _opened(pid: int) -> int | None:
    """A descriptor of a process, which is ready to be read when it has ended; None: the kernel has none, or it has."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def _follow(pid: int, since: str, process: int | None, nowhere: int) -> None:
    if process is not None:
        ended = select.poll()
        ended.register(process, select.POLLIN)
        ended.poll()
    else:
        while os.path.exists(f"/proc/{pid}") and started(pid) in ("", since):
            time.sleep(LOOK_S)
    _stop(nowhere)


def _stop(nowhere: int) -> None:
    # Nobody reads what is printed: a launcher that finds out kills the ranks before they have a checkpoint.
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    os.kill(os.getpid(), signal.SIGTERM)
