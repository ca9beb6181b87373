"""How good each output's forecasts are as forecasts of its target: point, interval and distribution.

Returns, volatilities and directions are measured as they are. A price is measured as a change from the last known one,
as a share of that: so symbols are comparable, and a forecast of no change is persistence.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hpc_lstm.evaluation.intervals import Intervals, constant_targets
from hpc_lstm.evaluation.window_forecasts import WindowForecast
from hpc_lstm.features.columns import TargetColumn
from hpc_lstm.features.feature import DIRECTION, PRICE, PRICED
from hpc_lstm.model.engines.head import Head
from hpc_lstm.parallel.world import World

if TYPE_CHECKING:
    from hpc_lstm.preprocess.prepare import Prepared
    from hpc_lstm.preprocess.windows import Windows

# Levels at which a distribution is compared with what came: their mean pinball loss, doubled, is the CRPS in the limit.
LEVELS = tuple(np.linspace(0.01, 0.99, 99))
# Two-sided, of a binomial share.
CONFIDENCE_Z = 1.959963984540054
# Relative, of a float32 that was scaled on any backend.
SCALED_ROUNDING = 4 * float(np.finfo(np.float32).eps)
# Probabilities are kept off 0 and 1 in logarithms.
LEAST_PROBABILITY = 1e-12
# An output's metrics in a table, besides its target and horizon; a share's parts are columns of their own.
FIELDS = (
    *("windows", "rmse", "mae", "mase", "direction", "direction_low", "direction_high"),
    *(
        "coverage",
        "coverage_stated",
        "coverage_low",
        "coverage_high",
        "width",
        "pinball",
        "crps",
        "log_loss",
        "brier",
    ),
)
# What is summed for each output, in order.
SUMS = (
    *("windows", "squared", "absolute", "still_absolute", "moved", "hits", "log_loss"),
    *("with_interval", "covered", "width", "pinball", "with_distribution", "crps"),
)


def output_metrics(
    forecast: WindowForecast,
    head: Head,
    prepared: Prepared,
    windows: Windows,
    intervals: Intervals,
    world: World,
    batch_size: int,
) -> list[dict[str, Any]]:
    """The metrics of each output on a part, ready for JSON: docs/metrics.md has their definitions; collective.

    Args:
        forecast: windows to outputs [B, O].
        windows: this rank's of the part.
    """
    targets = prepared.columns.targets
    sums = np.zeros((len(targets), len(SUMS)))
    # Prices around the windows, by store column: horizons of one target share them.
    around = {
        target.number: windows.of_output(replace(prepared.columns, output=output))
        for output, target in enumerate(targets)
    }
    levels = head.loss.levels(intervals.coverage)
    for start in range(0, len(windows), batch_size):
        numbers = np.arange(start, min(start + batch_size, len(windows)), dtype=np.int64)
        outputs = forecast(windows, numbers)
        actual = np.asarray(windows.batch(numbers)[1], np.float64)
        by_target = head.by_target(outputs)
        point, quantiles = head.loss.point(by_target), head.loss.quantiles(by_target, LEVELS)
        constant = constant_targets(prepared.scaler, prepared.columns, windows.symbols(numbers))
        ends = intervals.of(head, outputs, constant)
        prices = {number: view.prices(numbers) for number, view in around.items()}
        with np.errstate(over="ignore", invalid="ignore"):
            for output, target in enumerate(targets):
                symbol, last = prices[target.number].symbol, prices[target.number].last
                y, middle, low, high = (
                    _in_unit(scaled[:, output], prepared, target, symbol, last)
                    for scaled in (actual, point, *ends)
                )
                spread = (
                    np.empty((0, len(y)))
                    if quantiles is None
                    else np.stack(
                        [
                            _in_unit(quantiles[:, output, level], prepared, target, symbol, last)
                            for level in range(len(LEVELS))
                        ]
                    )
                )
                moved = _moved(actual[:, output], prepared, target, symbol, last)
                sums[output] += _sums(y, middle, low, high, spread, moved, levels, target)
    sums = world.allreduce_sum(sums)
    return [
        {
            "target": target.name,
            "horizon": target.horizon,
            **_metrics(dict(zip(SUMS, row.tolist(), strict=True)), target, intervals.coverage),
        }
        for target, row in zip(targets, sums, strict=True)
    ]


def _in_unit(
    scaled: np.ndarray, prepared: Prepared, target: TargetColumn, symbol: np.ndarray, last: np.ndarray
) -> np.ndarray:
    """Scaled values of a target in the unit in which it is measured; NaN for a price after a price of 0."""
    values = prepared.scaler.inverse_target(scaled, symbol, target.column)
    if target.transform.unit != PRICE:
        return values
    return np.divide(values - last, np.abs(last), out=np.full(len(last), np.nan), where=last != 0)


def _moved(
    scaled: np.ndarray, prepared: Prepared, target: TargetColumn, symbol: np.ndarray, last: np.ndarray
) -> np.ndarray:
    """Whether the price changed, bool [B]: the scaled target, in float32, is not that of the last price."""
    scaler = prepared.scaler
    unchanged = last if target.transform.unit == PRICE else np.zeros(len(last))
    still = unchanged * scaler.scale[symbol, target.column] + scaler.shift[symbol, target.column]
    return np.asarray(np.abs(scaled - still) > SCALED_ROUNDING * np.maximum(1.0, np.abs(still)))


def _sums(
    y: np.ndarray,
    forecast: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    spread: np.ndarray,
    moved: np.ndarray,
    levels: tuple[float, float],
    target: TargetColumn,
) -> np.ndarray:
    """What some windows add to ``SUMS``.

    Args:
        spread: quantiles [LEVELS, B], or [0, B] without a distribution.
        moved: bool [B], as ``_moved`` tells it.
    """
    known = ~np.isnan(y)
    y, forecast, low, high, spread = y[known], forecast[known], low[known], high[known], spread[:, known]
    moved = moved[known]
    found: dict[str, Any] = dict.fromkeys(SUMS, 0.0)
    error = forecast - y
    found["windows"], found["squared"], found["absolute"] = len(y), np.sum(error**2), np.sum(np.abs(error))
    if target.transform.unit == DIRECTION:
        # Which way the price goes is all there is: a forecast above one half says up.
        found["moved"], found["hits"] = len(y), np.sum((forecast > 0.5) == (y > 0.5))
        sure = np.clip(forecast, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
        found["log_loss"] = -np.sum(y * np.log(sure) + (1 - y) * np.log1p(-sure))
    elif target.transform.unit in PRICED:
        found["still_absolute"] = np.sum(np.abs(y))
        found["moved"], found["hits"] = np.sum(moved), np.sum((np.sign(forecast) == np.sign(y)) & moved)
    if len(spread):
        found["with_distribution"] = len(y)
        found["crps"] = (
            2 * sum(np.sum(_pinball(y, at, q)) for q, at in zip(LEVELS, spread, strict=True)) / len(LEVELS)
        )
    if (has := ~np.isnan(low)).any():
        y, forecast, low, high = y[has], forecast[has], low[has], high[has]
        found["with_interval"] = len(y)
        found["covered"], found["width"] = np.sum((low <= y) & (y <= high)), np.sum(high - low)
        three = ((levels[0], low), (0.5, forecast), (levels[1], high))
        found["pinball"] = sum(np.sum(_pinball(y, at, level)) for level, at in three) / len(three)
    return np.array([found[name] for name in SUMS])


def _pinball(y: np.ndarray, quantile: np.ndarray, level: float) -> np.ndarray:
    error = y - quantile
    return np.maximum(level * error, (level - 1) * error)


def _metrics(sums: dict[str, float], target: TargetColumn, stated: float) -> dict[str, Any]:
    """An output's metrics from its sums over all ranks; None where one is not defined."""
    windows = sums["windows"]

    def mean(name: str, of: str = "windows") -> float | None:
        value = sums[name] / sums[of] if sums[of] else math.nan
        return value if math.isfinite(value) else None

    squared = mean("squared")
    found: dict[str, Any] = {
        "windows": int(windows),
        "rmse": None if squared is None else math.sqrt(squared),
        "mae": mean("absolute"),
        "mase": mean("absolute", "still_absolute") if target.transform.unit in PRICED else None,
        "direction": _share(sums["hits"], sums["moved"]),
        "coverage": {"stated": stated, **_share(sums["covered"], sums["with_interval"])}
        if sums["with_interval"]
        else None,
        "width": mean("width", "with_interval"),
        "pinball": mean("pinball", "with_interval"),
        "crps": mean("crps", "with_distribution"),
    }
    if target.transform.unit == DIRECTION:
        found |= {"log_loss": mean("log_loss"), "brier": squared}
    return found


def _share(hits: float, of: float) -> dict[str, float | None]:
    """A share of independent windows with its 95 % interval (Wilson 1927); None of none."""
    if not of:
        return {"share": None, "low": None, "high": None}
    share, z2 = hits / of, CONFIDENCE_Z**2 / of
    middle = (share + z2 / 2) / (1 + z2)
    half = math.sqrt(z2 * (share * (1 - share) + z2 / 4)) / (1 + z2)
    return {"share": share, "low": middle - half, "high": middle + half}
