"""Arrays that kernels can address."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from hpc_lstm.cuda import dlpack
from hpc_lstm.cuda.context import Context


class DeviceArray:
    """A dense array that kernels can address: in device memory, or in pinned host memory mapped to the device.

    Attributes:
        pointer: device address; 0 where there are no elements.
        shape, dtype: as of a NumPy array.
    """

    def __init__(
        self, device: Context, memory: Any, pointer: int, shape: tuple[int, ...], dtype: Any
    ) -> None:
        self._device, self._memory = device, memory
        self.pointer, self.shape, self.dtype = pointer, shape, np.dtype(dtype)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.size * self.dtype.itemsize

    def set(self, array: np.ndarray) -> None:
        """Copy a host array of the same size to the device, and wait for the copy."""
        if np.size(array) != self.size:
            raise ValueError(f"an array of {np.size(array)} elements does not fit one of {self.size}")
        self._device.upload(self.pointer, np.ascontiguousarray(array, self.dtype))

    def numpy(self) -> np.ndarray:
        """A copy in host memory, made after all work launched before."""
        host = np.empty(self.shape, self.dtype)
        self._device.download(host, self.pointer)
        return host

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.numpy() if dtype is None else self.numpy().astype(dtype)

    def view(self, shape: tuple[int, ...], dtype: Any = None) -> DeviceArray:
        """The same memory in another shape and type, of at most as many bytes."""
        return DeviceArray(
            self._device, self._memory, self.pointer, shape, self.dtype if dtype is None else dtype
        )

    @property
    def device(self) -> Context:
        """On whose stream it is written."""
        return self._device

    def part(self, first: int, count: int) -> DeviceArray:
        """``count`` elements from number ``first`` on, in the same memory."""
        return DeviceArray(
            self._device, self._memory, self.pointer + first * self.dtype.itemsize, (count,), self.dtype
        )

    def __dlpack__(self, *, stream: Any = None, **options: Any) -> Any:
        self._device.synchronize()
        return dlpack.make_capsule(self, self.pointer, self.shape, self.dtype)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (dlpack.CUDA, 0)


def array_on_gpu(device: Context, array: Any) -> DeviceArray | None:
    """A float32 array as the GPU addresses it, once it is written; None: it lies on the host.

    Raises:
        TypeError: it lies on the GPU in another type.
    """
    if not hasattr(array, "__dlpack_device__") or array.__dlpack_device__()[0] != dlpack.CUDA:
        return None
    capsule = array.__dlpack__()  # waits until it is written, and keeps the memory
    seen = dlpack.inspect_capsule(capsule)
    if seen.dtype != np.float32:
        raise TypeError(f"an array of {seen.dtype} in GPU memory where float32 is expected")
    return DeviceArray(device, capsule, seen.address, seen.shape, seen.dtype)
