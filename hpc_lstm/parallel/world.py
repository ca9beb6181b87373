"""The MPI world: ranks, this rank's share of its node, abort on error, stop on signal.

This module, ``launch``, whose ``connect`` makes the world, and ``mpi_start`` are the only ones that import mpi4py.
Without MPI, or when started alone, the world has one rank and every collective returns its input. The rules:

- An error that all ranks can raise together (bad input) goes through ``raise_on_all``: one line, one exit code.
- Any other exception on one rank ends all ranks through ``MPI.Abort`` (``abort_on_error``).
- A signal only sets a flag; the training loop acts on it where all ranks agree.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import numpy as np

from hpc_lstm.errors import HpcLstmError, from_os_error
from hpc_lstm.parallel.stop_signals import StopSignals
from hpc_lstm.parallel.streams import tell

T = TypeVar("T")
E = TypeVar("E", bound=HpcLstmError)
# Exit code of what an interrupt ends, as shells have it.
INTERRUPTED = 130
# How long a failing rank other than 0 delays its message: if all ranks fail alike, rank 0 aborts before they print.
RANK_0_FIRST_S = 0.5
# Launchers forward a rank's output with a delay, and drop what is left when it aborts.
FORWARDING_S = 0.3
# A rank that waits asleep sleeps between polls of a collective: this share of the time waited so far, in bounds.
POLL_SHARE, MIN_POLL_S, MAX_POLL_S = 1 / 16, 50e-6, 5e-3
# Where it has a core of its own: how long it polls before, so that ranks in step do not wait for a timer, and how long
# it sleeps at most, since a barrier of many ranks takes several polls of each.
AWAKE_S, MAX_OWN_POLL_S = 200e-6, 1e-3


@dataclass
class World:
    """The communicator of all ranks, as this rank sees it.

    Attributes:
        rank, size: number of this rank, number of ranks.
        local_rank, local_size: the same among the ranks on this node.
        node: host name.
        threads: CPU threads of this rank: the node's usable cores over its ranks, at least 1.
        library: first line of the MPI library's version, or "no MPI".
        oversubscribed: ranks share cores on some node, so that waiting ranks never spin; the same on every rank.
        signals: what this rank has been asked to stop by.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    node: str = ""
    threads: int = 1
    library: str = "no MPI"
    oversubscribed: bool = False
    signals: StopSignals = field(default_factory=StopSignals)
    _comm: Any = None

    # -- collectives: every rank must call them, in the same order ------------------------------------

    def barrier(self) -> None:
        """Wait until every rank has called this."""
        if self._comm is not None:
            self._meet()

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
        """Sum over ranks of float32 [length] at a device address, in place; needs a CUDA-aware MPI."""
        if self._comm is not None:
            from mpi4py import MPI

            self._comm.Allreduce(MPI.IN_PLACE, [_DeviceBuffer(address, length), MPI.FLOAT], op=MPI.SUM)

    def bcast(self, value: T, root: int = 0) -> T:
        """The root's object, on every rank."""
        if self._comm is None:
            return value
        self._meet()
        return cast(T, self._comm.bcast(value, root=root))

    def bcast_array(self, array: np.ndarray, root: int = 0) -> np.ndarray:
        """The root's array, in place, as a buffer."""
        if self._comm is not None:
            if self.oversubscribed:
                self._wait(self._comm.Ibcast(array, root=root))
            else:
                self._comm.Bcast(array, root=root)
        return array

    def allgather(self, value: T) -> list[T]:
        """Every rank's object, in the order of ranks, on every rank."""
        if self._comm is None:
            return [value]
        self._meet()
        return cast("list[T]", self._comm.allgather(value))

    def gather_array(self, array: np.ndarray) -> np.ndarray:
        """The arrays [n] of all ranks below each other in the order of ranks, on rank 0; empty on others.

        They may differ in length, not in type.
        """
        if self._comm is None:
            return array
        counts = self.allgather(len(array))
        found = np.empty(sum(counts) if self.rank == 0 else 0, array.dtype)
        target = (found, counts) if self.rank == 0 else None
        if self.oversubscribed:
            self._wait(self._comm.Igatherv(array, target))
        else:
            self._comm.Gatherv(array, target)
        return found

    def _reduce(self, array: np.ndarray, operation: str) -> np.ndarray:
        if self._comm is not None:
            from mpi4py import MPI

            how = getattr(MPI, operation)
            if self.oversubscribed:
                self._wait(self._comm.Iallreduce(MPI.IN_PLACE, array, op=how))
            else:
                self._comm.Allreduce(MPI.IN_PLACE, array, op=how)
        return array

    def _on_any(self, here: bool) -> bool:
        """Whether it is so on any rank; waits asleep. Spares an exchange of objects that nearly always are None."""
        from mpi4py import MPI

        found = np.array([here], np.int32)
        self._wait(self._comm.Iallreduce(MPI.IN_PLACE, found, op=MPI.MAX))
        return bool(found[0])

    def _meet(self) -> None:
        """Wait asleep for all ranks.

        Exchanges of objects, which spin until the last rank comes, follow. They are where one rank reads, writes or
        asks a program for all: what it starts finds a free core, and no core is kept busy by mere waiting. Reductions
        of weights, which are many and short, sleep only where ranks share cores.
        """
        self._wait(self._comm.Ibarrier())

    def _wait(self, request: Any) -> None:
        """Wait without occupying the core: MPI libraries spin, which slows down the ranks that are waited for."""
        start = time.perf_counter()
        awake_s, longest_s = (0.0, MAX_POLL_S) if self.oversubscribed else (AWAKE_S, MAX_OWN_POLL_S)
        while not request.Test():
            waited = time.perf_counter() - start
            if waited >= awake_s:
                time.sleep(min(max(waited * POLL_SHARE, MIN_POLL_S), longest_s))

    # -- point to point ---------------------------------------------------------------------------------

    def send(self, array: np.ndarray, to: int) -> None:
        """Send an array to a rank, which receives it by ``recv``."""
        self._comm.Send(array, dest=to)

    def recv(self, array: np.ndarray, source: int) -> np.ndarray:
        """Receive an array from a rank, in place; spins until it is there."""
        self._comm.Recv(array, source=source)
        return array

    def probe(self, source: int) -> bool:
        """True if a message from that rank has arrived, so that ``recv`` would not wait."""
        return bool(self._comm.Iprobe(source=source))

    # -- errors ----------------------------------------------------------------------------------------

    def raise_on_all(self, work: Callable[[], T]) -> T:
        """Run ``work`` on every rank; a user's error on any is raised on all, and printed by rank 0. Collective.

        The lowest failing rank's error is raised everywhere, so that the job ends with one message and one exit code,
        without an abort. ``work`` must not contain a collective that a failing rank would skip.

        Returns:
            This rank's result of ``work``.
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
        if self._comm is not None and not self._on_any(error is not None):
            return result
        errors = [
            e for e in self.allgather(None if error is None else (type(error), str(error))) if e is not None
        ]
        if errors:
            kind, message = errors[0]
            raise self.on_all_ranks(kind(message)) from error
        return result

    def on_all_ranks(self, error: E) -> E:
        """Mark an error that every rank raises at the same point, so that rank 0 alone prints it."""
        error.on_all_ranks, error.quiet = True, self.rank != 0
        return error

    def abort(self, code: int) -> None:
        """End all ranks with exit code ``code``; does not return."""
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):  # full, or read by nobody: the others must not wait for ever all the same
                stream.flush()
        if self._comm is not None:
            time.sleep(FORWARDING_S)
            self._comm.Abort(code)
        os._exit(code)

    @contextmanager
    def abort_on_error(self, debug: bool = False) -> Iterator[None]:
        """Encloses what a rank does after ``launch.connect``, so that no exception leaves other ranks waiting.

        An ``HpcLstmError`` that all ranks raise (``raise_on_all``) passes through. Any other exception is printed by
        this rank, and ends all ranks; so does an interrupt, which does not reach a rank that waits inside of MPI.
        """
        try:
            yield
        except HpcLstmError as error:
            if self.size == 1 or error.on_all_ranks:
                raise
            self._print_and_abort(error, debug)
        except SystemExit:
            raise
        except KeyboardInterrupt:
            if self.size == 1:
                raise
            self._tell_and_abort("hpc-lstm: interrupted", INTERRUPTED)
        except BaseException as error:
            if self.size == 1:
                raise
            known = from_os_error(error) if isinstance(error, OSError) else None
            self._print_and_abort(known or error, debug)
        finally:
            self.signals.ignore()

    # -- stopping --------------------------------------------------------------------------------------

    def handle_signals(self) -> None:
        """Let SIGTERM, SIGUSR1, SIGHUP and SIGINT request a stop; a second SIGINT ends the process immediately."""
        self.signals.listen()

    @property
    def stop_requested(self) -> bool:
        """True once this rank has received a stop signal. Ranks may differ: agree before acting on it."""
        return bool(self.signals.first)

    @property
    def stop_signal(self) -> str:
        """Name of the signal that requested the stop, or ''."""
        return self.signals.first

    def _print_and_abort(self, error: BaseException, debug: bool) -> None:
        location = f"rank {self.rank} on {self.node}"
        if isinstance(error, HpcLstmError) and not debug:
            text = f"hpc-lstm: error: {location}: {' '.join(str(error).split())}"
        else:
            text = f"hpc-lstm: {location} failed, ending all {self.size} ranks\n{traceback.format_exc()}"
        self._tell_and_abort(text, error.exit_code if isinstance(error, HpcLstmError) else 1)

    def _tell_and_abort(self, text: str, code: int) -> None:
        if self.rank != 0:
            time.sleep(RANK_0_FIRST_S)
        tell(text)
        self.abort(code)


class _DeviceBuffer:
    """A float32 vector in GPU memory for mpi4py, by the CUDA array interface, version 3."""

    def __init__(self, address: int, length: int) -> None:
        self.__cuda_array_interface__ = {
            "shape": (length,),
            "typestr": "<f4",
            "data": (address, False),
            "version": 3,
        }
