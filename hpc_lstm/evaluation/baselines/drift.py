"""The last known price plus the mean change in training.

Additive, because that is defined for every column, zero and negative values included. (Hyndman and Athanasopoulos,
Forecasting: Principles and Practice, 3rd ed., 5.2.)
"""

from __future__ import annotations

import numpy as np

from hpc_lstm.evaluation.baselines.baseline import KnownPrices


class Drift:
    """The price keeps changing as it did in the symbol's train windows."""

    name = "drift"

    def lookback(self, horizon: int) -> int:
        """The last price alone."""
        return 0

    def forecast(self, known: KnownPrices) -> np.ndarray:
        """The last known prices plus the symbol's mean change over the horizon; of a symbol without any, the last."""
        return known.last + np.nan_to_num(known.train.mean[known.symbol], nan=0.0)
