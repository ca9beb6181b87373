"""Copies from the host to the GPU that the host does not wait for, through pinned buffers.

While some of the buffers are being copied, another is filled.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from hpc_lstm.cuda.context import Context

BUFFERS = 6  # those of two calls of steps with batches from the host


class Staging:
    """Pinned buffers, used in turn; each grows to the largest array that passed through it.

    Args:
        device: which this belongs to.
    """

    def __init__(self, device: Context) -> None:
        self._device: Context = weakref.proxy(device)  # see ``modules.Modules``
        with device.current():
            self._copied = [device.cuda.Event() for _ in range(BUFFERS)]
        self._buffers: list[Any] = [None] * BUFFERS
        self._next = 0

    def upload(self, pointer: int, array: np.ndarray) -> None:
        """See ``Device.upload_async``."""
        if not array.nbytes:
            return
        cuda, stream = self._device.cuda, self._device.stream
        which = self._next
        self._next = (which + 1) % BUFFERS
        with self._device.current():
            # The buffer may still hold rows that are being transferred.
            self._copied[which].synchronize()
            buffer = self._buffers[which]
            if buffer is None or buffer.nbytes < array.nbytes:
                buffer = self._buffers[which] = cuda.pagelocked_empty(array.nbytes, np.uint8)
            part = buffer[: array.nbytes]
            part[:] = array.reshape(-1).view(np.uint8)
            cuda.memcpy_htod_async(pointer, part, stream)
            self._copied[which].record(stream)

    def free(self) -> None:
        """See ``Device.free_staging``."""
        self._device.synchronize()
        self._buffers = [None] * BUFFERS
