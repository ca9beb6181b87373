"""The GPU of this process as PyCUDA drives it: context, memory, kernels, and the time they take.

PyCUDA uses the device's primary context, the one that TensorFlow uses, too, so that addresses of either are good
in both. Work of this module runs on one stream of its own. TensorFlow's stream is not to be had, so the two are
ordered by waiting: ``finish`` before TensorFlow reads, and a result that TensorFlow returned before its input is
written again.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import numpy as np

from hpc_lstm.cuda import compiler, dlpack
from hpc_lstm.errors import CudaError

THREADS = 256


class DeviceArray:
    """Dense memory that kernels reach: on the device, or pinned on the host and mapped.

    Attributes:
        pointer: device address.
        shape, dtype: as of a NumPy array.
    """

    def __init__(self, device: Device, memory: Any, pointer: int, shape: tuple[int, ...], dtype: Any) -> None:
        self._device, self._memory = device, memory
        self.pointer, self.shape, self.dtype = pointer, shape, np.dtype(dtype)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def size(self) -> int:
        """Elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes."""
        return self.size * self.dtype.itemsize

    def set(self, array: np.ndarray) -> None:
        """Copy in an array of the same size; returns when it is there."""
        if np.size(array) != self.size:
            raise ValueError(f"{np.size(array)} numbers do not fill {self.size}")
        self._device.upload(self.pointer, np.ascontiguousarray(array, self.dtype))

    def numpy(self) -> np.ndarray:
        """A copy in host memory, after all work that was launched before."""
        host = np.empty(self.shape, self.dtype)
        self._device.download(host, self.pointer)
        return host

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.numpy() if dtype is None else self.numpy().astype(dtype)

    def first(self, length: int) -> DeviceArray:
        """The same memory, of the first ``length`` items alone."""
        return DeviceArray(self._device, self._memory, self.pointer, (length, *self.shape[1:]), self.dtype)

    def reshaped(self, shape: tuple[int, ...]) -> DeviceArray:
        """The same memory in another shape of at most as many elements."""
        return DeviceArray(self._device, self._memory, self.pointer, shape, self.dtype)

    def __dlpack__(self, *, stream: Any = None, **options: Any) -> Any:
        self._device.finish()
        return dlpack.capsule(self, self.pointer, self.shape, self.dtype)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (dlpack.CUDA, 0)


class Device:
    """This process's GPU: the first that CUDA_VISIBLE_DEVICES leaves (``hpc_lstm.parallel.gpu`` sees to that).

    Attributes:
        multiprocessors: of the GPU.
        architecture: such as "sm_90".

    Raises:
        CudaError: no GPU that can be used.
    """

    def __init__(self) -> None:
        import pycuda.driver as cuda

        self._cuda = cuda
        try:
            cuda.init()
            device = self._the_one()
            self._context = device.retain_primary_context()
        except cuda.Error as error:
            raise CudaError(
                f"the GPU cannot be used: {' '.join(str(error).split())}; see `hpc-lstm doctor`, "
                'or set train.backend = "host"'
            ) from None
        major, minor = device.compute_capability()
        self.architecture = f"sm_{major}{minor}"
        self.multiprocessors = device.get_attribute(cuda.device_attribute.MULTIPROCESSOR_COUNT)
        self._threads = device.get_attribute(cuda.device_attribute.MAX_THREADS_PER_MULTIPROCESSOR)
        self._registers = device.get_attribute(cuda.device_attribute.MAX_REGISTERS_PER_MULTIPROCESSOR)
        self._functions: dict[tuple[str, str, str], Any] = {}
        with self.current():
            self.stream = cuda.Stream()
            self._begin, self._end = cuda.Event(), cuda.Event()
            self._copied = [cuda.Event(), cuda.Event()]
        self._staging: list[Any] = [None, None]
        self._next_staging = 0

    def _the_one(self) -> Any:
        """The GPU that this rank has claimed, which must be the only one that CUDA shows."""
        entry = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        count = self._cuda.Device.count()
        if entry and "," not in entry and count > 1:
            raise CudaError(
                f"CUDA shows {count} GPUs though CUDA_VISIBLE_DEVICES = {entry}: MPI started it before this rank "
                "chose its own; let the launcher bind one GPU to each rank, such as srun --gpus-per-task=1"
            )
        return self._cuda.Device(0)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the GPU's context this thread's inside the block."""
        self._context.push()
        failed = True
        try:
            yield
            failed = False
        except self._cuda.Error as error:
            raise CudaError(
                f"the GPU failed: {' '.join(str(error).split())}; see nvidia-smi and dmesg, then go on with --resume"
            ) from error
        finally:
            with suppress(self._cuda.Error) if failed else nullcontext():
                self._cuda.Context.pop()

    # -- memory ----------------------------------------------------------------------------------------

    def free_bytes(self) -> int:
        """Device memory that nobody has taken."""
        with self.current():
            return int(self._cuda.mem_get_info()[0])

    def empty(self, shape: tuple[int, ...], dtype: Any, purpose: str = "a working array") -> DeviceArray:
        """Device memory, uninitialised.

        Raises:
            CudaError: there is not enough; ``purpose`` says for what.
        """
        nbytes = max(1, math.prod(shape) * np.dtype(dtype).itemsize)
        with self.current():
            try:
                memory = self._cuda.mem_alloc(nbytes)
            except self._cuda.MemoryError:
                free, total = self._cuda.mem_get_info()
                raise CudaError(
                    f"GPU memory: {purpose} needs {_gib(nbytes)}, {_gib(free)} of {_gib(total)} are free; "
                    "lower train.batch_size or train.gpu_rows_share, or start fewer ranks on this GPU"
                ) from None
        return DeviceArray(self, memory, int(memory), shape, dtype)

    def nothing(self) -> DeviceArray:
        """An array without elements or memory."""
        return DeviceArray(self, None, 0, (0,), np.float32)

    def pinned(self, shape: tuple[int, ...], dtype: Any, purpose: str) -> tuple[DeviceArray, np.ndarray]:
        """Host memory that kernels read over the bus, and the same as a NumPy array.

        Raises:
            CudaError: the host has not enough.
        """
        flags = self._cuda.host_alloc_flags.DEVICEMAP | self._cuda.host_alloc_flags.PORTABLE
        with self.current():
            try:
                host = self._cuda.pagelocked_empty(shape, dtype, mem_flags=flags)
            except self._cuda.Error:
                nbytes = math.prod(shape) * np.dtype(dtype).itemsize
                raise CudaError(
                    f"host memory: {purpose} needs {_gib(nbytes)} of pinned memory, which could not be had; "
                    "raise train.gpu_rows_share, start fewer ranks on this node, or see `ulimit -l`"
                ) from None
            pointer = int(host.base.get_device_pointer())
        return DeviceArray(self, host, pointer, shape, dtype), host

    def filled(self, array: np.ndarray, purpose: str = "a working array") -> DeviceArray:
        """A copy of ``array`` on the device."""
        made = self.empty(array.shape, array.dtype, purpose)
        made.set(array)
        return made

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> DeviceArray:
        """Zeroed device memory."""
        made = self.empty(shape, dtype)
        if made.nbytes:
            with self.current():
                self._cuda.memset_d8_async(made.pointer, 0, made.nbytes, self.stream)
        return made

    def upload(self, pointer: int, array: np.ndarray) -> None:
        """Copy a dense host array to ``pointer``, after earlier work, and wait for it."""
        if array.nbytes:
            with self.current():
                self._cuda.memcpy_htod_async(pointer, array, self.stream)
                self.stream.synchronize()

    def stream_in(self, pointer: int, array: np.ndarray) -> None:
        """Copy a dense host array to ``pointer`` through one of two pinned buffers, without waiting for it.

        While one buffer is on its way the caller reads the next rows and fills the other.
        """
        if not array.nbytes:
            return
        which = self._next_staging
        self._next_staging = 1 - which
        with self.current():
            self._copied[which].synchronize()
            buffer = self._staging[which]
            if buffer is None or buffer.nbytes < array.nbytes:
                buffer = self._staging[which] = self._cuda.pagelocked_empty(array.nbytes, np.uint8)
            part = buffer[: array.nbytes]
            part[:] = array.reshape(-1).view(np.uint8)
            self._cuda.memcpy_htod_async(pointer, part, self.stream)
            self._copied[which].record(self.stream)

    def drop_staging(self) -> None:
        """Free the buffers of ``stream_in``, when all copies are done."""
        self.finish()
        self._staging = [None, None]

    def download(self, array: np.ndarray, pointer: int) -> None:
        """Copy from ``pointer`` into a dense host array, after earlier work, and wait for it."""
        if array.nbytes:
            with self.current():
                self._cuda.memcpy_dtoh_async(array, pointer, self.stream)
                self.stream.synchronize()

    # -- kernels ---------------------------------------------------------------------------------------

    def function(self, file: str, kernel: str, value: Any) -> Any:
        """The kernel of kernels/``file``.cu for values of a floating ``value`` type, compiled on first use.

        Raises:
            CudaError: there is no compiler, or the kernel cannot be loaded.
        """
        name = {"float32": "float", "float64": "double"}[np.dtype(value).name]
        key = (file, kernel, name)
        if key not in self._functions:
            code = compiler.cubin(file, {"VALUE": name}, self.architecture)
            with self.current():
                try:
                    module = self._cuda.module_from_buffer(code)
                except self._cuda.Error as error:
                    raise CudaError(
                        f"kernels/{file}.cu cannot be loaded: {' '.join(str(error).split())}; "
                        "is the CUDA compiler newer than the driver?"
                    ) from None
                self._functions[key] = module.get_function(kernel)
        return self._functions[key]

    def launch(self, function: Any, blocks: int, *arguments: Any) -> None:
        """Put a kernel of ``THREADS`` threads a block on the stream; none if there are no blocks.

        Args:
            arguments: ``DeviceArray``, NumPy scalars, or None for a null pointer.
        """
        if blocks < 1:
            return
        given = [_argument(argument) for argument in arguments]
        with self.current():
            function(*given, block=(THREADS, 1, 1), grid=(int(blocks), 1), stream=self.stream)

    def resident_blocks(self, function: Any) -> int:
        """Blocks of a kernel that the GPU runs at once."""
        registers = -(-max(function.num_regs, 1) // 8) * 8
        return self.multiprocessors * max(1, min(self._threads, self._registers // registers) // THREADS)

    def finish(self) -> None:
        """Return when everything launched here is done."""
        with self.current():
            self.stream.synchronize()

    @contextmanager
    def timed(self) -> Iterator[list[int]]:
        """Wait for the work launched inside, and put its nanoseconds on the device into the list."""
        taken: list[int] = []
        with self.current():
            self._begin.record(self.stream)
        yield taken
        with self.current():
            self._end.record(self.stream)
            self._end.synchronize()
            taken.append(int(self._end.time_since(self._begin) * 1e6))


def _argument(value: Any) -> Any:
    if isinstance(value, DeviceArray):
        return np.uint64(value.pointer)
    return np.uint64(0) if value is None else value


def _gib(size: float) -> str:
    return f"{size / 2**30:.2f} GiB"
