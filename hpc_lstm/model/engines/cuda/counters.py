"""Counters in GPU memory by which the blocks of a launch say how far they are: kernels/lstm_exchange.cuh."""

from __future__ import annotations

import numpy as np

from hpc_lstm.cuda.device import Device
from hpc_lstm.cuda.device_array import DeviceArray

# Numbers from one counter to the next, COUNTERS_APART of the kernels.
APART = 8


class Counters:
    """A ticket counter of each launch, and one of each of its groups of windows.

    Args:
        groups: of windows, of each launch.
    """

    def __init__(self, device: Device, groups: list[int]) -> None:
        ends = np.cumsum([(1 + count) * APART for count in groups]).tolist()
        self._device, self._all = device, device.zeros((ends[-1] if ends else 0,), np.uint32)
        self._parts = [
            self._all.part(begin, end - begin) for begin, end in zip([0, *ends], ends, strict=False)
        ]

    def clear(self) -> None:
        """Set all to zero, on the stream."""
        self._device.clear(self._all)

    def of(self, launch: int) -> DeviceArray | None:
        """Those of a launch; None: there are none."""
        return self._parts[launch] if self._parts else None
