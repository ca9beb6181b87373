"""A weight vector that stays in GPU memory while it is averaged."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

from hpc_lstm.parallel.work import Work


class ScaledCopy(Protocol):
    """A copy of a vector in GPU memory, to be changed in place by its address.

    Attributes:
        address: of its first number.
        length: numbers, float32.
    """

    address: int
    length: int

    def wait(self) -> None:
        """Wait until the copy is written; not needed by what is queued behind it on the vector's stream."""


class DeviceVector(Protocol):
    """One flat float32 vector of an engine's.

    Attributes:
        stream: handle of the CUDA stream that the engine's work is queued on; None: the engine does not expose one.
    """

    @property
    def stream(self) -> int | None: ...

    def scaled(self, share: float) -> ScaledCopy:
        """The vector times ``share``, in other memory, which the engine's next scaled copy may overwrite."""

    def assign(self, copy: Any) -> Work:
        """Take what a ``scaled`` copy of this vector holds once what was queued on the stream before is done.

        Returns:
            The work from the scaling of the copy to the end of this, to be waited for.
        """

    def current(self) -> AbstractContextManager[None]:
        """Make the GPU current for libraries that are handed addresses inside the block."""
