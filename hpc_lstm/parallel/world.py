"""The MPI world: ranks, this rank's share of its node, abort on error, stop on signal.

The only module that imports mpi4py. Without MPI, or started alone, the world has one rank and every
collective returns its input. The rules:

- An error that every rank can reach together (bad input) is settled by ``raise_on_all``: one line, one exit code.
- Any other exception on one rank ends all ranks at once through ``MPI.Abort`` (``abort_on_error``).
- A signal only sets a flag; the training loop reads it where all ranks can agree.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, TypeVar

import numpy as np

from hpc_lstm.errors import HpcLstmError, InputError, from_os_error

T = TypeVar("T")
E = TypeVar("E", bound=HpcLstmError)
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
# Where launchers say how many ranks they started.
LAUNCHER_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
# How long a failing rank other than 0 holds its message back: an error that all ranks meet is said once.
FIRST_WORD_S = 0.5
# Launchers pass on what a rank wrote a moment later, and drop what they have not passed on when it aborts.
FORWARDED_S = 0.3
# How long a rank sleeps between looks at a collective, where ranks share cores: this share of what it has waited.
POLL_SHARE, LEAST_POLL_S, MOST_POLL_S = 1 / 16, 50e-6, 5e-3


@dataclass
class World:
    """This rank's place among all ranks.

    Attributes:
        rank, size: number of this rank, number of ranks.
        local_rank, local_size: the same among the ranks on this node.
        node: host name.
        threads: CPU threads of this rank: the node's usable cores over its ranks, at least 1.
        library: the MPI library's first line of version, or "no MPI".
        oversubscribed: ranks share cores on some node, so that those who wait must not spin; the same on every rank.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    node: str = ""
    threads: int = 1
    library: str = "no MPI"
    oversubscribed: bool = False
    _comm: Any = None
    _stop: list[int] = field(default_factory=list)
    _handling_signals: bool = False

    # -- collectives: every rank must call them, in the same order ------------------------------------

    def barrier(self) -> None:
        """Return when every rank has come here."""
        if self._comm is not None:
            self._wait(self._comm.Ibarrier()) if self.oversubscribed else self._comm.Barrier()

    def allreduce_sum(self, array: np.ndarray) -> np.ndarray:
        """Element-wise sum over ranks, in place; identical bytes on every rank."""
        return self._reduce(array, "SUM")

    def allreduce_min(self, array: np.ndarray) -> np.ndarray:
        """Element-wise minimum over ranks, in place."""
        return self._reduce(array, "MIN")

    def allreduce_max(self, array: np.ndarray) -> np.ndarray:
        """Element-wise maximum over ranks, in place."""
        return self._reduce(array, "MAX")

    def allreduce_device(self, address: int, length: int) -> None:
        """Sum of float32 [length] at an address that a CUDA-aware MPI can reach over ranks, in place."""
        if self._comm is not None:
            from mpi4py import MPI

            self._comm.Allreduce(MPI.IN_PLACE, [_Memory(address, length), MPI.FLOAT], op=MPI.SUM)

    def bcast(self, value: T, root: int = 0) -> T:
        """The root's object, on every rank."""
        return value if self._comm is None else self._comm.bcast(value, root=root)

    def bcast_array(self, array: np.ndarray, root: int = 0) -> np.ndarray:
        """The root's array, in place, as a buffer."""
        if self._comm is not None:
            if self.oversubscribed:
                self._wait(self._comm.Ibcast(array, root=root))
            else:
                self._comm.Bcast(array, root=root)
        return array

    def allgather(self, value: T) -> list[T]:
        """Every rank's object in order of rank, on every rank."""
        return [value] if self._comm is None else self._comm.allgather(value)

    def _reduce(self, array: np.ndarray, operation: str) -> np.ndarray:
        if self._comm is not None:
            from mpi4py import MPI

            how = getattr(MPI, operation)
            if self.oversubscribed:
                self._wait(self._comm.Iallreduce(MPI.IN_PLACE, array, op=how))
            else:
                self._comm.Allreduce(MPI.IN_PLACE, array, op=how)
        return array

    def _wait(self, request: Any) -> None:
        """Wait without taking the core from the ranks that are waited for: MPI libraries spin."""
        begun = time.perf_counter()
        while not request.Test():
            waited = time.perf_counter() - begun
            time.sleep(min(max(waited * POLL_SHARE, LEAST_POLL_S), MOST_POLL_S))

    # -- from one rank to another ----------------------------------------------------------------------

    def send(self, array: np.ndarray, to: int) -> None:
        """Give an array to a rank that receives it from this one."""
        self._comm.Send(array, dest=to)

    def recv(self, array: np.ndarray, source: int) -> np.ndarray:
        """The array that a rank sends to this one, in place; waits for it at full speed."""
        self._comm.Recv(array, source=source)
        return array

    def probe(self, source: int) -> bool:
        """True if ``recv`` from that rank would not have to wait."""
        return bool(self._comm.Iprobe(source=source))

    # -- errors ----------------------------------------------------------------------------------------

    def raise_on_all(self, work: Callable[[], T]) -> T:
        """Run ``work`` on every rank; a user's error on any is raised on all, and said by rank 0.

        The lowest failing rank's error is raised everywhere, so that the job ends with one message and
        one exit code, without an abort. ``work`` must not contain a collective that a failing rank skips.
        """
        error: HpcLstmError | None = None
        result: Any = None
        try:
            result = work()
        except HpcLstmError as caught:
            error = caught
        except OSError as caught:
            error = from_os_error(caught)
            if error is None:
                raise
        errors = [
            e for e in self.allgather(None if error is None else (type(error), str(error))) if e is not None
        ]
        if errors:
            kind, message = errors[0]
            raise self.on_all_ranks(kind(message)) from error
        return result

    def on_all_ranks(self, error: E) -> E:
        """``error``, which every rank is about to raise at the same place: rank 0 alone prints it."""
        error.on_all_ranks, error.quiet = True, self.rank != 0
        return error

    def abort(self, code: int) -> None:
        """End every rank at once with ``code``; does not return where there is more than one."""
        sys.stdout.flush()
        sys.stderr.flush()
        if self._comm is not None:
            time.sleep(FORWARDED_S)
            self._comm.Abort(code)
        os._exit(code)

    @contextmanager
    def abort_on_error(self, debug: bool = False) -> Iterator[None]:
        """Around everything a rank does after ``connect``: no exception leaves another rank waiting.

        A ``HpcLstmError`` that all ranks raise (``raise_on_all``) passes through. Any other exception is printed
        by this rank and ends all ranks.
        """
        try:
            yield
        except HpcLstmError as error:
            if self.size == 1 or error.on_all_ranks:
                raise
            self._say_and_abort(error, debug)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            if self.size == 1:
                raise
            known = from_os_error(error) if isinstance(error, OSError) else None
            self._say_and_abort(known or error, debug)
        finally:
            self._end_handling_signals()

    # -- stopping --------------------------------------------------------------------------------------

    def handle_signals(self) -> None:
        """Take SIGTERM, SIGUSR1 and SIGINT as a wish to stop; a second SIGINT ends the process at once."""
        self._handling_signals = True
        for number in STOP_SIGNALS:
            signal.signal(number, self._on_signal)

    @property
    def stop_requested(self) -> bool:
        """True once this rank was sent a stop signal. Ranks may differ: agree before acting on it."""
        return bool(self._stop)

    @property
    def stop_signal(self) -> str:
        """Name of the signal that asked this rank to stop, or ''."""
        return signal.Signals(self._stop[0]).name if self._stop else ""

    def _end_handling_signals(self) -> None:
        """Ignore SIGUSR1 from here on: Python lets go of its handlers as it ends, and a repeated one would kill it."""
        if self._handling_signals:
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and signal.SIGINT in self._stop:
            os._exit(130)
        self._stop.append(number)

    def _say_and_abort(self, error: BaseException, debug: bool) -> None:
        if self.rank != 0:
            time.sleep(FIRST_WORD_S)
        place = f"rank {self.rank} on {self.node}"
        if isinstance(error, HpcLstmError) and not debug:
            text = f"hpc-lstm: error: {place}: {error}\n"
        else:
            text = f"hpc-lstm: {place} failed, ending all {self.size} ranks\n{traceback.format_exc()}"
        sys.stderr.write(text)
        self.abort(error.exit_code if isinstance(error, HpcLstmError) else 1)


