"""``regimes``: a hidden state turns momentum into reversal and back, and calm into turbulence.

    a[t] = ar1[z[t]] * a[t-1] + innovation[t]       innovation ~ N(0, std[z[t]]^2)

z is a Markov chain of two states that nobody sees; it stays as it is with the probability ``STAY``. As ``a``
is seen without noise, the filter of Hamilton (Econometrica 57, 1989) has the exact probabilities of both
states, and the best forecast is the mean over them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hpc_lstm.market.universes.universe import Universe, season

AR1 = np.array([0.7, -0.5])
STD = np.array([0.008, 0.014])
STAY = 0.98
CHANGE = np.array([[STAY, 1 - STAY], [1 - STAY, STAY]])


class RegimeSwitching(Universe):
    """Markov-switching AR(1) returns: the forecast depends on which regime the last weeks look like."""

    name = "regimes"

    def draw(self, generator: np.random.Generator, days: int, symbols: int) -> np.ndarray:
        """Series float64 [days, symbols] from a state of either regime on."""
        regime = generator.integers(0, 2, symbols)
        switches = generator.random((days, symbols)) > STAY
        series = generator.standard_normal((days, symbols))
        series[0] *= STD[regime] / np.sqrt(1 - AR1[regime] ** 2)
        for day in range(1, days):
            regime = np.where(switches[day], 1 - regime, regime)
            series[day] = AR1[regime] * series[day - 1] + STD[regime] * series[day]
        return series

    def parameters(self) -> dict[str, Any]:
        """Coefficients and standard deviations of both regimes, and how long they stay."""
        return {"ar1": AR1, "innovation_std": STD, "stay": STAY}

    def expected_change(self, log_close: np.ndarray, dates: np.ndarray, horizon: int) -> np.ndarray:
        """By Hamilton's filter; nothing is known in the first row."""
        seen = np.diff(log_close, axis=0) - season(dates)[1:, None]
        found = np.zeros_like(log_close)
        probability = np.full((2, log_close.shape[1]), 0.5)
        for day, value in enumerate(seen):
            if day:
                probability = CHANGE.T @ probability
                surprise = (value - AR1[:, None] * seen[day - 1]) / STD[:, None]
                # Relative to the likelier regime, so that a day that neither explains is no division of 0 by 0.
                fit = -0.5 * surprise**2 - np.log(STD)[:, None]
                probability = probability * np.exp(fit - fit.max(axis=0))
                probability /= probability.sum(axis=0)
            onward = probability
            for _ in range(horizon):
                onward = AR1[:, None] * (CHANGE.T @ onward)
                found[day + 1] += onward.sum(axis=0) * value
        return found
