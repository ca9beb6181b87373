"""The GPU of this process, driven by PyCUDA: its context, memory, kernel launches and device times.

PyCUDA uses the device's primary context, which TensorFlow uses as well, so that device addresses of one are valid in
the other. Work of this module runs on a stream of its own. TensorFlow does not expose its stream, so the two are
ordered by waiting: ``synchronize`` before TensorFlow reads a batch, and for a result that TensorFlow computed from a
batch before the batch is overwritten.
"""

from __future__ import annotations

import logging
import math
import os
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import numpy as np

from hpc_lstm.cuda import clusters, compiler, dlpack
from hpc_lstm.errors import CudaError, GpuMemoryError

log = logging.getLogger(__name__)

Source = tuple[str, compiler.Defines]  # a file of kernels/, without its suffix, and macros

THREADS = 256  # of every block, unless a kernel says otherwise
STAGING = 6  # pinned buffers: those of two calls of steps with batches from the host
STATIC_SHARED = 48 * 1024  # bytes of shared memory that a block may have without asking
# CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED and ..._PREFERRED_SHARED_MEMORY_CARVEOUT (in percent), which
# PyCUDA has no names for.
NON_PORTABLE_CLUSTER, CARVEOUT = 14, 9


class DeviceArray:
    """A dense array that kernels can address: in device memory, or in pinned host memory mapped to the device.

    Attributes:
        pointer: device address; 0 where there are no elements.
        shape, dtype: as of a NumPy array.
    """

    def __init__(self, device: Device, memory: Any, pointer: int, shape: tuple[int, ...], dtype: Any) -> None:
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
    def device(self) -> Device:
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


