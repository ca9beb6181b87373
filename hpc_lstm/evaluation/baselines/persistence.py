"""The last known price, also called the naive forecast."""

from __future__ import annotations

import numpy as np

from hpc_lstm.evaluation.baselines.baseline import KnownPrices


class Persistence:
    """The target row's price is that of the window's last row."""

    name = "persistence"

    def lookback(self, horizon: int) -> int:
        """The last price alone."""
        return 0

    def forecast(self, known: KnownPrices) -> np.ndarray:
        """The last known prices."""
        return known.last
