"""Whether CUDA kernels can run in this process, which takes a driver, a GPU, PyCUDA and a compiler."""

from __future__ import annotations

import os
from ctypes import c_int

from hpc_lstm.cuda.driver import ERROR_NO_DEVICE, LIBRARY, CudaDriver
from hpc_lstm.errors import CudaError
from hpc_lstm.native.shared_library import LibraryError

NO_DRIVER = f"there is no NVIDIA driver ({LIBRARY}); use a node with a GPU"


def cuda_problem() -> str | None:
    """Why CUDA kernels cannot run in this process, with the remedy, in one line; None if they can.

    Starts CUDA in this process where there is a GPU, so the rank's GPU must have been assigned before.
    """
    return _driver_problem() or _pycuda_problem() or _compiler_problem()


def _driver_problem() -> str | None:
    count = c_int()
    try:
        driver = CudaDriver()
        driver.call("cuInit", 0)
        driver.call("cuDeviceGetCount", count)
    except OSError:
        return NO_DRIVER
    except LibraryError as error:
        if error.status != ERROR_NO_DEVICE:
            return f"the NVIDIA driver fails: {error}; see nvidia-smi and dmesg"
        count.value = 0
    if count.value:
        return None
    variable = os.environ.get("CUDA_VISIBLE_DEVICES")
    if variable is not None:
        return (
            f'CUDA_VISIBLE_DEVICES = "{variable}" leaves no GPU visible; unset it, or name a GPU of this node'
        )
    return "the driver sees no GPU; ask the batch system for one, such as --gpus-per-node=1"


def _pycuda_problem() -> str | None:
    try:
        import pycuda.driver as cuda
    except Exception as error:  # a broken installation raises whatever its libraries raise
        if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] == "pycuda":
            return 'PyCUDA is not installed; pip install "hpc-lstm[gpu]"'
        rebuild = "pip install --force-reinstall --no-deps --no-binary pycuda pycuda"
        return f"PyCUDA cannot be loaded ({_first_line(error)}); {rebuild}"
    try:
        cuda.init()
    except cuda.Error as error:
        return f"PyCUDA cannot start CUDA ({_first_line(error)}); is it built for a newer CUDA than the driver's?"
    return None


def _compiler_problem() -> str | None:
    from hpc_lstm.cuda import compiler

    try:
        compiler.compiler_version()
    except CudaError as error:
        return str(error)
    return None


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
