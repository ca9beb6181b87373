"""The CUDA backend: rows lie on this process's GPU, and batches are cut there."""

from __future__ import annotations

from hpc_lstm.features.columns import ModelColumns
from hpc_lstm.market.store import MarketStore
from hpc_lstm.preprocess.cuda_kernels import CudaKernels
from hpc_lstm.preprocess.cuda_rows import CudaRows
from hpc_lstm.preprocess.slices import Slice


class CudaBackend(CudaKernels):
    """Kernels on one GPU: see ``Backend``; they do what the functions of ``host`` do.

    Args:
        rows_share: of the GPU's free memory that the rows of a slice may take.

    Raises:
        CudaError: no GPU that can be used, or no compiler for its kernels.
    """

    name = "cuda"

    def __init__(self, rows_share: float = 0.5) -> None:
        super().__init__()
        self._rows_share = rows_share

    def read_rows(
        self, store: MarketStore, part: Slice, columns: ModelColumns, window: int, horizon: int
    ) -> CudaRows:
        """The rows of a slice, brought to the device."""
        return CudaRows(self, store, part, columns, window, horizon, self._rows_share)
