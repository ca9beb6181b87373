"""The last known price of the same weekday (Hyndman and Athanasopoulos, Forecasting, 3rd ed., 5.2)."""

from __future__ import annotations

import numpy as np

from hpc_lstm.evaluation.baselines.baseline import Baseline, KnownPrices

# Rows in a season: the trading days of a week.
SEASON = 5


class SeasonalNaive(Baseline):
    """The newest known price a whole number of seasons before the target row.

    With a season of m rows and a target h rows after the last known one, that is m * (1 + (h - 1) // m) rows before the
    target. Where the symbol does not go back so far, it is the last known price.
    """

    name = "seasonal-naive"

    def lookback(self, horizon: int) -> int:
        """Rows from the price that is taken to the window's last row: 0 to m - 1."""
        return SEASON * (1 + (horizon - 1) // SEASON) - horizon

    def forecast(self, known: KnownPrices, parameters: np.ndarray) -> np.ndarray:
        """The prices one season, or as many as the horizon takes, before the targets."""
        earlier = known.history[:, -1 - self.lookback(known.horizon)]
        return np.where(np.isnan(earlier), known.last, earlier)
