"""The last known price, moved by the mean of all changes so far (Welch and Goyal, Rev. Financial Studies 21, 2008)."""

from __future__ import annotations

import numpy as np

from hpc_lstm.evaluation.baselines.baseline import Baseline, KnownPrices


class HistoricalMean(Baseline):
    """The mean log return from the symbol's first row to the window's last is expected to go on.

    Unlike ``Drift``, it learns from all rows that are known when the forecast is made, not from train rows alone. Of
    prices that are not all above 0 it is the mean change.
    """

    name = "historical-mean"

    def forecast(self, known: KnownPrices, parameters: np.ndarray) -> np.ndarray:
        """The last known price, moved by ``horizon`` mean changes."""
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = (known.level(known.last) - known.level(known.first)) / known.age
        return known.moved_by(known.horizon * mean)
