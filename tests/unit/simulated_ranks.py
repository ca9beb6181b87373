"""A world whose ranks are threads of this process: the collectives of MPI without MPI."""

from __future__ import annotations

import pickle
import queue
import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np

from hpc_lstm.parallel.world import World

# Seconds after which a rank that waits for another one gives up.
PATIENCE_S = 30


class Meeting:
    """Where ranks exchange values; as with MPI, each gets a copy."""

    def __init__(self, size: int) -> None:
        self.barrier = threading.Barrier(size)
        self.board: list[Any] = [None] * size
        # By sender and receiver.
        self.letters: dict[tuple[int, int], queue.Queue[np.ndarray]] = defaultdict(queue.Queue)

    def exchange(self, rank: int, operation: str, value: Any) -> list[Any]:
        self.board[rank] = operation, pickle.dumps(value)
        self.barrier.wait(PATIENCE_S)
        board = list(self.board)
        self.barrier.wait(PATIENCE_S)
        assert {name for name, _ in board} == {operation}, "ranks do not call the same collective"
        return [pickle.loads(copy) for _, copy in board]


class SimulatedWorld(World):
    """One rank. Its collectives may be called on the thread that ``outcomes`` starts for it alone."""

    def __init__(self, rank: int, size: int, meeting: Meeting) -> None:
        super().__init__(rank=rank, size=size)
        self._meeting = meeting

    def barrier(self) -> None:
        self._exchange("barrier", None)

    def bcast(self, value: Any, root: int = 0) -> Any:
        return self._exchange(f"bcast from {root}", value if self.rank == root else None)[root]

    def bcast_array(self, array: np.ndarray, root: int = 0) -> np.ndarray:
        array[...] = self._exchange(f"bcast array from {root}", array if self.rank == root else None)[root]
        return array

    def allgather(self, value: Any) -> list[Any]:
        return self._exchange("allgather", value)

    def gather_array(self, array: np.ndarray) -> np.ndarray:
        found = np.concatenate(self._exchange("gather array", array))
        return found if self.rank == 0 else found[:0]

    def send(self, array: np.ndarray, to: int) -> None:
        self._meeting.letters[self.rank, to].put(array.copy())

    def recv(self, array: np.ndarray, source: int) -> np.ndarray:
        array[...] = self._meeting.letters[source, self.rank].get(timeout=PATIENCE_S)
        return array

    def probe(self, source: int) -> bool:
        return not self._meeting.letters[source, self.rank].empty()

    def abort(self, code: int) -> None:
        raise AssertionError(f"rank {self.rank} ends all ranks with {code}")

    def _reduce(self, array: np.ndarray, operation: str) -> np.ndarray:
        function = {"SUM": np.add, "MIN": np.minimum, "MAX": np.maximum}[operation]
        array[...] = function.reduce(self._exchange(operation, array))
        return array

    def _exchange(self, operation: str, value: Any) -> list[Any]:
        thread = threading.current_thread().name
        assert thread == name_of(self.rank), f"{operation} on thread {thread}, not on the rank's own"
        return self._meeting.exchange(self.rank, operation, value)


def name_of(rank: int) -> str:
    """The name of a rank's thread."""
    return f"rank {rank}"


def outcomes(size: int, work: Callable[[World], Any]) -> list[Any]:
    """What ``work`` gives on every rank: its result, or the exception that it raises there."""
    meeting = Meeting(size)
    found: list[Any] = [None] * size

    def run(rank: int) -> None:
        try:
            found[rank] = work(SimulatedWorld(rank, size, meeting))
        except BaseException as error:
            found[rank] = error
            if not getattr(error, "on_all_ranks", False):
                meeting.barrier.abort()  # nobody waits for a rank that failed

    threads = [threading.Thread(target=run, args=(rank,), name=name_of(rank)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def on_ranks(size: int, work: Callable[[World], Any]) -> list[Any]:
    """What ``work`` gives on every rank; the first failing rank's exception, where any fails."""
    found = outcomes(size, work)
    errors = [outcome for outcome in found if isinstance(outcome, BaseException)]
    # A broken barrier follows from another rank's error.
    for error in sorted(errors, key=lambda error: isinstance(error, threading.BrokenBarrierError)):
        raise error
    return found
