"""What a backend is: it holds the rows of a slice, fits and applies scaling, and cuts batches of windows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from hpc_lstm.features.columns import ModelColumns
from hpc_lstm.preprocess.sampler import ShuffledSampler
from hpc_lstm.preprocess.scaling_fit import ScalingFit
from hpc_lstm.preprocess.slices import Slice

if TYPE_CHECKING:
    from hpc_lstm.cuda.device import Device
    from hpc_lstm.market.store import MarketStore

# Scaled inputs float32 [..., B, window, features] and targets float32 [..., B, K]: NumPy arrays, or DeviceArrays.
Batch = tuple[Any, Any]


class ResidentRows(Protocol):
    """The rows of a slice where the backend computes; scaled once ``scale`` was called.

    T is the window, F the number of features, K that of targets, U that of the index's symbols.
    """

    @property
    def location(self) -> str:
        """Where the rows lie, in words."""

    @property
    def nbytes(self) -> int:
        """Bytes that stay in memory."""

    @property
    def waited_ns(self) -> int:
        """Time of the last batch in which the host waited for the GPU to finish other work; 0 on the host."""

    def fit(self, fit: ScalingFit) -> None:
        """Add the statistics of the rows that this rank counts to ``fit``.

        Raises:
            InputError: a value that cannot be scaled.
        """

    def scale(self, scale: np.ndarray, shift: np.ndarray) -> None:
        """Scale from now on; float64 [U, F+K], features then target.

        Raises:
            InputError: a value that cannot be scaled.
        """

    def batch(self, numbers: np.ndarray) -> Batch:
        """Windows ``numbers`` [..., B]; on a GPU they are overwritten by the batch after the next."""

    def next_batch(self, sampler: ShuffledSampler, steps: int, *, cut: bool = True) -> Batch:
        """The windows of the next ``steps`` batches of ``sampler``: [steps, B, T, F] and [steps, B, K].

        Args:
            cut: False: where kernels reach the rows, the batches are left to the engine: ``UncutWindows``, and None.
        """

    def used_by(self, result: Any) -> None:
        """The last batch may be overwritten once ``float(result)`` is known."""

    def errors(
        self, forecast: np.ndarray, actual: np.ndarray, offsets: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sums of squared and absolute errors and counts of segments: ``host.errors``."""

    def squared_error(self, forecast: Any, targets: Any) -> float:
        """The sum of the squared errors of forecasts on a batch's targets [B, K]; NaN if one is NaN."""

    def close(self) -> None:
        """Release the memory; there are no batches afterwards."""


class Backend(Protocol):
    """Where rows are scaled and windows cut."""

    @property
    def name(self) -> str:
        """Its name in ``train.backend``."""

    @property
    def device(self) -> Device | None:
        """The GPU that it computes on; None: the host."""

    def read_rows(
        self, store: MarketStore, part: Slice, columns: ModelColumns, window: int, horizon: int
    ) -> ResidentRows:
        """The rows of a slice, to fit on and to cut windows from.

        Raises:
            InputError: a value that cannot be scaled.
            CudaError: the GPU's and the host's memory do not suffice.
        """
