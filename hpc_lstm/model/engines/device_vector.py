"""A weight vector that stays in GPU memory while it is averaged."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol


class ScaledCopy(Protocol):
    """A copy of a vector in GPU memory, written by the time that one has it, to be changed in place by its address.

    Attributes:
        address: of its first number.
        length: numbers, float32.
    """

    address: int
    length: int


class DeviceVector(Protocol):
    """One flat float32 vector of an engine's."""

    def scaled(self, share: float) -> ScaledCopy:
        """The vector times ``share``, in other memory, which the engine's next scaled copy may overwrite."""

    def assign(self, copy: Any) -> None:
        """Take what a ``scaled`` copy of this vector holds now; whoever wrote it has finished."""

    def current(self) -> AbstractContextManager[None]:
        """Make the GPU current for libraries that are handed addresses inside the block."""
