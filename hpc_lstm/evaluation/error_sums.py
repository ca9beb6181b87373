"""Errors of several forecasts, collected over windows and ranks.

Sums are kept per symbol in float64: ranks add their own windows, then ``reduce`` adds the ranks. So the numbers are
those of one rank within rounding, however many there are.

Prices of different symbols, and of one symbol over the years, are not comparable. So beside errors in price units there
are *scaled* ones: the error over the last known price (that of the forecast return), over the root mean square of
persistence's on the symbol's own windows of the part. A scaled error of 1 is as good as persistence, whatever the
symbol. Where prices are not all above 0 there is no return, and the error in price units is scaled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hpc_lstm.arrays import distinct
from hpc_lstm.parallel.world import World
from hpc_lstm.preprocess.host import errors as host_errors


@dataclass(frozen=True)
class WindowErrors:
    """One rank's windows of a part, symbol by symbol in order of date; B windows, M methods.

    Attributes:
        symbol: int64 [B]. date: int64 [B], of the target row.
        scaled: float64 [M, B], squared scaled errors; 0 of a symbol that has no scale.
    """

    symbol: np.ndarray
    date: np.ndarray
    scaled: np.ndarray


@dataclass(frozen=True)
class PartErrors:
    """Errors over the windows of a part on all ranks; S symbols, M methods, D dates.

    Attributes:
        methods: M names, "model" and what it is compared with.
        windows: float64 [S], windows.
        nonzero: float64 [S], windows whose actual price is not 0, the only ones with a percentage.
        squared, absolute, relative, hits: float64 [M, S], sums; ``relative`` is of |error / actual|, ``hits``
            counts forecasts that moved from the last price in the direction of the actual price.
        comparable: float64 [S], windows with a scaled error.
        scaled_squared, scaled_absolute: float64 [M, S], sums of scaled errors, the latter over persistence's mean
            absolute error; those of persistence are ``comparable``.
        dates: int64 [D], all target dates, ascending.
        by_date: float64 [M, D], sums of squared scaled errors on each date.
        date_windows: float64 [D], windows with a scaled error on each date.
        step: how many of ``dates`` lie from one window of a symbol to its next, on average: 1 where all symbols have
            the same dates.
        own: this rank's windows.
    """

    methods: tuple[str, ...]
    windows: np.ndarray
    nonzero: np.ndarray
    squared: np.ndarray
    absolute: np.ndarray
    relative: np.ndarray
    hits: np.ndarray
    comparable: np.ndarray
    scaled_squared: np.ndarray
    scaled_absolute: np.ndarray
    dates: np.ndarray
    by_date: np.ndarray
    date_windows: np.ndarray
    step: float
    own: WindowErrors


class ErrorSums:
    """Collects the windows of a part for ``PartErrors``.

    Args:
        symbols: number of symbols, S.
        methods: "model", "persistence" and any others.
        returns: whether scaled errors are of returns; otherwise of prices.
        errors: a backend's sums of squared and absolute errors of segments: ``preprocess.host.errors``.
    """

    def __init__(
        self,
        symbols: int,
        methods: Sequence[str],
        *,
        returns: bool = True,
        errors: Callable[..., tuple[np.ndarray, ...]] = host_errors,
    ) -> None:
        self._symbols, self._methods, self._returns, self._errors = symbols, tuple(methods), returns, errors
        self._counts = np.zeros((3, symbols))
        self._sums = np.zeros((6, len(self._methods), symbols))
        self._symbol: list[np.ndarray] = [np.empty(0, np.int64)]
        self._dates: list[np.ndarray] = [np.empty(0, np.int64)]
        self._squares: list[np.ndarray] = [np.empty((len(self._methods), 0))]

    def add(
        self,
        symbol: np.ndarray,
        last: np.ndarray,
        actual: np.ndarray,
        dates: np.ndarray,
        forecasts: Mapping[str, np.ndarray],
    ) -> None:
        """Add windows.

        Args:
            symbol: int [B], below S; windows of a symbol are adjacent and in order of date.
            last, actual: float64 [B], prices of the window's last row and of its target row.
            dates: int64 [B], dates of the target rows.
            forecasts: float64 [B] of each method.
        """
        symbol = np.asarray(symbol, np.int64)
        nonzero = actual != 0
        scale = np.abs(last) if self._returns else np.ones_like(last)
        comparable = scale > 0
        for row, weights in enumerate((None, nonzero, comparable)):
            self._counts[row] += np.bincount(symbol, weights, self._symbols)
        starts = np.flatnonzero(np.diff(symbol, prepend=-1))
        offsets = np.append(starts, len(symbol)).astype(np.int64)
        squares = np.empty((len(self._methods), len(symbol)))
        # A model that diverged is reported, not warned about.
        with np.errstate(over="ignore", invalid="ignore"):
            for method, name in enumerate(self._methods):
                forecast = np.asarray(forecasts[name], np.float64)
                error = forecast - actual
                share = np.divide(np.abs(error), np.abs(actual), out=np.zeros_like(error), where=nonzero)
                hit = np.sign(forecast - last) == np.sign(actual - last)
                scaled = np.divide(np.abs(error), scale, out=np.zeros_like(error), where=comparable)
                squares[method] = scaled**2
                squared, absolute, counted = self._errors(forecast, actual, offsets)
                # A backend leaves NaN out, but the error of a forecast that is not a number is not known.
                unknown = np.where(counted < np.diff(offsets), np.nan, 0.0)
                np.add.at(self._sums[0, method], symbol[starts], squared + unknown)
                np.add.at(self._sums[1, method], symbol[starts], absolute + unknown)
                for kind, values in enumerate((share, hit, squares[method], scaled), 2):
                    self._sums[kind, method] += np.bincount(symbol, values, self._symbols)
        self._symbol.append(symbol)
        self._dates.append(np.asarray(dates, np.int64))
        self._squares.append(squares)

    def reduce(self, world: World) -> PartErrors:
        """The errors over all ranks; collective."""
        windows, nonzero, comparable = world.allreduce_sum(self._counts.copy())
        squared, absolute, relative, hits, squares, magnitudes = world.allreduce_sum(self._sums.copy())
        # A symbol whose price never moved has no scale, and its windows no scaled error.
        naive = self._methods.index("persistence")
        moved = squares[naive] > 0
        with np.errstate(divide="ignore", invalid="ignore"):
            weight = np.where(moved, comparable / squares[naive], 0.0)
            magnitudes = np.where(moved, magnitudes * comparable / magnitudes[naive], 0.0)
        with np.errstate(over="ignore", invalid="ignore"):
            own = self._window_errors(weight)
            squares = np.where(moved, squares * weight, 0.0)
            dates, by_date, date_windows = _sums_by_date(own, moved, world)
        step = _mean_step(own, dates, windows, world)
        return PartErrors(
            methods=self._methods,
            windows=windows,
            nonzero=nonzero,
            squared=squared,
            absolute=absolute,
            relative=relative,
            hits=hits,
            comparable=np.where(moved, comparable, 0.0),
            scaled_squared=squares,
            scaled_absolute=magnitudes,
            dates=dates,
            by_date=by_date,
            date_windows=date_windows,
            step=step,
            own=own,
        )

    def _window_errors(self, weight: np.ndarray) -> WindowErrors:
        symbol, date = np.concatenate(self._symbol), np.concatenate(self._dates)
        scaled = np.concatenate(self._squares, axis=1)
        scaled *= weight[symbol]
        scaled[:, weight[symbol] == 0] = 0.0
        return WindowErrors(symbol, date, scaled)


def _sums_by_date(
    own: WindowErrors, moved: np.ndarray, world: World
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All dates, and on each the sums of scaled errors and the windows that have one; collective."""
    # Ranks have different dates: each adds its sums where its own dates are among those of all ranks.
    mine, index = np.unique(own.date, return_inverse=True)
    dates = distinct(np.concatenate(world.allgather(mine)))
    sums = np.zeros((len(own.scaled) + 1, dates.size))
    here = np.searchsorted(dates, mine)
    for method, squares in enumerate(own.scaled):
        sums[method, here] = np.bincount(index, squares, mine.size)
    sums[-1, here] = np.bincount(index, moved[own.symbol], mine.size)
    sums = world.allreduce_sum(sums)
    return dates, sums[:-1], sums[-1]


def _mean_step(own: WindowErrors, dates: np.ndarray, windows: np.ndarray, world: World) -> float:
    """``PartErrors.step``; collective.

    Args:
        windows: float64 [S], of all ranks.
    """
    place = np.searchsorted(dates, own.date)
    first, last = np.full(len(windows), len(dates)), np.full(len(windows), -1)
    np.minimum.at(first, own.symbol, place)
    np.maximum.at(last, own.symbol, place)
    first, last = world.allreduce_min(first), world.allreduce_max(last)
    steps = float(np.maximum(windows - 1, 0).sum())
    return float(np.maximum(last - first, 0).sum()) / steps if steps else 1.0
