"""What a signal does while MPI starts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hpc_lstm.parallel import mpi_start
from hpc_lstm.parallel.stop_signals import FROM_SYSTEM, StopSignals

ROOT = Path(__file__).parents[3]
# As MPI_Init does where a rank never comes, the main thread waits in C, where no handler of Python runs.
STUCK = """
import ctypes, os, signal, sys
from hpc_lstm.parallel import mpi_start
from hpc_lstm.parallel.stop_signals import remembered_signals
mpi_start.STUCK_S = 0.3
with remembered_signals(), mpi_start.ended_by_signals():
    os.kill(os.getpid(), signal.Signals[sys.argv[1]])
    lock = ctypes.create_string_buffer(64)
    libc = ctypes.CDLL(None)
    libc.sem_init(lock, 0, 0)
    while True:
        libc.sem_wait(lock)
"""


def stuck(number: str, rank: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", STUCK, number],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PMI_RANK": str(rank)},
    )


@pytest.mark.parametrize("number", ["SIGTERM", "SIGUSR1"])
def test_a_start_that_waits_for_ever_is_ended_by_a_signal(number: str) -> None:
    done = stuck(number, 0)
    assert done.returncode == 75
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"hpc-lstm: stopped by {number} while MPI was starting")


def test_only_rank_0_says_it() -> None:
    done = stuck("SIGTERM", 1)
    assert (done.returncode, done.stderr) == (75, "")


def test_a_start_that_ends_leaves_the_signal_to_its_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mpi_start, "STUCK_S", 30.0)
    before = {number: signal.getsignal(number) for number in FROM_SYSTEM}
    signals, threads = StopSignals(), threading.active_count()
    signals.listen(FROM_SYSTEM)
    try:
        with mpi_start.ended_by_signals():
            os.kill(os.getpid(), signal.SIGTERM)
        assert signals.first == "SIGTERM"
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert threading.active_count() == threads
    assert signal.set_wakeup_fd(-1) == -1
