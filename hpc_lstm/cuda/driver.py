"""NVIDIA's driver by its C interface, where PyCUDA is not needed: https://docs.nvidia.com/cuda/cuda-driver-api/."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_int, c_void_p
from typing import ClassVar

from hpc_lstm.native.shared_library import SharedLibrary

LIBRARY = "libcuda.so.1"
# CUresult of a driver that sees no GPU.
ERROR_NO_DEVICE = 100


class CudaDriver(SharedLibrary):
    """The driver's functions that are needed without a context of PyCUDA's.

    Raises:
        OSError: there is no driver.
    """

    functions: ClassVar = {
        "cuInit": (c_int,),
        "cuDeviceGetCount": (POINTER(c_int),),
        "cuStreamSynchronize": (c_void_p,),
    }

    def __init__(self) -> None:
        super().__init__(LIBRARY)

    def describe_status(self, status: int) -> str:
        name = ctypes.c_char_p()
        self._function("cuGetErrorName")(status, ctypes.byref(name))
        return f"{(name.value or b'?').decode()} ({status})"
