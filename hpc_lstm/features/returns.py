"""``returns(NAME)``: the change of a row's value as a share of the row before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpc_lstm.features.feature import ColumnFeature


@dataclass(frozen=True)
class Returns(ColumnFeature):
    """x[t] / x[t - 1] - 1; 0 in a symbol's first row."""

    kind = "returns"
    positive = True

    @property
    def lookback(self) -> int:
        """One row."""
        return 1

    def compute(self, prices: np.ndarray) -> np.ndarray:
        """Returns over one row, float64 [n]."""
        found = np.zeros(len(prices))
        with np.errstate(divide="ignore", invalid="ignore"):
            found[1:] = prices[1:] / prices[:-1] - 1.0
        return found
