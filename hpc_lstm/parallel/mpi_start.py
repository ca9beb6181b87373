"""MPI's start, which waits until every rank has come: where one never does, a signal still ends the others.

mpi4py starts MPI under Python's lock, and until that returns neither a signal handler of Python nor any thread of it
runs. So MPI_Init_thread of the same library is called without the lock, and a thread watches for signals meanwhile.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from hpc_lstm.parallel.stop_signals import FROM_SYSTEM
from hpc_lstm.parallel.streams import tell

# Seconds that MPI has after a signal to come to its end, so that the ranks can stop together: Slurm kills after 30.
STUCK_S = 10.0
# The exit code of what was stopped on request.
STOPPED = 75
# What UCX, by which MPI may reach other nodes, is told where it is loaded: to take no signal for its debug output,
# which would be SIGHUP; and not to follow the process's calls that map memory.
NO_SIGNAL, NO_MEMORY_EVENTS = {"UCX_DEBUG_SIGNO": "0"}, {"UCX_MEM_EVENTS": "no"}


def is_first_rank() -> bool:
    """Whether this process is rank 0, by what the launcher says before MPI is there; true without a launcher."""
    names = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID")
    return next((os.environ[name] for name in names if name in os.environ), "0") == "0"


def start_mpi_unlocked() -> None:
    """Start MPI for mpi4py, to be ended when the process ends, while other threads of Python run.

    Raises:
        ImportError, RuntimeError: mpi4py is missing, or MPI cannot be loaded or started.
    """
    import ctypes

    import mpi4py

    mpi4py.rc.initialize, mpi4py.rc.finalize = False, True
    from mpi4py import MPI

    if MPI.Is_initialized():
        return
    try:
        start = ctypes.CDLL(MPI.__file__).MPI_Init_thread
    except (OSError, AttributeError):  # the library cannot be reached by mpi4py's own file
        MPI.Init_thread(MPI.THREAD_FUNNELED)
        return
    code = start(None, None, ctypes.c_int(MPI.THREAD_FUNNELED), ctypes.byref(ctypes.c_int()))
    if code != MPI.SUCCESS:
        raise RuntimeError(f"MPI_Init_thread: {MPI.Get_error_string(code)}")
    # As mpi4py does where it starts MPI: errors become exceptions.
    for comm in (MPI.COMM_WORLD, MPI.COMM_SELF):
        comm.Set_errhandler(MPI.ERRORS_RETURN)


@contextmanager
def loading_mpi(*, on_one_node: bool) -> Iterator[None]:
    """During the block, MPI is loaded: UCX leaves SIGHUP to the process, by which a closed terminal ends it.

    For ranks of one node it also patches none of the process's calls: to patch them takes 40 ms, and is of use where
    memory is registered with a network card. What the environment says about either counts. Processes that are started
    later, which may be ranks of a cluster, are not told.
    """
    settings = NO_SIGNAL | NO_MEMORY_EVENTS if on_one_node else NO_SIGNAL
    told = {name: value for name, value in settings.items() if name not in os.environ}
    os.environ.update(told)
    try:
        yield
    finally:
        for name in told:
            del os.environ[name]


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """During the block, one of ``FROM_SYSTEM`` that Python listens to ends the process if the block outlasts it.

    After ``STUCK_S`` seconds it exits with 75, on rank 0 with a line on stderr. A block that ends before leaves the
    signal to its handler. To be used by the main thread.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(reader, ended), daemon=True, name="mpi start")
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        signal.set_wakeup_fd(before)
        with suppress(BlockingIOError):  # full of signals: then there is something to read
            os.write(writer, b"\0")  # not by closing it, which a forked child may hold open
        watcher.join()
        os.close(writer)
        os.close(reader)


def _watch(reader: int, ended: threading.Event) -> None:
    while not ended.is_set():
        received = os.read(reader, 1)
        if received[0] in FROM_SYSTEM and not ended.wait(STUCK_S):
            if is_first_rank():
                tell(
                    f"hpc-lstm: stopped by {signal.Signals(received[0]).name} while MPI was starting, which waits for "
                    "ranks that have not come; nothing was changed: run the same command again"
                )
            os._exit(STOPPED)
