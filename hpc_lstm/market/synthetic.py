"""Synthetic prices with a known structure, and therefore a known best possible forecast.

The log price of a symbol is the sum of its daily returns, observed with noise:

    return[t] = season(date[t]) + a[t]          season: a weekday effect and a yearly wave, the same for all symbols
    a[t] = ar1 * a[t-1] + innovation[t]         innovation ~ N(0, innovation_std^2)
    log close[t] = sum of returns + noise[t]    noise ~ N(0, noise_std^2)

The best one-day forecast of the log close from all earlier closes is the Kalman filter's. Its error has the stationary
variance S that solves the filter's Riccati equation; ``best_rmse_log`` is its square root. For a price that is
log-normal around its forecast with variance S, the best forecast has a mean squared error of
E[close^2] * (1 - exp(-S)), so
``best_rmse_price`` is sqrt(mean(close^2) * (1 - exp(-S))) over all closes of the store.
(Durbin and Koopman 2012, Time Series Analysis by State Space Methods, chapter 4.)

A symbol's prices depend only on the seed, its number and the days, not on how many other symbols there are.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hpc_lstm.market.store import StoreWriter

AR1 = 0.5
INNOVATION_STD = 0.01
NOISE_STD = 0.002
WEEKDAY_STD = 0.002
YEARLY_AMPLITUDE = 0.002
COLUMNS = ("open", "high", "low", "close", "volume")
# Symbols generated at a time; each chunk has its own random generator.
CHUNK = 256
FIRST_DAY = np.datetime64("2000-01-03")


def synthesize(path: str | Path, *, symbols: int, days: int, seed: int) -> str:
    """Write a market store of ``symbols`` x ``days`` rows, columns open, high, low, close, volume.

    Memory is bounded by a chunk of symbols, whatever their number.

    Returns:
        One sentence on what was written and the best possible forecast.

    Raises:
        StoreError: the store cannot be written.
    """
    begin = time.monotonic()
    dates = weekdays(days)
    variance = forecast_variance()
    squares = 0.0
    attributes = {
        "seed": seed,
        "ar1": AR1,
        "innovation_std": INNOVATION_STD,
        "noise_std": NOISE_STD,
        "weekday_std": WEEKDAY_STD,
        "yearly_amplitude": YEARLY_AMPLITUDE,
        "best_rmse_log": float(np.sqrt(variance)),
    }
    with StoreWriter(path, COLUMNS, f"synthetic, seed {seed}", attributes=attributes) as store:
        for first, values in _chunks(symbols, dates, seed):
            squares += float(np.square(values[:, :, COLUMNS.index("close")]).sum())
            for number, rows in enumerate(values, first):
                store.append(f"SYN{number:05d}", dates, rows)
        best = float(np.sqrt(squares / (symbols * days) * -np.expm1(-variance)))
        store.attributes["best_rmse_price"] = best
    return (
        f"wrote {path}: {symbols:,} symbols x {days:,} days in {time.monotonic() - begin:.1f} s; the best possible "
        f"one-day forecast has an RMSE of {np.sqrt(variance):.6f} in the log close, {best:.4f} in the close"
    )


def weekdays(days: int) -> np.ndarray:
    """Dates of the rows: Mondays to Fridays from 2000-01-03 on, int64 days since 1970-01-01."""
    return np.busday_offset(FIRST_DAY, np.arange(days)).astype(np.int64)


def season(dates: np.ndarray) -> np.ndarray:
    """The part of each day's log return that depends on its date alone, float64 like ``dates``."""
    shares = np.array([1.0, -0.5, 0.25, -1.25, 0.5, 0.0, 0.0])  # Monday to Sunday; they sum to 0 over a week
    weekday = (dates + 3) % 7  # 1970-01-01 was a Thursday
    yearly = np.sin(2 * np.pi * dates / 365.25)
    return WEEKDAY_STD * shares[weekday] / shares[:5].std() + YEARLY_AMPLITUDE * yearly


def forecast_variance() -> float:
    """The stationary variance of the best one-day forecast's error in the log close.

    State (log price, a), observation log price plus noise; the Riccati recursion is iterated until it converges.
    """
    move = np.array([[1.0, AR1], [0.0, AR1]])
    drive = np.full((2, 2), INNOVATION_STD**2)  # an innovation moves price and return alike
    ahead = drive.copy()
    while True:
        error = ahead[0, 0] + NOISE_STD**2
        kept = ahead - np.outer(ahead[:, 0], ahead[0]) / error
        following = move @ kept @ move.T + drive
        if np.abs(following - ahead).max() < 1e-18:
            return float(following[0, 0] + NOISE_STD**2)
        ahead = following


def _chunks(symbols: int, dates: np.ndarray, seed: int) -> Iterator[tuple[int, np.ndarray]]:
    """First symbol's number and values [symbols of the chunk, days, 5], chunk by chunk."""
    seasonal = season(dates)
    for first in range(0, symbols, CHUNK):
        generator = np.random.default_rng([seed, first // CHUNK])
        yield first, _values(generator, seasonal)[: symbols - first]


def _values(generator: np.random.Generator, seasonal: np.ndarray) -> np.ndarray:
    days = len(seasonal)
    returns = generator.normal(0, INNOVATION_STD, (days, CHUNK))
    returns[0] /= np.sqrt(1 - AR1**2)  # the recursion begins in its stationary state
    for day in range(1, days):
        returns[day] += AR1 * returns[day - 1]
    returns += seasonal[:, None]
    start = np.log(100) + 0.5 * generator.standard_normal(CHUNK)
    log_close = start + np.cumsum(returns, axis=0) + generator.normal(0, NOISE_STD, (days, CHUNK))
    close = np.exp(log_close.T)
    values = np.empty((CHUNK, days, len(COLUMNS)))
    gap = np.exp(generator.normal(0, 0.002, (CHUNK, days)))
    opening = np.concatenate([close[:, :1], close[:, :-1]], axis=1) * gap
    spread = np.exp(np.abs(generator.normal(0, 0.004, (2, CHUNK, days))))
    values[:, :, 0] = opening
    values[:, :, 1] = np.maximum(opening, close) * spread[0]
    values[:, :, 2] = np.minimum(opening, close) / spread[1]
    values[:, :, 3] = close
    activity = 30 * np.abs(returns.T) + generator.normal(0, 0.3, (CHUNK, days))
    values[:, :, 4] = np.floor(1e6 * np.exp(activity))
    return values
