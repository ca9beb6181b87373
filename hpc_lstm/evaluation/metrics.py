"""What forecasts are worth: errors in price units, beside the two simplest forecasts there are.

Three forecasts of each window's target row, ``horizon`` rows after its last row, are held against each other:

- ``model``: the network's;
- ``persistence``: the last known price (the naive method);
- ``drift``: the last known price plus the mean change over ``horizon`` rows in the symbol's train windows.

(Naive and drift methods: Hyndman and Athanasopoulos, Forecasting: Principles and Practice, 3rd ed., 5.2. The
additive drift is taken because it is defined for every column, zero and negative values included.)

Everything is a sum over windows, kept per symbol in float64: ranks add their own windows, then ``reduce``
adds the ranks. So the numbers are those of one rank within rounding, however many there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpc_lstm.evaluation.significance import compare
from hpc_lstm.parallel.world import World
from hpc_lstm.preprocess.host import errors as host_errors

METHODS = ("model", "persistence", "drift")
METRICS = ("rmse", "mae", "mape", "mase", "directional_accuracy")
# Share of chance findings that a claim of "better" may be: the usual 5%.
SIGNIFICANT = 0.05
# A difference of RMSE below this share is none to speak of, however sure.
SAME = 5e-4


@dataclass(frozen=True)
class Reference:
    """How each symbol's price moved over ``horizon`` rows in its train windows.

    Attributes:
        change: float64 [S], mean change, in price units; the drift. NaN without a train window.
        scale: float64 [S], mean absolute change: the in-sample error of persistence, by which MASE is scaled.
    """

    change: np.ndarray
    scale: np.ndarray


class ReferenceSums:
    """Collects train windows for a ``Reference``.

    Args:
        symbols: number of symbols, S.
    """

    def __init__(self, symbols: int) -> None:
        self._sums = np.zeros((3, symbols))

    def add(self, symbol: np.ndarray, last: np.ndarray, actual: np.ndarray) -> None:
        """Add windows: symbol int [B] below S, last known and actual prices float64 [B]."""
        change = np.asarray(actual, np.float64) - last
        for row, weights in zip(self._sums, (None, change, np.abs(change)), strict=True):
            row += np.bincount(symbol, weights, row.size)

    def reduce(self, world: World) -> Reference:
        """The reference over all ranks; collective."""
        windows, change, absolute = world.allreduce_sum(self._sums.copy())
        with np.errstate(invalid="ignore"):
            return Reference(change / windows, absolute / windows)


@dataclass(frozen=True)
class Errors:
    """Sums of errors over the windows of a part; S symbols, three methods in the order of ``METHODS``.

    Attributes:
        windows: float64 [S], windows.
        nonzero: float64 [S], windows whose actual price is not 0, the only ones with a percentage.
        squared, absolute, relative, hits: float64 [3, S]; ``relative`` is of |error / actual|, ``hits``
            counts forecasts that moved from the last price in the direction of the actual price.
        dates: int64 [D], all target dates, ascending.
        differential: float64 [D], per date, sum of the model's squared errors less persistence's.
        date_windows: float64 [D], windows per date.
    """

    windows: np.ndarray
    nonzero: np.ndarray
    squared: np.ndarray
    absolute: np.ndarray
    relative: np.ndarray
    hits: np.ndarray
    dates: np.ndarray
    differential: np.ndarray
    date_windows: np.ndarray

    def only(self, symbol: int) -> Errors:
        """The same for one symbol, without dates."""
        one = slice(symbol, symbol + 1)
        none = self.dates[:0]
        return Errors(
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
    """Collects the windows of a part for ``Errors``.

    Args:
        symbols: number of symbols, S.
        errors: a backend's sums of squared and absolute errors of segments: ``preprocess.host.errors``.
    """

    def __init__(self, symbols: int, errors: Callable[..., tuple[np.ndarray, ...]] = host_errors) -> None:
        self._symbols, self._errors = symbols, errors
        self._counts = np.zeros((2, symbols))
        self._sums = np.zeros((4, len(METHODS), symbols))
        self._dates: list[np.ndarray] = []
        self._differentials: list[np.ndarray] = []

    def add(
        self,
        symbol: np.ndarray,
        last: np.ndarray,
        actual: np.ndarray,
        dates: np.ndarray,
        forecasts: Sequence[np.ndarray],
    ) -> None:
        """Add windows.

        Args:
            symbol: int [B], below S; windows of a symbol stand together.
            last, actual: float64 [B], prices of the window's last row and of its target row.
            dates: int64 [B], dates of the target rows.
            forecasts: float64 [B] each, in the order of ``METHODS``.
        """
        symbol = np.asarray(symbol)
        nonzero = actual != 0
        self._counts[0] += np.bincount(symbol, minlength=self._symbols)
        self._counts[1] += np.bincount(symbol, nonzero, self._symbols)
        starts = np.flatnonzero(np.diff(symbol, prepend=-1))
        offsets = np.append(starts, len(symbol)).astype(np.int64)
        squares = []
        with np.errstate(
            over="ignore", invalid="ignore"
        ):  # a model that diverged is reported, not warned about
            for method, forecast in enumerate(forecasts):
                error = np.asarray(forecast, np.float64) - actual
                relative = np.divide(np.abs(error), np.abs(actual), out=np.zeros_like(error), where=nonzero)
                hit = np.sign(forecast - last) == np.sign(actual - last)
                squares.append(error**2)
                squared, absolute, counted = self._errors(np.asarray(forecast, np.float64), actual, offsets)
                unknown = np.where(counted < np.diff(offsets), np.nan, 0.0)  # a forecast that is no number
                np.add.at(self._sums[0, method], symbol[starts], squared + unknown)
                np.add.at(self._sums[1, method], symbol[starts], absolute + unknown)
                for kind, values in enumerate((relative, hit), 2):
                    self._sums[kind, method] += np.bincount(symbol, values, self._symbols)
            self._dates.append(np.asarray(dates, np.int64))
            self._differentials.append(squares[0] - squares[1])

    def reduce(self, world: World) -> Errors:
        """The sums over all ranks; collective."""
        counts, sums = world.allreduce_sum(self._counts.copy()), world.allreduce_sum(self._sums.copy())
        mine, place = np.unique(np.concatenate([np.empty(0, np.int64), *self._dates]), return_inverse=True)
        dates = np.unique(np.concatenate(world.allgather(mine)))
        by_date = np.zeros((2, dates.size))
        here = np.searchsorted(dates, mine)
        by_date[0, here] = np.bincount(place, np.concatenate([np.empty(0), *self._differentials]), mine.size)
        by_date[1, here] = np.bincount(place, minlength=mine.size)
        by_date = world.allreduce_sum(by_date)
        squared, absolute, relative, hits = sums
        windows, nonzero = counts
        return Errors(windows, nonzero, squared, absolute, relative, hits, dates, by_date[0], by_date[1])


def method_metrics(errors: Errors, reference_scale: np.ndarray, method: int) -> dict[str, float | None]:
    """One method's metrics over all windows of ``errors``; None where a metric is not defined.

    ``rmse`` and ``mae`` are in price units, ``mape`` in percent over windows whose actual price is not 0,
    ``directional_accuracy`` a share. ``mase`` is the mean of |error| / scale of the window's symbol (Hyndman
    and Koehler 2006), over symbols whose train price moved; above 1 is worse than persistence in training.

    Args:
        reference_scale: float64 [S], ``Reference.scale`` of the same symbols.
        method: place in ``METHODS``.
    """
    windows = errors.windows.sum()
    scaled = (errors.windows > 0) & (reference_scale > 0)
    with np.errstate(over="ignore", invalid="ignore"):
        absolute_scaled = (errors.absolute[method][scaled] / reference_scale[scaled]).sum()
        return {
            "rmse": finite(np.sqrt(_ratio(errors.squared[method].sum(), windows))),
            "mae": finite(_ratio(errors.absolute[method].sum(), windows)),
            "mape": finite(100 * _ratio(errors.relative[method].sum(), errors.nonzero.sum())),
            "mase": finite(_ratio(absolute_scaled, errors.windows[scaled].sum())),
            "directional_accuracy": finite(_ratio(errors.hits[method].sum(), windows)),
        }


def part_metrics(errors: Errors, reference: Reference, horizon: int, name: str) -> dict[str, Any]:
    """All metrics of a part, ready for JSON, with the verdict in words.

    Args:
        name: the part's name in the verdict.
    """
    comparison = compare(errors.differential, errors.date_windows, horizon)
    table: dict[str, Any] = {"windows": int(errors.windows.sum()), "symbols": int((errors.windows > 0).sum())}
    table |= {m: method_metrics(errors, reference.scale, i) for i, m in enumerate(METHODS)}
    table["against_persistence"] = {
        "squared_error_difference": finite(comparison.difference),
        "standard_error": comparison.standard_error,
        "p_value": comparison.p_value,
        "dates": comparison.dates,
    }
    table["verdict"] = verdict(table, name)
    return table


def symbol_metrics(errors: Errors, reference: Reference, symbol: int) -> dict[str, Any] | None:
    """One symbol's metrics in a part, ready for JSON; None if it has no window there."""
    one = errors.only(symbol)
    if not one.windows.sum():
        return None
    scale = reference.scale[symbol : symbol + 1]
    methods = {m: method_metrics(one, scale, i) for i, m in enumerate(METHODS)}
    return {"windows": int(one.windows.sum()), **methods}


