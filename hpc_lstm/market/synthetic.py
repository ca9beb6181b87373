"""Synthetic prices with a known structure, and therefore a known best possible forecast.

A universe (``universes/``) says how returns come about. ``best_rmse_log`` is the root mean squared error of the best
one-day forecast of the log close: by a formula where there is one, else that of the best forecast on the rows
of the store itself. For a price that is log-normal around its forecast with variance S, the best forecast has a mean
squared error of E[close^2] * (1 - exp(-S)), so ``best_rmse_price`` is sqrt(mean(close^2) * (1 - exp(-S))) over
all closes of the store.

A symbol's prices depend only on the kind, the seed, its number and the days, not on how many other symbols there are.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hpc_lstm.errors import InputError
from hpc_lstm.files import checked_path
from hpc_lstm.market.replacing import require_replaceable
from hpc_lstm.market.store_writer import StoreWriter
from hpc_lstm.market.universes.autoregressive import Autoregressive
from hpc_lstm.market.universes.registry import universe_named
from hpc_lstm.market.universes.universe import WEEKDAY_STD, YEARLY_AMPLITUDE, Universe, season
from hpc_lstm.text.counts import counted

COLUMNS = ("open", "high", "low", "close", "volume")
# Symbols generated at a time; each chunk has its own random generator.
CHUNK = 256
FIRST_DAY = np.datetime64("2000-01-03")
# The largest numbers: a store has room for them, and days that are many more are in no machine's memory.
MOST = {"symbols": 10**9, "days": 10**7, "seed": 2**63 - 1}
# The first row whose forecast error counts: a filter knows nothing of returns before the second.
SETTLED = 2


def synthesize(
    path: str | Path, *, symbols: int, days: int, seed: int, kind: str = Autoregressive.name
) -> str:
    """Write a market store of ``symbols`` x ``days`` rows, columns open, high, low, close, volume.

    Memory is bounded by a chunk of symbols, whatever their number.

    Args:
        symbols: at least 1. days: at least 2. seed: at least 0; each at most as ``MOST`` says.
        kind: of the universe.

    Returns:
        One sentence on what was written and the best possible forecast.

    Raises:
        InputError: an unknown kind, or a number is too small or too large.
        StoreError: the store cannot be written, or is another file.
    """
    for name, value, least in (("symbols", symbols, 1), ("days", days, 2), ("seed", seed, 0)):
        if not least <= value <= MOST[name]:
            bound = f"at least {least}" if value < least else f"at most {MOST[name]}"
            raise InputError(f"{name} must be {bound}, got {value}")
    begin = time.monotonic()
    require_replaceable(checked_path(str(path)))
    universe = universe_named(kind)
    dates = weekdays(days)
    best, in_price, squares, errors = universe.best_rmse(), "", 0.0, 0.0
    attributes = {
        "seed": seed,
        "kind": kind,
        **universe.parameters(),
        "weekday_std": WEEKDAY_STD,
        "yearly_amplitude": YEARLY_AMPLITUDE,
    }
    with StoreWriter(path, COLUMNS, f"synthetic, seed {seed}", attributes=attributes) as store:
        for first, values in _chunks(universe, symbols, dates, seed):
            close = values[:, :, COLUMNS.index("close")]
            squares += float(np.square(close).sum())
            if best is None:
                errors += _squared_errors(universe, close, dates)
            for number, rows in enumerate(values, first):
                store.append(f"SYN{number:05d}", dates, rows)
        if best is None:
            best = float(np.sqrt(errors / (symbols * max(1, days - SETTLED))))
        store.attributes["best_rmse_log"] = best
        if isinstance(universe, Autoregressive):  # the only one that is log-normal around its forecast
            price = float(np.sqrt(squares / (symbols * days) * -np.expm1(-(best**2))))
            store.attributes["best_rmse_price"] = price
            in_price = f", {price:.4f} in the close"
    size = f"{counted(symbols, 'symbol')} x {counted(days, 'day')}"
    return (
        f"wrote {path}: {size} in {time.monotonic() - begin:.1f} s; the best possible "
        f"one-day forecast has an RMSE of {best:.6f} in the log close{in_price}"
    )


def weekdays(days: int) -> np.ndarray:
    """Dates of the rows: Mondays to Fridays from 2000-01-03 on, int64 days since 1970-01-01."""
    return np.busday_offset(FIRST_DAY, np.arange(days)).astype(np.int64)


def _squared_errors(universe: Universe, close: np.ndarray, dates: np.ndarray) -> float:
    """The sum of the best one-day forecast's squared errors in the log close [symbols, days]."""
    log_close = np.log(close).T
    errors = log_close[1:] - universe.forecast(log_close, dates, 1)
    return float(np.square(errors[SETTLED - 1 :]).sum())


def _chunks(
    universe: Universe, symbols: int, dates: np.ndarray, seed: int
) -> Iterator[tuple[int, np.ndarray]]:
    """First symbol's number and values [symbols of the chunk, days, 5], chunk by chunk."""
    seasonal = season(dates)
    for first in range(0, symbols, CHUNK):
        generator = np.random.default_rng([seed, first // CHUNK])
        yield first, _values(universe, generator, seasonal, min(CHUNK, symbols - first))


def _values(
    universe: Universe, generator: np.random.Generator, seasonal: np.ndarray, symbols: int
) -> np.ndarray:
    """The first ``symbols`` of a chunk: all of it is drawn, so that a symbol is the same among few and among many."""
    days = len(seasonal)
    returns = universe.draw(generator, days, CHUNK)[:, :symbols]
    returns += seasonal[:, None]
    start = np.log(100) + 0.5 * generator.standard_normal(CHUNK)[:symbols]
    noise = generator.normal(0, universe.noise_std, (days, CHUNK))[:, :symbols]
    log_close = start + np.cumsum(returns, axis=0) + noise
    close = np.exp(log_close.T)
    values = np.empty((symbols, days, len(COLUMNS)))
    gap = np.exp(generator.normal(0, 0.002, (CHUNK, days))[:symbols])
    opening = np.concatenate([close[:, :1], close[:, :-1]], axis=1) * gap
    spread = np.exp(np.abs(generator.normal(0, 0.004, (2, CHUNK, days))[:, :symbols]))
    values[:, :, 0] = opening
    values[:, :, 1] = np.maximum(opening, close) * spread[0]
    values[:, :, 2] = np.minimum(opening, close) / spread[1]
    values[:, :, 3] = close
    activity = 30 * np.abs(returns.T) + generator.normal(0, 0.3, (CHUNK, days))[:symbols]
    values[:, :, 4] = np.floor(1e6 * np.exp(activity))
    return values
