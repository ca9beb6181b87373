"""Simple exponential smoothing of the price (Hyndman and Athanasopoulos, Forecasting, 3rd ed., 8.1).

The forecast is a mean of the known prices whose weights fall by the factor 1 - alpha a row, over the last
``ROWS`` rows. Of ``ALPHAS``, each symbol has the one with the smallest squared error on its train windows; 1
is persistence.

Not statsmodels' SimpleExpSmoothing, because that fits one whole series in one process: here each symbol's squared
errors are sums over its train windows, which ranks add up whatever rows they hold, and a forecast needs no state but
its own rows. Weights that add up to 1 over ``ROWS`` rows are those of a smoothing that begins at the level at which
it ends; a test holds that, and the choice of alpha, to statsmodels.
"""

from __future__ import annotations

import numpy as np

from hpc_lstm.evaluation.baselines.baseline import Baseline, KnownPrices

ROWS = 60
ALPHAS = np.array([0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0])


class ExponentialSmoothing(Baseline):
    """A mean of the last prices, the newer the heavier; of logarithms, where all prices are above 0."""

    name = "smoothing"

    def lookback(self, horizon: int) -> int:
        """The rows that are smoothed."""
        return ROWS - 1

    def statistics(self, known: KnownPrices, actual: np.ndarray) -> np.ndarray:
        """The squared error with each alpha; 0 where a price is missing."""
        moved = known.level(actual) - known.level(known.last)
        error = self._changes(known) - moved[:, None]
        return np.nan_to_num(error**2, nan=0.0)

    def learn(self, sums: np.ndarray) -> np.ndarray:
        """The number of the best alpha, float64 [S, 1]; of equally good ones the largest."""
        best = len(ALPHAS) - 1 - np.argmin(sums[:, ::-1], axis=1)
        return best[:, None].astype(np.float64)

    def forecast(self, known: KnownPrices, parameters: np.ndarray) -> np.ndarray:
        """The smoothed price."""
        changes = self._changes(known)
        return known.moved_by(changes[np.arange(len(changes)), parameters[:, 0].astype(np.int64)])

    def _changes(self, known: KnownPrices) -> np.ndarray:
        """From the last level to the smoothed one with each alpha, float64 [B, alphas]."""
        history = known.level(known.history[:, -self.lookback(known.horizon) - 1 :])
        weights = np.power(1 - ALPHAS[:, None], np.arange(ROWS - 1, -1, -1))  # [alphas, ROWS]
        around, present = history - history[:, -1:], np.isfinite(history)
        if present.all():
            return _weighted(around, weights) / weights.sum(axis=1)
        return _weighted(np.where(present, around, 0.0), weights) / _weighted(present, weights)


def _weighted(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """``values @ weights.T`` without BLAS, whose threads wait for its next call on the cores that the network needs."""
    return np.einsum("bh,ah->ba", values, weights)
