"""What a universe of synthetic prices is: how returns come about, and the best forecast that anyone could make of them.

The log close of a symbol is the sum of its daily returns, perhaps observed with noise:

    return[t] = season(date[t]) + a[t]          season: a weekday effect and a yearly wave, the same for all symbols
    log close[t] = sum of returns + noise[t]    noise ~ N(0, noise_std^2)

A universe says what ``a`` is. Its best forecast is that of the log close, with the smallest mean squared
error, by one who knows all of this but the values of ``a``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

WEEKDAY_STD = 0.002
YEARLY_AMPLITUDE = 0.002


def season(dates: np.ndarray) -> np.ndarray:
    """The part of each day's log return that depends on its date alone, float64 like ``dates``."""
    shares = np.array([1.0, -0.5, 0.25, -1.25, 0.5, 0.0, 0.0])  # Monday to Sunday; they sum to 0 over a week
    weekday = (dates + 3) % 7  # 1970-01-01 was a Thursday
    yearly = np.sin(2 * np.pi * dates / 365.25)
    return WEEKDAY_STD * shares[weekday] / shares[:5].std() + YEARLY_AMPLITUDE * yearly


class Universe(ABC):
    """One kind of synthetic prices."""

    name: ClassVar[str]
    """What ``synth --kind`` calls it."""
    noise_std: ClassVar[float] = 0.0
    """Standard deviation of the noise with which the log close is observed."""

    @abstractmethod
    def draw(self, generator: np.random.Generator, days: int, symbols: int) -> np.ndarray:
        """Values of ``a``, float64 [days, symbols], from their stationary distribution on."""

    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """Its numbers by name, for the store's attributes."""

    @abstractmethod
    def expected_change(self, log_close: np.ndarray, dates: np.ndarray, horizon: int) -> np.ndarray:
        """The best forecasts: how far the log close is expected to move in ``horizon`` rows, the season left out.

        Args:
            log_close: float64 [T, n], of n symbols with the same dates, each from its first row on.
            dates: int64 [T].

        Returns:
            float64 [T, n]; row t is known once rows 0..t are, NaN where nothing is known yet.
        """

    def best_rmse(self) -> float | None:
        """The root mean squared error of the best one-day forecast; None where there is no formula for it."""
        return None

    def forecast(self, log_close: np.ndarray, dates: np.ndarray, horizon: int) -> np.ndarray:
        """The best forecasts of the log close ``horizon`` rows ahead, float64 [T - horizon, n].

        Args:
            log_close: float64 [T, n], of n symbols with the same dates, each from its first row on.
            dates: int64 [T].
        """
        seasons = np.cumsum(season(dates))
        ahead = seasons[horizon:] - seasons[:-horizon]
        change = self.expected_change(log_close, dates, horizon)[:-horizon]
        return log_close[:-horizon] + ahead[:, None] + change


def autoregressive_sum(coefficient: float, horizon: int) -> float:
    """What a value of an AR(1) series adds to the next ``horizon`` ones together, as a multiple of it."""
    return float(sum(coefficient**step for step in range(1, horizon + 1)))