def verdict(table: dict[str, Any], name: str) -> str:
    """One sentence that says whether the model beats persistence in a part, and how sure that is.

    Args:
        table: a part's metrics, ``rmse`` of each method and ``against_persistence``.
        name: the part's name.
    """
    model, persistence, drift = (table[method]["rmse"] for method in METHODS)
    p, dates = (table["against_persistence"][key] for key in ("p_value", "dates"))
    chance = "" if p is None else "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
    if model is None:
        return (
            f"On {name} the model's forecasts are not finite: training diverged; try a lower learning rate."
        )
    numbers = f"RMSE {model:.5g} against {persistence:.5g}"
    if abs(model - persistence) <= SAME * persistence:
        return f"On {name} the model does not beat persistence: {numbers}, the same within {SAME:.2%}."
    if persistence:
        numbers += f", {abs(model / persistence - 1):.1%} {'lower' if model < persistence else 'higher'}"
    if model > persistence:
        sure = f", and that is no chance ({chance})" if p is not None and p < SIGNIFICANT else ""
        return f"On {name} the model does not beat persistence: {numbers}{sure}."
    if p is None:
        claim, doubt = (
            "it is too early to say that the model beats persistence",
            f"but over {dates} dates only",
        )
        return f"On {name} {claim}: {numbers}, {doubt}."
    if p >= SIGNIFICANT:
        claim, doubt = (
            "there is no evidence that the model beats persistence",
            f"which may be chance ({chance})",
        )
        return f"On {name} {claim}: {numbers}, {doubt}."
    but = f"; it does not beat drift (RMSE {drift:.5g})" if drift is not None and drift <= model else ""
    return f"On {name} the model beats persistence: {numbers} ({chance}){but}."


def finite(value: float | None) -> float | None:
    """``value`` as a float, or None where JSON has no number for it."""
    return None if value is None or not math.isfinite(value) else float(value)


def _ratio(sum_: float, count: float) -> float:
    return float(sum_) / float(count) if count else math.nan