class _Memory:
    """GPU memory as mpi4py takes it: an object of the CUDA array interface, version 3."""

    def __init__(self, address: int, length: int) -> None:
        self.__cuda_array_interface__ = {
            "shape": (length,),
            "typestr": "<f4",
            "data": (address, False),
            "version": 3,
        }


def connect(threads: int = 0) -> World:
    """Join the world that ``mpiexec``, ``mpirun`` or ``srun`` started, or be alone.

    Args:
        threads: CPU threads of this rank; 0: as many cores as Slurm was asked to give it (``SLURM_CPUS_PER_TASK``),
            else the usable cores of the node over its ranks.

    Raises:
        InputError: the launcher started several ranks but MPI sees one (two different MPI installations),
            or MPI cannot be loaded.
    """
    expected = _launched_size()
    node = os.uname().nodename
    try:
        import mpi4py

        mpi4py.rc.thread_level = "funneled"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what mpi4py suspects of the environment is checked below
            from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        if expected > 1:
            raise InputError(
                f"started as one of {expected} ranks, but MPI cannot be loaded ({_first_line(error)}); "
                'install "hpc-lstm[mpich]", or load the MPI that the launcher belongs to'
            ) from None
        own = len(os.sched_getaffinity(0))
        return World(node=node, threads=threads or min(own, _allotted() or own))
    comm = MPI.COMM_WORLD
    if comm.size == 1 and expected > 1:
        raise InputError(
            f"started as one of {expected} ranks, but MPI sees only one: the launcher belongs to another MPI "
            f"than {_first_line(MPI.Get_library_version())}; use that MPI's mpiexec, srun --mpi=pmi2, or see "
            '"Another MPI" in the README'
        )
    local = comm.Split_type(MPI.COMM_TYPE_SHARED)
    cores = set().union(*local.allgather(os.sched_getaffinity(0)))
    own = len(os.sched_getaffinity(0))
    oversubscribed = comm.allreduce(local.size > len(cores), op=MPI.LOR)
    world = World(
        rank=comm.rank,
        size=comm.size,
        local_rank=local.rank,
        local_size=local.size,
        node=node,
        threads=threads or max(1, min(own, _allotted() or len(cores) // local.size)),
        library=_first_line(MPI.Get_library_version()),
        oversubscribed=oversubscribed,
        _comm=comm if comm.size > 1 else None,
    )
    local.Free()
    return world


def library_text() -> str:
    """All that the MPI library says of its version and how it was built, lines joined by "; "; "no MPI" without one."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError):
        return "no MPI"
    lines = MPI.Get_library_version().replace("\0", "").splitlines()
    return "; ".join(" ".join(line.split()) for line in lines if line.strip())


def launched() -> bool:
    """True in a process that ``mpiexec``, ``mpirun`` or ``srun`` started as one of several ranks."""
    return _launched_size() > 1


def _launched_size() -> int:
    """Ranks that the launcher says it started, 1 if there is none."""
    for name in LAUNCHER_SIZES:
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return 1


def _allotted() -> int:
    """Cores that Slurm gives to each rank, 0 if nobody asked for a number."""
    asked = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return int(asked) if asked.isdigit() else 0


def _first_line(text: object) -> str:
    lines = str(text).replace("\0", "").strip().splitlines() or [""]  # Open MPI's version ends with a null
    return " ".join(lines[0].split())
