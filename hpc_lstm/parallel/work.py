"""Work that a GPU may still have before it when the call that queued it has returned."""

from __future__ import annotations

from typing import Protocol


class Work(Protocol):
    """What a call has queued."""

    def wait(self) -> None:
        """Wait until it is done."""


class Done:
    """Work that was done before the call returned."""

    def wait(self) -> None:
        """Nothing is left to wait for."""
