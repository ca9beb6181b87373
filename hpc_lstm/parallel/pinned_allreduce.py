"""Sums over ranks of vectors that lie in GPU memory, where MPI takes host memory only: through pinned memory."""

from __future__ import annotations

import numpy as np

from hpc_lstm.cuda.device import Device
from hpc_lstm.parallel.world import World


class PinnedSum:
    """Adds up float32 vectors in GPU memory over all ranks; collective.

    The GPU copies to and from pinned memory by itself, at the full speed of the bus; of other memory the driver
    makes a pinned copy first.
    """

    def __init__(self, device: Device, world: World) -> None:
        self._device, self._world = device, world
        self._buffer = np.empty(0, np.float32)

    def __call__(self, address: int, length: int) -> None:
        """The sum of float32 [length] at ``address`` over all ranks, in place; there when it returns.

        Raises:
            CudaError: the host has not enough pinned memory.
        """
        if len(self._buffer) < length:
            _, self._buffer = self._device.pinned((length,), np.float32, "averaging the weights")
        vector = self._buffer[:length]
        self._device.download(vector, address)
        self._world.allreduce_sum(vector)
        self._device.upload(address, vector)
