"""AR(p): the change over the horizon as a linear function of the last p changes, by least squares.

One regression per symbol on its train windows, straight for the horizon (direct forecasting: Marcellino, Stock and
Watson, J. Econometrics 135, 2006), with an intercept. Changes are log returns, or differences of prices that
are not all above 0.
"""

from __future__ import annotations

import numpy as np

from hpc_lstm.evaluation.baselines.baseline import Baseline, KnownPrices

# The trading days of a week.
ORDER = 5
# Train windows below which a symbol has no regression: five for each coefficient.
FEWEST_WINDOWS = 5 * (ORDER + 1)
# Singular values below this share of the largest are those of columns that depend on each other.
RANK_TOLERANCE = 1e-10


class Autoregression(Baseline):
    """The last ``ORDER`` changes, each times its coefficient; persistence where a symbol has too few train windows."""

    name = "ar"

    def lookback(self, horizon: int) -> int:
        """As many rows as there are changes."""
        return ORDER

    def statistics(self, known: KnownPrices, actual: np.ndarray) -> np.ndarray:
        """The products of (1, changes, change over the horizon) with themselves; 0 where a price is missing."""
        moved = known.level(actual) - known.level(known.last)
        row = np.column_stack([_regressors(known), moved])
        row[~np.isfinite(row).all(axis=1)] = 0.0
        return (row[:, :, None] * row[:, None, :]).reshape(len(row), (ORDER + 2) ** 2)

    def learn(self, sums: np.ndarray) -> np.ndarray:
        """Intercept and coefficients, float64 [S, ORDER + 1], by the normal equations."""
        products = sums.reshape(len(sums), ORDER + 2, ORDER + 2)
        windows = products[:, 0, 0]
        found = np.full((len(sums), ORDER + 1), np.nan)
        enough = windows >= FEWEST_WINDOWS
        left, right = products[enough, :-1, :-1], products[enough, :-1, -1:]
        # Brought to a diagonal of ones, so that the small numbers of returns are not taken for zero.
        size = np.sqrt(np.einsum("sii->si", left))
        size[size == 0] = 1.0
        inverse = np.linalg.pinv(left / size[:, :, None] / size[:, None, :], RANK_TOLERANCE, hermitian=True)
        found[enough] = (inverse @ (right / size[:, :, None]))[:, :, 0] / size
        return found

    def forecast(self, known: KnownPrices, parameters: np.ndarray) -> np.ndarray:
        """The last known price, moved by the regression."""
        return known.moved_by((_regressors(known) * parameters).sum(axis=1))


def _regressors(known: KnownPrices) -> np.ndarray:
    """1 and the last changes, the newest last, float64 [B, ORDER + 1]."""
    changes = np.diff(known.level(known.history[:, -1 - ORDER :]), axis=1)
    return np.column_stack([np.ones(len(changes)), changes])
