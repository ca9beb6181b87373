"""A vector of the CUDA engine's that stays in GPU memory while it is averaged, on the engine's stream."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from hpc_lstm.cuda.device import Device
from hpc_lstm.cuda.device_array import DeviceArray
from hpc_lstm.model.engines.cuda.network import TrainingStep


class CudaVector:
    """A vector of the engine's in GPU memory, to be averaged on the engine's stream.

    Args:
        packed: the kernels read packed copies of it.
    """

    def __init__(self, device: Device, step: TrainingStep, vector: DeviceArray, *, packed: bool) -> None:
        self._device, self._step, self._vector, self._packed = device, step, vector, packed

    @property
    def stream(self) -> int:
        """Of the engine's work."""
        return int(self._device.stream.handle)

    def scaled(self, share: float) -> CudaScaledCopy:
        """The vector times ``share``, behind all steps so far; the engine's next such copy overwrites it."""
        begun = self._device.event(timed=True)
        self._device.record(begun)
        return CudaScaledCopy(self._device, self._step.scaled(self._vector, share), begun)

    def assign(self, copy: CudaScaledCopy) -> _Queued:
        """Take what ``copy`` holds, ahead of all steps to come."""
        self._device.copy(self._vector, copy.array)
        if self._packed:
            self._step.pack()
        return _Queued(self._device, copy.begun)

    def current(self) -> AbstractContextManager[None]:
        """Make the GPU current inside the block."""
        return self._device.current()


class CudaScaledCopy:
    """A copy of a vector in GPU memory, to be changed in place by its address.

    Attributes:
        address: of its first number.
        length: numbers, float32.
        begun: event before it is written.
    """

    def __init__(self, device: Device, array: DeviceArray, begun: Any) -> None:
        self._device, self.array, self.begun = device, array, begun
        self.address, self.length = array.pointer, array.size

    def wait(self) -> None:
        """Wait until it is written."""
        self._device.synchronize()


class _Queued:
    """What was launched on a device since an event."""

    def __init__(self, device: Device, begun: Any) -> None:
        self._device, self._begun, self._reached = device, begun, device.event(timed=True)
        device.record(self._reached)

    def wait(self) -> int:
        """Wait until it is done; nanoseconds that it took."""
        self._device.wait(self._reached)
        return self._device.elapsed_ns(self._begun, self._reached)
