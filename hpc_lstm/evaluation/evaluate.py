"""What a model is worth: its forecasts of validation and test, beside those of the baselines.

The layout of the result, which is that of ``metrics.json``, is in docs/metrics.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hpc_lstm.errors import InputError
from hpc_lstm.evaluation.backtest import BacktestSettings, Bets, backtest
from hpc_lstm.evaluation.baselines.fitted import FittedBaselines, fit_baselines, longest_lookback
from hpc_lstm.evaluation.baselines.gradient_boosting import fit_gradient_boosting
from hpc_lstm.evaluation.baselines.registry import BOOSTING, ORACLE
from hpc_lstm.evaluation.dates import date_text
from hpc_lstm.evaluation.error_sums import ErrorSums
from hpc_lstm.evaluation.metrics_file import FORMAT, NEW, PARTS, VERSION
from hpc_lstm.evaluation.oracle import Oracle, find_oracle
from hpc_lstm.evaluation.overlap import overlap_in_time
from hpc_lstm.evaluation.part_metrics import PartMetrics, measure_part, symbols_csv
from hpc_lstm.evaluation.positions import ForecastPrices
from hpc_lstm.evaluation.prices import forecast_prices
from hpc_lstm.evaluation.window_forecasts import WindowForecast, of_inputs
from hpc_lstm.parallel.world import World

if TYPE_CHECKING:
    from hpc_lstm.preprocess.prepare import Prepared
    from hpc_lstm.preprocess.windows import Windows

NO_INTERVALS = (
    "--trade-on: the run has no intervals to trade on; train with forecast.calibration and a validation part, or with "
    "a loss that forecasts a distribution, or trade on the sign"
)
IntervalForecast = Callable[["Windows", np.ndarray], tuple[np.ndarray, np.ndarray]]
# Windows that are forecast at once.
BATCH_SIZE = 1024
# Symbols whose own metrics are listed: enough to look at, few enough to keep metrics.json small.
LISTED_SYMBOLS = 50


@dataclass(frozen=True)
class Evaluation:
    """What a model is worth.

    Attributes:
        metrics: the content of ``metrics.json`` as far as the model goes.
        parts: what was measured, by the name of the part.
        symbols: names of all symbols.
        cautions: those of the notes in ``metrics`` that speak against trusting the numbers.
    """

    metrics: dict[str, Any]
    parts: dict[str, PartMetrics]
    symbols: list[str]
    cautions: list[str] = field(default_factory=list)

    def symbols_csv(self) -> str:
        """The content of ``symbols.csv``: the metrics of every symbol."""
        return symbols_csv(self.parts, self.symbols)


def evaluate(
    forecast: WindowForecast,
    prepared: Prepared,
    world: World,
    *,
    batch_size: int = BATCH_SIZE,
    date_unit: str = "D",
    boosting_s: float | None = None,
    trading: BacktestSettings | None = None,
    interval: IntervalForecast | None = None,
    parts: Sequence[str] = (*PARTS, NEW),
) -> Evaluation:
    """Measure a model on validation, test and, if there are any, new rows; collective.

    Each rank forecasts its own slices.

    Args:
        forecast: windows to scaled forecasts [B] of the target that is looked at.
        batch_size: windows that are forecast at once; the last ones of a part are fewer.
        date_unit: of the store, "D" or "ns".
        boosting_s: compare with gradient boosting, too, and give it so many seconds.
        trading: backtest the forecasts of the test part, too.
        interval: windows to the scaled ends [B] of the intervals, which some rules of a backtest need.
        parts: those to measure; another is null, without a note.

    Returns:
        The same on every rank.

    Raises:
        InputError: gradient boosting was asked for, and scikit-learn is not installed; or a backtest on intervals
            of a run that has none.
    """
    if trading is not None and trading.position_rule.needs_interval and interval is None:
        raise world.on_all_ranks(InputError(NO_INTERVALS))
    symbols = prepared.scaler.symbols
    baselines = _fitted_baselines(prepared, world, batch_size)
    oracle = find_oracle(prepared.store, prepared.columns)
    metrics: dict[str, Any] = {"format": FORMAT, "version": VERSION}
    notes: list[str] = []
    measured: dict[str, PartMetrics] = {}
    forecasters = {"model": forecast}
    if boosting_s is not None:
        boosting, note = fit_gradient_boosting(prepared, world, boosting_s)
        forecasters[BOOSTING] = of_inputs(boosting)
        notes.append(note)
    for part in (*PARTS, NEW):
        if part not in parts:
            if part != NEW:
                metrics[part] = None
            continue
        if prepared.index.total(part) == 0:
            if part == NEW:
                continue
            metrics[part] = None
            notes.append(no_part_note(part))
            continue
        windows = prepared.validation if part == "validation" else prepared.load_windows(part)
        errors = _part_errors(forecasters, windows, prepared, baselines, oracle, batch_size).reduce(world)
        name = "new rows" if part == NEW else part
        measured[part] = measure_part(errors, prepared.horizon, name, world)
        first, last = (date_text(int(date), date_unit) for date in errors.dates[[0, -1]])
        metrics[part] = {"first_date": first, "last_date": last, **measured[part].table}
        if part == "test" and trading is not None:
            needed = interval if trading.position_rule.needs_interval else None
            bets = _bets(forecast, needed, windows, prepared, trading, batch_size)
            metrics[part]["backtest"] = backtest(bets, prepared.horizon, date_unit, world)
    if prepared.split_dates is None and (overlap := overlap_in_time(prepared.store, prepared.index, world)):
        notes.append(overlap)
    metrics |= _metrics_per_symbol(measured, symbols)
    metrics["notes"] = notes
    return Evaluation(metrics, measured, symbols)


def no_part_note(part: str) -> str:
    """What is said of a part that has no window."""
    return f"There is no {part} part: by data.split no window of the store belongs to it."


def _fitted_baselines(prepared: Prepared, world: World, batch_size: int) -> FittedBaselines:
    train, horizon = prepared.train, prepared.horizon
    lookback = longest_lookback(horizon)
    lowest = world.allreduce_min(np.array([train.lowest_price(lookback)]))[0]
    around = (train.prices(numbers, lookback) for numbers in _batches(len(train), batch_size))
    return fit_baselines(around, len(prepared.scaler.symbols), horizon, bool(lowest > 0), world)


def _part_errors(
    forecasters: Mapping[str, WindowForecast],
    windows: Windows,
    prepared: Prepared,
    baselines: FittedBaselines,
    oracle: Oracle | None,
    batch_size: int,
) -> ErrorSums:
    target, scaler, horizon = prepared.columns.target, prepared.scaler, prepared.horizon
    methods = [*forecasters, *baselines.parameters, *([ORACLE] if oracle is not None else [])]
    sums = ErrorSums(len(scaler.symbols), methods, returns=baselines.logarithmic, errors=windows.errors)
    best = (
        oracle.forecasts(prepared.store, windows.part, windows.window, horizon)
        if oracle is not None
        else None
    )
    for numbers in _batches(len(windows), batch_size):
        prices = windows.prices(numbers, longest_lookback(horizon))
        forecasts = baselines.forecasts(prices)
        if best is not None:
            forecasts[ORACLE] = best[numbers]
        for name, forecast in forecasters.items():
            scaled = forecast(windows, numbers)
            forecasts[name] = forecast_prices(scaled, prices.symbol, prices.last, scaler, target)
        sums.add(prices.symbol, prices.last, prices.actual, prices.date, forecasts)
    return sums


def _bets(
    forecast: WindowForecast,
    interval: IntervalForecast | None,
    windows: Windows,
    prepared: Prepared,
    trading: BacktestSettings,
    batch_size: int,
) -> Bets:
    """The windows of a part as bets; their prices have no interval where ``interval`` is None."""
    target, scaler = prepared.columns.target, prepared.scaler
    bets = Bets(trading)
    for numbers in _batches(len(windows), batch_size):
        prices = windows.prices(numbers)
        point = forecast(windows, numbers)
        unknown = np.full(len(numbers), np.nan)
        low, high = (unknown, unknown) if interval is None else interval(windows, numbers)
        found = (
            forecast_prices(scaled, prices.symbol, prices.last, scaler, target)
            for scaled in (point, low, high)
        )
        around = (prices.before, prices.actual)
        bets.add(prices.symbol, prices.date, around, ForecastPrices(prices.last, *found))
    return bets


def _metrics_per_symbol(parts: dict[str, PartMetrics], symbols: list[str]) -> dict[str, Any]:
    """Metrics of each of the first symbols that have windows, and how many more there are."""
    measured = sum((part.windows for part in parts.values()), np.zeros(len(symbols)))
    listed = np.flatnonzero(measured)
    return {
        "per_symbol": {
            symbols[s]: {name: part.symbol_table(int(s)) for name, part in parts.items()}
            for s in listed[:LISTED_SYMBOLS]
        },
        "per_symbol_omitted": max(0, len(listed) - LISTED_SYMBOLS),
    }


def _batches(windows: int, size: int) -> Iterator[np.ndarray]:
    for start in range(0, windows, size):
        yield np.arange(start, min(start + size, windows), dtype=np.int64)
