"""The last known price plus the mean change in training.

Additive, because that is defined for every column, zero and negative values included. (Hyndman and Athanasopoulos,
Forecasting: Principles and Practice, 3rd ed., 5.2.)
"""

from __future__ import annotations

import numpy as np

from hpc_lstm.evaluation.baselines.baseline import Baseline, KnownPrices


class Drift(Baseline):
    """The price keeps changing as it did in the symbol's train windows."""

    name = "drift"

    def statistics(self, known: KnownPrices, actual: np.ndarray) -> np.ndarray:
        """One window, and its change over the horizon."""
        return np.column_stack([np.ones(len(actual)), actual - known.last])

    def learn(self, sums: np.ndarray) -> np.ndarray:
        """The mean change."""
        with np.errstate(invalid="ignore"):
            return sums[:, 1:] / sums[:, :1]

    def forecast(self, known: KnownPrices, parameters: np.ndarray) -> np.ndarray:
        """The last known prices plus the symbol's mean change over the horizon; of a symbol without any, the last."""
        return known.last + np.nan_to_num(parameters[:, 0], nan=0.0)
