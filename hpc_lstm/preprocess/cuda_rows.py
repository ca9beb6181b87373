"""The rows of a slice on a GPU, and the batches that are cut from them: the ``ResidentRows`` of the CUDA backend."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hpc_lstm.cuda.device_array import DeviceArray
from hpc_lstm.errors import CudaError
from hpc_lstm.features.columns import ModelColumns
from hpc_lstm.preprocess.cuda_kernels import CudaKernels, Resident, UncutWindows, pass_keys, target_places
from hpc_lstm.preprocess.reading import read_values
from hpc_lstm.preprocess.sampler import ShuffledSampler
from hpc_lstm.preprocess.scaling_fit import ScalingFit, owned_columns
from hpc_lstm.preprocess.slices import Slice

if TYPE_CHECKING:
    from hpc_lstm.market.store import MarketStore

# Batches that are held at once: one is read by the engine while the next is made.
SLOTS = 2


@dataclass
class _Slot:
    """A batch that an engine may still be reading."""

    inputs: DeviceArray
    targets: DeviceArray
    reader: Any = None


class CudaRows:
    """The unscaled rows of a slice where kernels reach them, each brought there once: see ``ResidentRows``.

    They lie in device memory; if they would take more than ``share`` of what is free, in pinned host memory, from
    where kernels read what they need over the bus.

    Attributes:
        nbytes: bytes that stay in memory.
        location: where the rows lie, in words.
        waited_ns: host time of the last batch that went by until the GPU had read the slot's old batch and begun
            with this one.
    """

    def __init__(
        self,
        cuda: CudaKernels,
        store: MarketStore,
        part: Slice,
        columns: ModelColumns,
        window: int,
        horizon: int,
        share: float,
    ) -> None:
        self._cuda, self._part, self._columns, self._window = cuda, part, columns, window
        self._device = cuda.device
        self._tail = window + horizon - 1
        lengths = part.row_stop - part.first
        self._base = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        shape = (int(self._base[-1]), len(columns.features) + len(columns.targets))
        purpose = f"{shape[0]:,} rows of {shape[1]} columns"
        self.nbytes = 8 * shape[0] * shape[1]
        resident, host = None, None
        if self.nbytes <= share * self._device.free_bytes():
            with suppress(CudaError):  # another rank or TensorFlow may just have taken what was free
                resident = self._device.empty(shape, np.float64, purpose)
        self.location = "GPU memory"
        if resident is None:
            self.location = "pinned host memory, read over the bus"
            resident, host = self._device.empty_pinned(shape, np.float64, purpose)
        self._rows = resident
        for pieces, offsets, values in read_values(store, part, columns):
            for piece, begin in zip(pieces, offsets[:-1], strict=True):
                rows = values[begin : begin + piece.stop - piece.start]
                at = int(self._base[piece.segment]) + piece.start - int(part.first[piece.segment])
                if host is not None:
                    host[at : at + len(rows)] = rows
                elif piece is pieces[0]:
                    # The pieces of a batch are adjacent on the device as they are here: one copy.
                    self._device.upload_async(self._rows.pointer + 8 * shape[1] * at, values)
        self._device.free_staging()
        self._resident: Resident | None = None
        self._slots: list[_Slot] = []
        self._turn = 0
        self._read: _Slot | None = None  # what the last batch was written to
        self._keys: tuple[tuple[int, int, range], DeviceArray] | None = None
        self.waited_ns = 0

    def fit(self, fit: ScalingFit) -> None:
        """Add the statistics of the rows that this rank counts to ``fit``."""
        measure = self._cuda.minmax_between if fit.kind == "minmax" else self._cuda.moments_between
        found: tuple[np.ndarray, ...] = ()
        measured: list[tuple[np.ndarray, tuple[np.ndarray, ...]]] = []
        for columns, owned in owned_columns(self._part, self._columns):
            of_rows = next((values for rows, values in measured if np.array_equal(rows, owned)), None)
            if of_rows is None:
                of_rows = measure(self._rows, *(self._base[:-1] + owned))
                measured.append((owned, of_rows))
            found = found or tuple(values.copy() for values in of_rows)
            for own, values in zip(found, of_rows, strict=True):
                own[:, columns] = values[:, columns]
        fit.merge(self._part.symbol, found)

    def scale(self, scale: np.ndarray, shift: np.ndarray) -> None:
        """Scale from now on; float64 [U, F+K] of the index's symbols."""
        edges = np.concatenate([[0], np.cumsum(self._part.count)])
        to_device = self._device.to_device
        self._resident = Resident(
            rows=self._rows,
            edges=to_device(edges.astype(np.int64)),
            scale=to_device(scale[self._part.symbol]),
            shift=to_device(shift[self._part.symbol]),
            places=to_device(target_places(self._window, self._rows.shape[1], self._columns.horizons)),
            window=self._window,
            tail=self._tail,
        )

    def batch(self, numbers: np.ndarray) -> tuple[DeviceArray, DeviceArray]:
        """Windows ``numbers`` [..., B]: scaled inputs [..., B, T, F] and targets [..., B, K] on the device.

        They are overwritten by the batch after the next.
        """
        numbers = np.ascontiguousarray(numbers, np.int64)
        return self._gather(numbers.shape, self._device.to_device(numbers.reshape(-1)), None)

    def next_batch(
        self, sampler: ShuffledSampler, steps: int, *, cut: bool = True
    ) -> tuple[DeviceArray, DeviceArray] | tuple[UncutWindows, None]:
        """The next ``steps`` batches of ``sampler``, found on the device: [steps, B, T, F] and [steps, B, K].

        Args:
            cut: False: they are left to the engine, and no memory is written.
        """
        first_pass, position = sampler.state()
        count = steps * sampler.batch_size
        sampler.advance(steps)
        passes = range(first_pass, first_pass + (position + count - 1) // sampler.length + 1)
        needed = (sampler.seed, sampler.rank, passes)
        if cut:
            if self._keys is None or self._keys[0] != needed:
                self._keys = needed, self._cuda.keys(*needed)
            return self._gather((steps, sampler.batch_size), None, (position, sampler.length, self._keys[1]))
        assert self._resident is not None, "scale() comes first"
        self.waited_ns, self._read = 0, None
        shape = (steps, sampler.batch_size, self._window, len(self._columns.features))
        return UncutWindows(
            *(self._resident, shape, len(self._columns.targets)),
            *(position, sampler.length, pass_keys(*needed)),
        ), None

    def used_by(self, result: Any) -> None:
        """The last batch may be overwritten once ``float(result)`` is known."""
        if self._read is not None:
            self._read.reader = result

    def errors(
        self, forecast: Any, actual: Any, offsets: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sums of errors of segments: ``CudaKernels.errors``."""
        return self._cuda.errors(forecast, actual, offsets)

    def squared_error(self, forecast: Any, targets: Any) -> float:
        """The sum of the squared errors of forecasts on targets [n, K], scaled; NaN if one is NaN."""
        count = targets.size
        squares, _, counted = self._cuda.errors(forecast, targets, np.array([0, count]))
        return float(squares[0]) if counted[0] == count else float("nan")

    def close(self) -> None:
        """Release all memory; there are no batches afterwards."""
        self._slots.clear()
        self._read = None
        self._resident = self._keys = None
        self._rows = self._device.empty((0,), np.float32)

    def _gather(
        self,
        shape: tuple[int, ...],
        numbers: DeviceArray | None,
        order: tuple[int, int, DeviceArray] | None,
    ) -> tuple[DeviceArray, DeviceArray]:
        assert self._resident is not None, "scale() comes first"
        self.waited_ns = 0
        slot = self._read = self._next_slot(int(np.prod(shape)))
        asked = time.perf_counter_ns()
        inputs = slot.inputs.view((*shape, self._window, len(self._columns.features)))
        targets = slot.targets.view((*shape, len(self._columns.targets)))
        with self._device.timed() as taken:
            self._cuda.launch_gather(self._resident, numbers, order, inputs, targets)
        self.waited_ns += max(0, time.perf_counter_ns() - asked - taken[0])
        return inputs, targets

    def _next_slot(self, windows: int) -> _Slot:
        """Memory for ``windows`` windows, once the engine has read what is in it."""
        if len(self._slots) < SLOTS:
            self._slots.append(self._new_slot(windows))
            self._turn = len(self._slots) - 1
            return self._slots[-1]
        self._turn = (self._turn + 1) % SLOTS
        slot = self._slots[self._turn]
        if slot.reader is not None:
            asked = time.perf_counter_ns()
            float(slot.reader)  # waits until the engine has read the batch
            self.waited_ns += time.perf_counter_ns() - asked
            slot.reader = None
        if slot.targets.size < windows * len(self._columns.targets):
            slot.inputs = slot.targets = self._device.empty((0,), np.float32)  # freed before more is taken
            slot = self._slots[self._turn] = self._new_slot(windows)
        return slot

    def _new_slot(self, windows: int) -> _Slot:
        shape = (windows, self._window, len(self._columns.features))
        return _Slot(
            self._device.empty(shape, np.float32, f"a batch of {windows:,} windows"),
            self._device.empty(
                (windows * len(self._columns.targets),), np.float32, f"the targets of {windows:,} windows"
            ),
        )
