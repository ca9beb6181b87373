"""The functions of ``host`` on a GPU, by the kernels in kernels/*.cu.

Arrays may lie on the host or on the device (``DeviceArray``, or anything that speaks DLPack on a GPU); results
that are small come back as NumPy arrays, others stay on the device. Values are scaled in float64 with one rounding
to float32, as on the host: by the same scale and shift, batches are the same to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpc_lstm.cuda import dlpack
from hpc_lstm.cuda.device import THREADS, Device
from hpc_lstm.cuda.device_array import DeviceArray
from hpc_lstm.cuda.modules import of_values
from hpc_lstm.preprocess.sampler import ROUNDS, round_keys

CHUNK = 32_768  # pairs a block of kernels/mse.cu
MOMENT_ROWS = 8_192  # rows a block of kernels/moments.cu
WINDOWS = 8  # windows a block of kernels/windows.cu
# Files of kernels/, and the types of the values that they are for.
SOURCES = (
    ("minmax", np.float64),
    ("moments", np.float64),
    ("windows", np.float64),
    ("mse", np.float32),
    ("mse", np.float64),
)


class CudaKernels:
    """The functions of ``host`` on one GPU.

    Raises:
        CudaError: no GPU that can be used, or no compiler for its kernels.
    """

    def __init__(self) -> None:
        self.device = Device()
        sources = [(file, of_values(value)) for file, value in SOURCES]
        self.device.compile(sources)
        for source in sources:
            self.device.load(*source)
        self._arrived: DeviceArray | None = None

    # -- fit -------------------------------------------------------------------------------------------

    def fit_minmax(self, rows: Any, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Smallest and largest value of each column of each symbol, NaN left out: ``host.fit_minmax``."""
        return self.minmax_between(self.on_device(rows), offsets[:-1], offsets[1:])

    def minmax_between(
        self, rows: DeviceArray, begin: np.ndarray, end: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The same of rows begin[i]..end[i], ascending and apart, int64 [k]; two float64 [k, C]."""
        columns = rows.shape[1]
        low = self.device.to_device(np.full((len(begin), columns), np.inf, rows.dtype))
        high = self.device.to_device(np.full((len(begin), columns), -np.inf, rows.dtype))
        self.launch_fit(rows, self._indices(begin), self._indices(end), low, high)
        return low.numpy().astype(np.float64), high.numpy().astype(np.float64)

    def launch_fit(
        self, rows: DeviceArray, begin: DeviceArray, end: DeviceArray, low: DeviceArray, high: DeviceArray
    ) -> None:
        """Lower ``low`` and raise ``high`` [k, C] by the rows between; on the stream."""
        count, columns = rows.shape
        kernel = self.device.function("minmax", "fit", rows.dtype)
        self.device.launch(
            kernel,
            self._row_blocks(kernel, count, 16),
            *(rows, begin, end, np.int64(len(begin)), np.int64(count), np.int32(columns), np.int32(columns)),
            *(low, high),
        )

    def fit_moments(self, rows: Any, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Count, mean, and squares about the mean, NaN left out: ``host.fit_moments``."""
        return self.moments_between(self.on_device(rows), offsets[:-1], offsets[1:])

    def moments_between(
        self, rows: DeviceArray, begin: np.ndarray, end: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same of rows begin[i]..end[i], ascending and apart, int64 [k]; three float64 [k, C]."""
        device, (count, columns), segments = self.device, rows.shape, len(begin)
        blocks = -(-count // MOMENT_ROWS)
        slots = device.empty((blocks + segments, columns, 3), np.float64)
        first, last = self._indices(begin), self._indices(end)
        device.launch(
            device.function("moments", "parts", rows.dtype),
            blocks,
            *(rows, first, last, np.int64(segments), np.int64(count), np.int32(columns), slots),
        )
        results = [device.empty((segments, columns), np.float64) for _ in range(3)]
        device.launch(
            device.function("moments", "join", rows.dtype),
            -(-segments * columns // THREADS),
            *(slots, first, last, np.int64(segments), np.int32(columns), *results),
        )
        counts, means, squares = (result.numpy() for result in results)
        return counts, means, squares

    # -- transform -------------------------------------------------------------------------------------

    def transform(self, rows: Any, offsets: np.ndarray, scale: np.ndarray, shift: np.ndarray) -> DeviceArray:
        """rows * scale + shift of their symbol, float32 [n, C] on the device: ``host.transform``."""
        given = self.on_device(rows)
        out = self.device.empty(given.shape, np.float32)
        self.launch_transform(
            given,
            self._indices(offsets),
            self.device.to_device(np.asarray(scale, np.float64)),
            self.device.to_device(np.asarray(shift, np.float64)),
            out,
        )
        return out

    def launch_transform(
        self,
        rows: DeviceArray,
        offsets: DeviceArray,
        scale: DeviceArray,
        shift: DeviceArray,
        out: DeviceArray,
    ) -> None:
        """Scaled rows into ``out``; on the stream."""
        count, columns = rows.shape
        function = self.device.function("minmax", "transform", rows.dtype)
        self.device.launch(
            function,
            self._row_blocks(function, count, 64),
            *(rows, offsets, np.uint64(offsets.pointer + 8), np.int64(len(offsets) - 1), np.int64(count)),
            *(np.int32(columns), np.int32(columns), scale, shift, out),
        )

    # -- errors ----------------------------------------------------------------------------------------

    def errors(
        self, forecast: Any, actual: Any, offsets: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sums of squared and of absolute errors and counts, float64 [k]: ``host.errors``."""
        device = self.device
        given, wanted = self.on_device(forecast), self.on_device(actual)
        total, segments = given.size, len(offsets) - 1
        if given.dtype != wanted.dtype or total != wanted.size or offsets[0] != 0 or offsets[-1] != total:
            raise ValueError(
                f"errors of {given.dtype} [{total}] on {wanted.dtype} [{wanted.size}], {offsets[0]} to {offsets[-1]}"
            )
        results = device.zeros((3, segments), np.float64)
        slots = device.empty((-(-total // CHUNK) + segments, 3), np.float64)
        if self._arrived is None or len(self._arrived) < segments:
            self._arrived = device.zeros((segments,), np.uint32)
        self.launch_errors(given, wanted, self._indices(offsets), slots, self._arrived, results)
        found = results.numpy()
        return found[0], found[1], found[2].view(np.int64).astype(np.float64)

    def launch_errors(
        self,
        forecast: DeviceArray,
        actual: DeviceArray,
        offsets: DeviceArray,
        slots: DeviceArray,
        arrived: DeviceArray,
        results: DeviceArray,
    ) -> None:
        """The sums into ``results`` float64 [3, k], the counts' bits being int64; on the stream."""
        segments, total = len(offsets) - 1, forecast.size
        places = [np.uint64(results.pointer + 8 * segments * i) for i in range(3)]
        self.device.launch(
            self.device.function("mse", "errors", forecast.dtype),
            -(-total // CHUNK),
            *(forecast, actual, offsets, np.int64(segments), np.int64(total), slots, arrived, *places),
        )

    # -- windows ---------------------------------------------------------------------------------------

    def keys(self, seed: int, stream: int, passes: range) -> DeviceArray:
        """``pass_keys`` on the device."""
        return self.device.to_device(pass_keys(seed, stream, passes))

    def launch_gather(
        self,
        resident: Resident,
        numbers: DeviceArray | None,
        order: tuple[int, int, DeviceArray] | None,
        inputs: DeviceArray,
        targets: DeviceArray,
        *,
        batch: int | None = None,
        time_major: bool = False,
    ) -> None:
        """Windows into ``inputs`` [n, T, F] (or [T, n, F] within each ``batch``) and ``targets`` [n, K]; on the stream.

        Args:
            numbers: int64 [n], or None: those that ``order`` (first position, length, keys) gives.
        """
        columns, of_targets = resident.rows.shape[1], len(resident.places)
        count = targets.size // of_targets
        first, length, keys = order if order is not None else (0, 1, None)
        self.device.launch(
            self.device.function(
                "windows", "gather_time_major" if time_major else "gather", resident.rows.dtype
            ),
            -(-count // WINDOWS),
            *(resident.rows, np.int32(columns), np.int32(columns - of_targets), resident.places),
            *(np.int32(resident.window), np.int32(resident.tail)),
            *(resident.edges, np.int64(len(resident.edges) - 1), resident.scale, resident.shift),
            *(numbers, np.int64(first), np.int64(length), keys),
            *(np.int64(count), np.int64(batch or max(count, 1)), inputs, targets),
        )

    # -- arrays ----------------------------------------------------------------------------------------

    def on_device(self, array: Any) -> DeviceArray:
        """``array`` where kernels reach it: as it is if it is there, else a copy."""
        if isinstance(array, DeviceArray):
            if array.device is not self.device:
                array.device.synchronize()  # what is launched there may still write it
            return array
        if hasattr(array, "__dlpack_device__") and array.__dlpack_device__()[0] == dlpack.CUDA:
            capsule = array.__dlpack__()  # keeps the memory
            found = dlpack.inspect_capsule(capsule)
            return DeviceArray(self.device, capsule, found.address, found.shape, found.dtype)
        host = np.ascontiguousarray(array)
        if host.dtype != np.float32:
            host = host.astype(np.float64)
        return self.device.to_device(host)

    def _indices(self, values: np.ndarray) -> DeviceArray:
        return self.device.to_device(np.ascontiguousarray(values, np.int64))

    def _row_blocks(self, function: Any, rows: int, waves: int) -> int:
        """Blocks to share out rows: ``waves`` times as many as run at once, but not more than there are rows for.

        With more waves those under way together touch memory that lies together (measured: fit gains little
        beyond 16, transform up to 64).
        """
        return min(waves * self.device.resident_blocks(function), -(-rows // 16))


def pass_keys(seed: int, stream: int, passes: range) -> np.ndarray:
    """Round keys of some passes of a random order, uint32 [passes, ROUNDS]."""
    keys = [round_keys(seed, stream, number) for number in passes]
    return np.array(keys, np.uint32).reshape(len(keys), ROUNDS)


def target_places(window: int, columns: int, horizons: Sequence[int]) -> np.ndarray:
    """Values from a window's first to each of its targets, int32 [K].

    Args:
        columns: values of a row: features, then K targets.
        horizons: rows from the window's last to each target, K.
    """
    column = columns - len(horizons) + np.arange(len(horizons))
    return ((window - 1 + np.asarray(horizons)) * columns + column).astype(np.int32)


@dataclass(frozen=True, eq=False)
class Resident:
    """Rows that windows are cut from.

    Attributes:
        rows: [R, F+K], features then targets, of all segments below each other.
        edges: int64 [G+1], numbers of the windows of each segment.
        scale, shift: float64 [G, F+K].
        places: int32 [K], by ``target_places``.
        window: rows of a window.
        tail: rows that a segment has more than windows.
    """

    rows: DeviceArray
    edges: DeviceArray
    scale: DeviceArray
    shift: DeviceArray
    places: DeviceArray
    window: int
    tail: int


@dataclass(frozen=True)
class UncutWindows:
    """Windows of a random order for an engine that cuts and scales them itself, within its steps.

    Attributes:
        resident: the rows that they are cut from, float64.
        shape: steps, windows of a batch, rows of a window, features.
        targets: targets of a window.
        position: of the first window in the order; it may lie behind the first pass, of those that ``keys`` is of.
        length: windows of a pass.
        keys: round keys of the passes, uint32 [passes, ROUNDS] on the host.
    """

    resident: Resident
    shape: tuple[int, int, int, int]
    targets: int
    position: int
    length: int
    keys: np.ndarray
