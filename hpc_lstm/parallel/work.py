"""Work that a GPU may still have before it when the call that queued it has returned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Work(Protocol):
    """What a call has queued."""

    def wait(self) -> int:
        """Wait until it is done.

        Returns:
            Nanoseconds that it took on the GPU; 0: it was done when the call returned, and nobody measured it.
        """


class Done:
    """Work that was done before the call returned."""

    def wait(self) -> int:
        """Nothing is left to wait for."""
        return 0


class AllWork:
    """Several works, one behind the other."""

    def __init__(self, works: Sequence[Work]) -> None:
        self._works = works

    def wait(self) -> int:
        """Wait until all are done; nanoseconds that they took together."""
        return sum(work.wait() for work in self._works)
