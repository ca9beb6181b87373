"""``ar``: returns with momentum, observed with noise.

    a[t] = ar1 * a[t-1] + innovation[t]         innovation ~ N(0, innovation_std^2)

The best forecast from all earlier closes is the Kalman filter's (Durbin and Koopman 2012, Time Series Analysis by State
Space Methods, chapter 4). Its error has the stationary variance that solves the filter's Riccati equation.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hpc_lstm.market.universes.universe import Universe, autoregressive_sum, season

AR1 = 0.5
INNOVATION_STD = 0.01
# A change of a variance from one day to the next that is rounding: variances are around 1e-4.
CONVERGED = 1e-18


class Autoregressive(Universe):
    """AR(1) returns under noise: the filter has to tell momentum from noise."""

    name = "ar"
    noise_std = 0.002

    def draw(self, generator: np.random.Generator, days: int, symbols: int) -> np.ndarray:
        """AR(1) series, float64 [days, symbols]."""
        return autoregressive_series(generator.normal(0, INNOVATION_STD, (days, symbols)))

    def parameters(self) -> dict[str, Any]:
        """Coefficient and standard deviations."""
        return {"ar1": AR1, "innovation_std": INNOVATION_STD, "noise_std": self.noise_std}

    def best_rmse(self) -> float:
        """The stationary error of the Kalman filter."""
        return float(np.sqrt(self.forecast_variance()))

    def forecast_variance(self) -> float:
        """The stationary variance of the best one-day forecast's error in the log close.

        State (log price, a), observation log price plus noise; the Riccati recursion is iterated until it converges.
        """
        move, drive = _transition()
        ahead = drive.copy()
        while True:
            error = ahead[0, 0] + self.noise_std**2
            kept = ahead - np.outer(ahead[:, 0], ahead[0]) / error
            following = move @ kept @ move.T + drive
            if np.abs(following - ahead).max() < CONVERGED:
                return float(following[0, 0] + self.noise_std**2)
            ahead = following

    def expected_change(self, log_close: np.ndarray, dates: np.ndarray, horizon: int) -> np.ndarray:
        """By the Kalman filter: what is left of the momentum, and the noise of the last close taken back.

        In innovations form: each day has a surprise, by which the close was above its
        forecast, and the momentum that the forecast was made with.
        """
        returns = np.diff(log_close, axis=0) - season(dates)[1:, None]
        to_price, to_momentum = self._gains(len(returns)).T[..., None]
        days = np.zeros((len(returns), 2, log_close.shape[1]))
        days[:, 0] = returns
        moves = np.empty((len(returns), 2, 2))
        moves[:, 1] = np.column_stack([AR1 * to_momentum, np.full(len(returns), AR1)])
        moves[:, 0] = np.column_stack([1 - to_price, np.zeros(len(returns))]) - moves[:, 1]
        for day in range(1, len(days)):
            days[day] += moves[day - 1] @ days[day - 1]
        surprise, momentum = days[:, 0], days[:, 1]
        found = np.zeros_like(log_close)  # nothing is known in the first row
        left = momentum + to_momentum * surprise
        found[1:] = autoregressive_sum(AR1, horizon) * left - (1 - to_price) * surprise
        return found

    def _gains(self, days: int) -> np.ndarray:
        """How much of each day's surprise, from the second day on, goes to the price and to ``a``: float64 [days, 2].

        They do not depend on the prices, and soon no longer on the day.
        """
        move, drive = _transition()
        spread = np.diag([self.noise_std**2, INNOVATION_STD**2 / (1 - AR1**2)])
        gains = np.empty((days, 2))
        for day in range(days):
            ahead = move @ spread @ move.T + drive
            gains[day:] = ahead[:, 0] / (ahead[0, 0] + self.noise_std**2)
            following = ahead - np.outer(gains[day], ahead[0])
            if np.abs(following - spread).max() < CONVERGED:
                break
            spread = following
        return gains


def autoregressive_series(innovations: np.ndarray) -> np.ndarray:
    """AR(1) series of innovations [days, symbols], in place; the first ones are made those of the stationary state."""
    innovations[0] /= np.sqrt(1 - AR1**2)
    for day in range(1, len(innovations)):
        innovations[day] += AR1 * innovations[day - 1]
    return innovations


def _transition() -> tuple[np.ndarray, np.ndarray]:
    """How the state moves in a day, and the covariance of what drives it: price and return alike."""
    return np.array([[1.0, AR1], [0.0, AR1]]), np.full((2, 2), INNOVATION_STD**2)