class Device:
    """This process's GPU: the only one that CUDA_VISIBLE_DEVICES, as ``parallel.gpu`` sets it, leaves visible.

    Attributes:
        multiprocessors: number of streaming multiprocessors.
        capability: compute capability, such as (9, 0).
        architecture: such as "sm_90".
        name: as the driver reports it.
        driver: the CUDA version of the driver, such as 12080.
        stream: the stream of all copies and launches.

    Raises:
        CudaError: there is no usable GPU.
    """

    def __init__(self) -> None:
        import pycuda.driver as cuda

        self._cuda = cuda
        try:
            cuda.init()
            device = self._visible_device()
            self._context = device.retain_primary_context()
        except cuda.Error as error:
            raise CudaError(
                f"the GPU cannot be used: {' '.join(str(error).split())}; see `hpc-lstm doctor`, "
                'or set train.backend = "host"'
            ) from None
        self.capability = major, minor = device.compute_capability()
        self.architecture = f"sm_{major}{minor}"
        self.name, self.driver = str(device.name()), int(cuda.get_driver_version())
        self.multiprocessors = device.get_attribute(cuda.device_attribute.MULTIPROCESSOR_COUNT)
        self._threads = device.get_attribute(cuda.device_attribute.MAX_THREADS_PER_MULTIPROCESSOR)
        self._registers = device.get_attribute(cuda.device_attribute.MAX_REGISTERS_PER_MULTIPROCESSOR)
        self._clusters: dict[int, int] = {}
        self._modules: dict[tuple[Any, ...], Module] = {}
        self._codes: dict[tuple[Any, ...], bytes] = {}  # compiled, not yet loaded
        with self.current():
            self.stream = cuda.Stream()
            self._begin, self._end = cuda.Event(), cuda.Event()
            self._copied = [cuda.Event() for _ in range(STAGING)]
        # Pinned buffers for copies to the device: while some are being copied, another is filled.
        self._staging: list[Any] = [None] * STAGING
        self._next_staging = 0
        if ignored := compiler.ignored_setting():
            log.warning(ignored)

    def _visible_device(self) -> Any:
        """The GPU assigned to this rank, which must be the only one that CUDA enumerates."""
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
        """Make the GPU's context current on this thread inside the block.

        Raises:
            CudaError: a CUDA call inside the block failed.
        """
        self._context.push()
        failed = True
        try:
            yield
            failed = False
        except self._cuda.Error as error:
            raise CudaError(
                f"the GPU failed: {' '.join(str(error).split())}; see nvidia-smi and dmesg, then run with --resume"
            ) from error
        finally:
            with suppress(self._cuda.Error) if failed else nullcontext():
                self._cuda.Context.pop()

    # -- memory ----------------------------------------------------------------------------------------

    def free_bytes(self) -> int:
        """Free device memory."""
        with self.current():
            return int(self._cuda.mem_get_info()[0])

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
                memory = self._cuda.mem_alloc(nbytes)
            except self._cuda.MemoryError:
                free, total = self._cuda.mem_get_info()
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
        flags = self._cuda.host_alloc_flags.DEVICEMAP | self._cuda.host_alloc_flags.PORTABLE
        with self.current():
            try:
                host = self._cuda.pagelocked_empty(shape, dtype, mem_flags=flags)
            except self._cuda.Error:
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
                self._cuda.memset_d8_async(array.pointer, 0, array.nbytes, self.stream)

    def upload(self, pointer: int, array: np.ndarray) -> None:
        """Copy a dense host array to ``pointer`` after earlier work, and wait for the copy."""
        if array.nbytes:
            with self.current():
                self._cuda.memcpy_htod_async(pointer, array, self.stream)
                self.stream.synchronize()

    def upload_async(self, pointer: int, array: np.ndarray) -> None:
        """Copy a dense host array to ``pointer`` through one of a few pinned buffers, without waiting for the copy.

        The caller may reuse ``array`` at once, and prepare the next one while this one is being transferred.
        """
        if not array.nbytes:
            return
        which = self._next_staging
        self._next_staging = (which + 1) % STAGING
        with self.current():
            # The buffer may still hold rows that are being transferred.
            self._copied[which].synchronize()
            buffer = self._staging[which]
            if buffer is None or buffer.nbytes < array.nbytes:
                buffer = self._staging[which] = self._cuda.pagelocked_empty(array.nbytes, np.uint8)
            part = buffer[: array.nbytes]
            part[:] = array.reshape(-1).view(np.uint8)
            self._cuda.memcpy_htod_async(pointer, part, self.stream)
            self._copied[which].record(self.stream)

    def free_staging(self) -> None:
        """Free the pinned buffers of ``upload_async`` once all copies are done."""
        self.synchronize()
        self._staging = [None] * STAGING

    def download(self, array: np.ndarray, pointer: int) -> None:
        """Copy from ``pointer`` into a dense host array after earlier work, and wait for the copy."""
        if array.nbytes:
            with self.current():
                self._cuda.memcpy_dtoh_async(array, pointer, self.stream)
                self.stream.synchronize()

    def download_async(self, array: np.ndarray, pointer: int) -> None:
        """Copy from ``pointer`` into pinned host memory after earlier work, without waiting for it."""
        with self.current():
            self._cuda.memcpy_dtoh_async(array, pointer, self.stream)

    def event(self, *, timed: bool = False) -> Any:
        """An event that others can wait for once it is recorded.

        Args:
            timed: ``elapsed_ns`` will be asked for.
        """
        with self.current():
            flags = self._cuda.event_flags
            return self._cuda.Event(flags.DEFAULT if timed else flags.DISABLE_TIMING)

    def elapsed_ns(self, begin: Any, end: Any) -> int:
        """Nanoseconds on the device between two timed events that have been reached."""
        with self.current():
            return int(end.time_since(begin) * 1e6)

    def record(self, event: Any) -> None:
        """Record an event behind all work launched so far."""
        with self.current():
            event.record(self.stream)

    def wait(self, event: Any) -> None:
        """Wait until a recorded event is reached."""
        with self.current():
            event.synchronize()

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
        name = {"float32": "float", "float64": "double"}[np.dtype(value).name]
        return self.load(file, {"VALUE": name}).get_function(kernel)

    def compile(self, sources: Sequence[Source]) -> None:
        """Compile several sources side by side, to be loaded afterwards.

        Raises:
            CudaError: there is no compiler.
        """
        missing = {(file, *sorted(defines.items())): (file, defines) for file, defines in sources}
        missing = {key: source for key, source in missing.items() if key not in self._modules}
        with ThreadPoolExecutor(max(1, min(len(missing), len(os.sched_getaffinity(0))))) as pool:
            self._codes.update(zip(missing, pool.map(self._compile, missing.values()), strict=True))

    def _compile(self, source: Source) -> bytes:
        file, defines = source
        # wgmma exists for compute capability 9.0 alone, and not for what runs on later ones, too.
        target = f"{self.architecture}a" if defines.get("WGMMA") else self.architecture
        return compiler.compile_kernels(compiler.kernel_source(file), defines, target)

    def load(self, file: str, defines: compiler.Defines) -> Module:
        """The kernels of kernels/``file``.cu with these macros, compiled on first use.

        Raises:
            CudaError: there is no compiler, or the driver cannot load the kernels.
        """
        key = (file, *sorted(defines.items()))
        if key not in self._modules:
            code = self._codes.pop(key, b"") or self._compile((file, defines))
            with self.current():
                try:
                    module = self._cuda.module_from_buffer(code)
                except self._cuda.Error as error:
                    raise CudaError(
                        f"kernels/{file}.cu cannot be loaded: {' '.join(str(error).split())}; "
                        "is the CUDA compiler newer than the driver?"
                    ) from None
            self._modules[key] = Module(self, module)
        return self._modules[key]

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
                self._cuda.memcpy_dtod_async(to.pointer, source.pointer, source.nbytes, self.stream)

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

    def synchronize(self) -> None:
        """Wait until all work launched on the stream is done."""
        with self.current():
            self.stream.synchronize()

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


