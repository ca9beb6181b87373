"""Sums of the errors of several forecasts, over windows and ranks.

Everything is a sum over windows, kept per symbol in float64: ranks add their own windows, then ``reduce`` adds the
ranks. So the numbers are those of one rank within rounding, however many there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hpc_lstm.evaluation.baselines.registry import METHODS
from hpc_lstm.parallel.world import World
from hpc_lstm.preprocess.host import errors as host_errors


@dataclass(frozen=True)
class PartErrors:
    """Sums of errors over the windows of a part; S symbols, M methods.

    Attributes:
        methods: M names, "model" and baselines.
        windows: float64 [S], windows.
        nonzero: float64 [S], windows whose actual price is not 0, the only ones with a percentage.
        squared, absolute, relative, hits: float64 [M, S]; ``relative`` is of |error / actual|, ``hits``
            counts forecasts that moved from the last price in the direction of the actual price.
        dates: int64 [D], all target dates, ascending.
        differential: float64 [D], per date, sum of the model's squared errors less persistence's.
        date_windows: float64 [D], windows per date.
    """

    methods: tuple[str, ...]
    windows: np.ndarray
    nonzero: np.ndarray
    squared: np.ndarray
    absolute: np.ndarray
    relative: np.ndarray
    hits: np.ndarray
    dates: np.ndarray
    differential: np.ndarray
    date_windows: np.ndarray

    def only(self, symbol: int) -> PartErrors:
        """The same for one symbol, without dates."""
        one = slice(symbol, symbol + 1)
        none = self.dates[:0]
        return PartErrors(
            self.methods,
            self.windows[one],
            self.nonzero[one],
            self.squared[:, one],
            self.absolute[:, one],
            self.relative[:, one],
            self.hits[:, one],
            none,
            none.astype(np.float64),
            none.astype(np.float64),
        )


class ErrorSums:
    """Collects the windows of a part for ``PartErrors``.

    Args:
        symbols: number of symbols, S.
        methods: "model", "persistence" and any others.
        errors: a backend's sums of squared and absolute errors of segments: ``preprocess.host.errors``.
    """

    def __init__(
        self,
        symbols: int,
        methods: Sequence[str] = METHODS,
        errors: Callable[..., tuple[np.ndarray, ...]] = host_errors,
    ) -> None:
        self._symbols, self._methods, self._errors = symbols, tuple(methods), errors
        self._counts = np.zeros((2, symbols))
        self._sums = np.zeros((4, len(self._methods), symbols))
        self._dates: list[np.ndarray] = []
        self._differentials: list[np.ndarray] = []

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
            symbol: int [B], below S; windows of a symbol are adjacent.
            last, actual: float64 [B], prices of the window's last row and of its target row.
            dates: int64 [B], dates of the target rows.
            forecasts: float64 [B] of each method.
        """
        symbol = np.asarray(symbol)
        nonzero = actual != 0
        self._counts[0] += np.bincount(symbol, minlength=self._symbols)
        self._counts[1] += np.bincount(symbol, nonzero, self._symbols)
        starts = np.flatnonzero(np.diff(symbol, prepend=-1))
        offsets = np.append(starts, len(symbol)).astype(np.int64)
        squares = {}
        # A model that diverged is reported, not warned about.
        with np.errstate(over="ignore", invalid="ignore"):
            for method, name in enumerate(self._methods):
                forecast = np.asarray(forecasts[name], np.float64)
                error = forecast - actual
                relative = np.divide(np.abs(error), np.abs(actual), out=np.zeros_like(error), where=nonzero)
                hit = np.sign(forecast - last) == np.sign(actual - last)
                squares[name] = error**2
                squared, absolute, counted = self._errors(forecast, actual, offsets)
                # A backend leaves NaN out, but the error of a forecast that is not a number is not known.
                unknown = np.where(counted < np.diff(offsets), np.nan, 0.0)
                np.add.at(self._sums[0, method], symbol[starts], squared + unknown)
                np.add.at(self._sums[1, method], symbol[starts], absolute + unknown)
                for kind, values in enumerate((relative, hit), 2):
                    self._sums[kind, method] += np.bincount(symbol, values, self._symbols)
            self._dates.append(np.asarray(dates, np.int64))
            self._differentials.append(squares["model"] - squares["persistence"])

    def reduce(self, world: World) -> PartErrors:
        """The sums over all ranks; collective."""
        counts, sums = world.allreduce_sum(self._counts.copy()), world.allreduce_sum(self._sums.copy())
        # Ranks have different dates: each adds its sums where its own dates are among those of all ranks.
        mine, index = np.unique(np.concatenate([np.empty(0, np.int64), *self._dates]), return_inverse=True)
        dates = np.unique(np.concatenate(world.allgather(mine)))
        by_date = np.zeros((2, dates.size))
        here = np.searchsorted(dates, mine)
        by_date[0, here] = np.bincount(index, np.concatenate([np.empty(0), *self._differentials]), mine.size)
        by_date[1, here] = np.bincount(index, minlength=mine.size)
        by_date = world.allreduce_sum(by_date)
        squared, absolute, relative, hits = sums
        windows, nonzero = counts
        return PartErrors(
            self._methods, windows, nonzero, squared, absolute, relative, hits, dates, by_date[0], by_date[1]
        )
