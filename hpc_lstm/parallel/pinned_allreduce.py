"""All-reduce of vectors in GPU memory where MPI takes host memory only: through a pinned buffer."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from hpc_lstm.parallel.world import World

if TYPE_CHECKING:
    from hpc_lstm.cuda.device import Device


class PinnedAllreduce:
    """Sums float32 vectors in GPU memory over all ranks by MPI in pinned host memory.

    The GPU copies to and from pinned memory by itself, at the full speed of the bus; from pageable memory the driver
    would first make a pinned copy.
    """

    takes_stream: ClassVar[bool] = False
    can_be_recorded = False

    def __init__(self, device: Device, world: World) -> None:
        self._device, self._world = device, world
        self._buffer = np.empty(0, np.float32)

    def allreduce_sum(self, address: int, length: int, stream: int | None = None) -> None:
        """Replace float32 [length] at a device address by its sum over all ranks, and wait for it; collective.

        Raises:
            CudaError: the host cannot pin enough memory.
        """
        if len(self._buffer) < length:
            _, self._buffer = self._device.empty_pinned((length,), np.float32, "averaging the weights")
        vector = self._buffer[:length]
        self._device.download(vector, address)
        self._world.allreduce_sum(vector)
        self._device.upload(address, vector)

    def close(self, *, failed: bool) -> None:
        """Free the pinned buffer."""
        self._buffer = np.empty(0, np.float32)
