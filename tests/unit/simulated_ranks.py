"""A world whose ranks are threads of this process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from hpc_lstm.world import World

T = TypeVar("T")
LIMIT_S = 30


class SimulatedWorld(World):
    """One rank; its collectives meet those of the others on a board."""

    def __init__(self, rank: int, size: int, meeting: threading.Barrier, board: dict[int, Any]) -> None:
        super().__init__(rank=rank, size=size, node="here")
        self._meeting, self._board = meeting, board

    def barrier(self) -> None:
        self._meeting.wait(LIMIT_S)

    def gather(self, value: Any) -> list[Any]:
        self._board[self.rank] = value
        self._meeting.wait(LIMIT_S)
        found = [self._board[rank] for rank in range(self.size)]
        self._meeting.wait(LIMIT_S)
        return found

    def bcast(self, value: Any, root: int = 0) -> Any:
        return self.gather(value)[root]

    def bcast_array(self, array: np.ndarray, root: int = 0) -> np.ndarray:
        array[...] = self.gather(array.copy())[root]
        return array

    def _reduce(self, array: np.ndarray, operation: str) -> np.ndarray:
        function = {"SUM": np.add, "MIN": np.minimum, "MAX": np.maximum}[operation]
        array[...] = function.reduce(self.gather(array.copy()))
        return array


def on_ranks(size: int, work: Callable[[World], T]) -> list[T]:
    """``work(world)`` on every rank; its result on each."""
    meeting, board = threading.Barrier(size), {}  # type: ignore[var-annotated]
    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(lambda rank: work(SimulatedWorld(rank, size, meeting, board)), range(size)))
