"""``heavy-tails``: returns with momentum and rare large shocks, observed without noise.

    a[t] = ar1 * a[t-1] + innovation[t]

Innovations have Student's t distribution with ``DEGREES`` degrees of freedom, scaled to the standard deviation
``INNOVATION_STD``. As ``a`` is seen without noise, the best forecast is ar1 times its last value, whatever the
distribution, and the error that remains is the innovation.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hpc_lstm.market.universes.autoregressive import AR1, INNOVATION_STD, autoregressive_series
from hpc_lstm.market.universes.universe import Universe, autoregressive_sum, season

# As few as daily returns of stocks have; below 3 the variance would not be finite.
DEGREES = 4


class HeavyTailed(Universe):
    """AR(1) returns with innovations of Student's t distribution."""

    name = "heavy-tails"

    def draw(self, generator: np.random.Generator, days: int, symbols: int) -> np.ndarray:
        """AR(1) series, float64 [days, symbols]."""
        scale = INNOVATION_STD / np.sqrt(DEGREES / (DEGREES - 2))
        return autoregressive_series(scale * generator.standard_t(DEGREES, (days, symbols)))

    def parameters(self) -> dict[str, Any]:
        """Coefficient, standard deviation, degrees of freedom."""
        return {"ar1": AR1, "innovation_std": INNOVATION_STD, "degrees_of_freedom": DEGREES}

    def best_rmse(self) -> float:
        """The standard deviation of the innovations."""
        return INNOVATION_STD

    def expected_change(self, log_close: np.ndarray, dates: np.ndarray, horizon: int) -> np.ndarray:
        """What is left of the last return's momentum; nothing is known of it in the first row."""
        found = np.zeros_like(log_close)
        seen = np.diff(log_close, axis=0) - season(dates)[1:, None]
        found[1:] = autoregressive_sum(AR1, horizon) * seen
        return found
