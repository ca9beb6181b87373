"""The last known price, also called the naive forecast."""

from __future__ import annotations

import numpy as np

from hpc_lstm.evaluation.baselines.baseline import Baseline, KnownPrices


class Persistence(Baseline):
    """The target row's price is that of the window's last row."""

    name = "persistence"

    def forecast(self, known: KnownPrices, parameters: np.ndarray) -> np.ndarray:
        """The last known prices."""
        return known.last
