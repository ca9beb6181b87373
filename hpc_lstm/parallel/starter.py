"""The process that has started the ranks of this machine, and which they do not outlive.

They are told of it by their environment, which every launcher hands on; a pipe or a signal at a parent's death would
reach the launcher alone.
"""

from __future__ import annotations

import os
import signal
import threading
import time

from hpc_lstm.processes import machine, started

VARIABLE = "HPC_LSTM_STARTED_BY"
# Seconds between two looks at whether it lives.
LOOK_S = 1.0


def named_starter() -> dict[str, str]:
    """What the environment of ranks that this process starts must have besides, so that they follow it."""
    return {VARIABLE: f"{machine()} {os.getpid()} {started(os.getpid())}"}


def follow_starter() -> None:
    """From here on, ask this process to stop, as a batch system does, if the process dies that has started it.

    Nothing is done where no such process is named, or where it cannot be seen, as on another node.
    """
    here, _, whom = os.environ.pop(VARIABLE, "").partition(" ")
    pid, _, since = whom.partition(" ")
    if here and here == machine() and since and started(pid) == since:
        threading.Thread(target=_follow, args=(pid, since), daemon=True, name="starter").start()


def _follow(pid: str, since: str) -> None:
    while started(pid) == since:
        time.sleep(LOOK_S)
    # Nobody reads what is printed: a launcher that finds out kills the ranks before they have a checkpoint.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    os.kill(os.getpid(), signal.SIGTERM)
