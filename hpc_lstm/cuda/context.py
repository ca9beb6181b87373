"""The context of this process's GPU, and the stream that copies and launches are ordered on.

PyCUDA uses the device's primary context, which TensorFlow uses as well, so that device addresses of one are valid in
the other. Work of this package runs on a stream of its own. TensorFlow does not expose its stream, so the two are
ordered by waiting: ``synchronize`` before TensorFlow reads a batch, and for a result that TensorFlow computed from a
batch before the batch is overwritten.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import numpy as np

from hpc_lstm.errors import CudaError


class Context:
    """The primary context of the only GPU that CUDA_VISIBLE_DEVICES, as ``parallel.gpu`` sets it, leaves visible.

    Attributes:
        cuda: PyCUDA's interface to the driver.
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

        self.cuda = cuda
        try:
            cuda.init()
            self._gpu = self._visible_device()
            self._context = self._gpu.retain_primary_context()
        except cuda.Error as error:
            raise CudaError(
                f"the GPU cannot be used: {' '.join(str(error).split())}; see `hpc-lstm doctor`, "
                'or set train.backend = "host"'
            ) from None
        self.capability = major, minor = self._gpu.compute_capability()
        self.architecture = f"sm_{major}{minor}"
        self.name, self.driver = str(self._gpu.name()), int(cuda.get_driver_version())
        with self.current():
            self.stream = cuda.Stream()

    def attribute(self, name: str) -> int:
        """A limit of the GPU, by the name of ``CUdevice_attribute`` without its beginning."""
        return int(self._gpu.get_attribute(getattr(self.cuda.device_attribute, name)))

    def _visible_device(self) -> Any:
        """The GPU assigned to this rank, which must be the only one that CUDA enumerates."""
        entry = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        count = self.cuda.Device.count()
        if entry and "," not in entry and count > 1:
            raise CudaError(
                f"CUDA shows {count} GPUs though CUDA_VISIBLE_DEVICES = {entry}: MPI started it before this rank "
                "chose its own; let the launcher bind one GPU to each rank, such as srun --gpus-per-task=1"
            )
        return self.cuda.Device(0)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the GPU's context current on this thread inside the block.

        Raises:
            CudaError: a CUDA call inside the block failed.
        """
        try:
            self._context.push()
        except self.cuda.Error as error:
            raise _failed(error) from error
        failed = True
        try:
            yield
            failed = False
        except self.cuda.Error as error:
            raise _failed(error) from error
        finally:
            with suppress(self.cuda.Error) if failed else nullcontext():
                self.cuda.Context.pop()

    def synchronize(self) -> None:
        """Wait until all work launched on the stream is done."""
        with self.current():
            self.stream.synchronize()

    def upload(self, pointer: int, array: np.ndarray) -> None:
        """Copy a dense host array to ``pointer`` after earlier work, and wait for the copy."""
        if array.nbytes:
            with self.current():
                self.cuda.memcpy_htod_async(pointer, array, self.stream)
                self.stream.synchronize()

    def download(self, array: np.ndarray, pointer: int) -> None:
        """Copy from ``pointer`` into a dense host array after earlier work, and wait for the copy."""
        if array.nbytes:
            with self.current():
                self.cuda.memcpy_dtoh_async(array, pointer, self.stream)
                self.stream.synchronize()

    def download_async(self, array: np.ndarray, pointer: int) -> None:
        """Copy from ``pointer`` into pinned host memory after earlier work, without waiting for it."""
        with self.current():
            self.cuda.memcpy_dtoh_async(array, pointer, self.stream)

    def event(self, *, timed: bool = False) -> Any:
        """An event that others can wait for once it is recorded.

        Args:
            timed: ``elapsed_ns`` will be asked for.
        """
        with self.current():
            flags = self.cuda.event_flags
            return self.cuda.Event(flags.DEFAULT if timed else flags.DISABLE_TIMING)

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


def _failed(error: Exception) -> CudaError:
    return CudaError(
        f"the GPU failed: {' '.join(str(error).split())}; see nvidia-smi and dmesg, then run with --resume"
    )
