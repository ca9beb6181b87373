"""The GPU of this process, driven by PyCUDA: its memory, kernel launches and device times."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from hpc_lstm.cuda import clusters, compiler
from hpc_lstm.cuda.branch import Branch
from hpc_lstm.cuda.context import Context
from hpc_lstm.cuda.device_array import DeviceArray
from hpc_lstm.cuda.modules import Module, Modules, Source, of_values
from hpc_lstm.cuda.staging import Staging
from hpc_lstm.errors import CudaError, GpuMemoryError

log = logging.getLogger(__name__)

THREADS = 256  # of every block, unless a kernel says otherwise


class Device(Context):
    """This process's GPU; see ``Context`` for its context, stream and events.

    Attributes:
        multiprocessors: number of streaming multiprocessors.

    Raises:
        CudaError: there is no usable GPU.
    """

    def __init__(self) -> None:
        super().__init__()
        self.multiprocessors = self.attribute("MULTIPROCESSOR_COUNT")
        self._threads = self.attribute("MAX_THREADS_PER_MULTIPROCESSOR")
        self._registers = self.attribute("MAX_REGISTERS_PER_MULTIPROCESSOR")
        self._clusters: dict[int, int] = {}
        with self.current():
            self._begin, self._end = self.cuda.Event(), self.cuda.Event()
        self._modules, self._staging = Modules(self), Staging(self)
        if ignored := compiler.ignored_setting():
            log.warning(ignored)

    # -- memory ----------------------------------------------------------------------------------------

    def free_bytes(self) -> int:
        """Free device memory."""
        with self.current():
            return int(self.cuda.mem_get_info()[0])

    def empty(self, shape: tuple[int, ...], dtype: Any, purpose: str = "a working array") -> DeviceArray:
        """Uninitialised device memory; none is allocated for an array without elements.

        Args:
            purpose: what needs it, for the error message.

        Raises:
            GpuMemoryError: there is not enough memory.
        """
        nbytes = math.prod(shape) * np.dtype(dtype).itemsize
        if nbytes == 0:
            return DeviceArray(self, None, 0, shape, dtype)
        with self.current():
            try:
                memory = self.cuda.mem_alloc(nbytes)
            except self.cuda.MemoryError:
                free, total = self.cuda.mem_get_info()
                raise GpuMemoryError(
                    f"GPU memory: {purpose} needs {_gib(nbytes)}, {_gib(free)} of {_gib(total)} are free; "
                    "lower train.batch_size or train.gpu_rows_share, or start fewer ranks on this GPU"
                ) from None
        return DeviceArray(self, memory, int(memory), shape, dtype)

    def empty_pinned(
        self, shape: tuple[int, ...], dtype: Any, purpose: str
    ) -> tuple[DeviceArray, np.ndarray]:
        """Uninitialised pinned host memory, as kernels address it over the bus, and as a NumPy array.

        Args:
            purpose: what needs it, for the error message.

        Raises:
            CudaError: the host cannot pin that much.
        """
        flags = self.cuda.host_alloc_flags.DEVICEMAP | self.cuda.host_alloc_flags.PORTABLE
        with self.current():
            try:
                host = self.cuda.pagelocked_empty(shape, dtype, mem_flags=flags)
            except self.cuda.Error:
                nbytes = math.prod(shape) * np.dtype(dtype).itemsize
                raise CudaError(
                    f"host memory: {purpose} needs {_gib(nbytes)} of pinned memory, which the system does not "
                    "provide; raise train.gpu_rows_share, start fewer ranks on this node, or see `ulimit -l`"
                ) from None
            pointer = int(host.base.get_device_pointer())
        return DeviceArray(self, host, pointer, shape, dtype), host

    def to_device(self, array: np.ndarray, purpose: str = "a working array") -> DeviceArray:
        """A copy of ``array`` in device memory."""
        copy = self.empty(array.shape, array.dtype, purpose)
        copy.set(array)
        return copy

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> DeviceArray:
        """Zeroed device memory."""
        array = self.empty(shape, dtype)
        self.clear(array)
        return array

    def clear(self, array: DeviceArray) -> None:
        """Set all bytes of an array to zero, on the stream."""
        if array.nbytes:
            with self.current():
                self.cuda.memset_d8_async(array.pointer, 0, array.nbytes, self.stream)

    def upload_async(self, pointer: int, array: np.ndarray) -> None:
        """Copy a dense host array to ``pointer`` through one of a few pinned buffers, without waiting for the copy.

        The caller may reuse ``array`` at once, and prepare the next one while this one is being transferred.
        """
        self._staging.upload(pointer, array)

    def free_staging(self) -> None:
        """Free the pinned buffers of ``upload_async`` once all copies are done."""
        self._staging.free()

    def branch(self) -> Branch:
        """A second stream for work beside the first."""
        return Branch(self)

    # -- kernels ---------------------------------------------------------------------------------------

    def function(self, file: str, kernel: str, value: Any) -> Any:
        """A kernel of kernels/``file``.cu for values of type ``value``, compiled on first use.

        Args:
            value: float32 or float64.

        Raises:
            CudaError: there is no compiler, or the driver cannot load the kernel.
        """
        return self.load(file, of_values(value)).get_function(kernel)

    def compile(self, sources: Sequence[Source]) -> None:
        """Compile several sources side by side, to be loaded afterwards.

        Raises:
            CudaError: there is no compiler.
        """
        self._modules.compile(sources)

    def load(self, file: str, defines: compiler.Defines) -> Module:
        """The kernels of kernels/``file``.cu with these macros, compiled on first use.

        Raises:
            CudaError: there is no compiler, or the driver cannot load the kernels.
        """
        return self._modules.load(file, defines)

    def launch(self, function: Any, blocks: int, *arguments: Any) -> None:
        """Launch a kernel on the stream with ``THREADS`` threads a block; nothing if there are no blocks.

        Args:
            arguments: ``DeviceArray``, NumPy scalars, or None for a null pointer.
        """
        if blocks < 1:
            return
        self.launch_grid(function, (int(blocks),), THREADS, 0, *arguments)

    def launch_grid(
        self, function: Any, grid: tuple[int, ...], threads: int, shared: int, *arguments: Any
    ) -> None:
        """Launch a kernel on the stream with its own numbers of blocks and threads.

        Args:
            grid: blocks in up to three dimensions.
            shared: bytes of dynamic shared memory a block.
            arguments: as of ``launch``.
        """
        parameters = [_kernel_parameter(argument) for argument in arguments]
        blocks = (*grid, *(1,) * (3 - len(grid)))
        with self.current():
            function(*parameters, block=(threads, 1, 1), grid=blocks, shared=shared, stream=self.stream)

    def copy(self, to: DeviceArray, source: DeviceArray) -> None:
        """Copy an array on the device, on the stream."""
        if source.nbytes:
            with self.current():
                self.cuda.memcpy_dtod_async(to.pointer, source.pointer, source.nbytes, self.stream)

    def resident_blocks(self, function: Any) -> int:
        """Blocks of a kernel that the whole GPU runs at the same time, limited by threads and registers."""
        # The hardware allocates registers in units of 8 a thread.
        registers = -(-max(function.num_regs, 1) // 8) * 8
        return self.multiprocessors * max(1, min(self._threads, self._registers // registers) // THREADS)

    def resident_clusters(self, size: int) -> int:
        """Clusters of ``size`` blocks, each with a multiprocessor for itself, that the GPU runs at the same time.

        0: it cannot place one.
        """
        if size == 1:
            return self.multiprocessors
        if self.capability < (9, 0):
            return 0
        if size not in self._clusters:
            with self.current():
                found = clusters.resident_clusters(size)
            # MPS may give this process fewer multiprocessors than the GPU has.
            self._clusters[size] = min(found, self.multiprocessors // size)
        return self._clusters[size]

    @contextmanager
    def timed(self) -> Iterator[list[int]]:
        """Wait for the work launched inside, and append the nanoseconds that it took on the device to the list."""
        elapsed_ns: list[int] = []
        with self.current():
            self._begin.record(self.stream)
        yield elapsed_ns
        with self.current():
            self._end.record(self.stream)
            self._end.synchronize()
            elapsed_ns.append(int(self._end.time_since(self._begin) * 1e6))


def _kernel_parameter(value: Any) -> Any:
    if isinstance(value, DeviceArray):
        return np.uint64(value.pointer)
    return np.uint64(0) if value is None else value


def _gib(size: float) -> str:
    return f"{size / 2**30:.2f} GiB"