class Branch:
    """Work beside the device's stream: what is launched in ``with branch`` follows all that was launched before, and
    what comes after it need not wait, until ``join``."""

    def __init__(self, device: Device) -> None:
        self._device, self._main = device, device.stream
        self._begun, self._done = device.event(), device.event()
        with device.current():
            self._stream = device._cuda.Stream()

    def __enter__(self) -> None:
        with self._device.current():
            self._begun.record(self._main)
            self._stream.wait_for_event(self._begun)
        self._device.stream = self._stream

    def __exit__(self, *_: object) -> None:
        self._device.stream = self._main

    def join(self) -> None:
        """Make the device's stream wait for the branch."""
        with self._device.current():
            self._done.record(self._stream)
            self._main.wait_for_event(self._done)


class Module:
    """The kernels of one source file, as one set of macros makes them."""

    def __init__(self, device: Device, module: Any) -> None:
        # Not a strong reference: a circle would be freed by the collector, in whichever thread and whenever it runs,
        # and PyCUDA frees nothing in another thread.
        self._device, self._module = weakref.proxy(device), module
        self._functions: dict[str, Any] = {}

    def get_function(
        self, kernel: str, shared: int = 0, largest_cluster: bool = False, *, little_cache: bool = False
    ) -> Any:
        """A kernel.

        Args:
            shared: bytes of dynamic shared memory that it will be launched with.
            largest_cluster: it is launched in clusters of more than 8 blocks.
            little_cache: it leaves what is cache or shared memory to the latter, as it must to run on a multiprocessor
                beside a kernel that takes all of it.
        """
        if kernel not in self._functions:
            cuda = self._device._cuda
            with self._device.current():
                function = self._module.get_function(kernel)
                attributes = cuda.function_attribute
                if shared > STATIC_SHARED:
                    function.set_attribute(attributes.MAX_DYNAMIC_SHARED_SIZE_BYTES, shared)
                if largest_cluster:
                    function.set_attribute(attributes(NON_PORTABLE_CLUSTER), 1)
                if little_cache:
                    function.set_attribute(attributes(CARVEOUT), 100)
            self._functions[kernel] = function
        return self._functions[kernel]


def _kernel_parameter(value: Any) -> Any:
    if isinstance(value, DeviceArray):
        return np.uint64(value.pointer)
    return np.uint64(0) if value is None else value


def _gib(size: float) -> str:
    return f"{size / 2**30:.2f} GiB"
