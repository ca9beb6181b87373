"""What a model is worth: its forecasts of validation and test, beside those of the baselines.

The layout of the result, which is that of ``metrics.json``, is in docs/metrics.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hpc_lstm.evaluation.baselines.baseline import KnownPrices
from hpc_lstm.evaluation.baselines.registry import BASELINES
from hpc_lstm.evaluation.dates import date_text
from hpc_lstm.evaluation.error_sums import ErrorSums, PartErrors
from hpc_lstm.evaluation.metrics import part_metrics, symbol_metrics
from hpc_lstm.evaluation.metrics_file import FORMAT, NEW, PARTS, VERSION
from hpc_lstm.evaluation.prices import forecast_prices
from hpc_lstm.evaluation.train_changes import TrainChanges, TrainChangeSums
from hpc_lstm.parallel.world import World

if TYPE_CHECKING:
    from hpc_lstm.preprocess.prepare import Prepared
    from hpc_lstm.preprocess.windows import Windows

# Windows that are forecast at once.
BATCH_SIZE = 1024
# Symbols whose own metrics are listed: enough to look at, few enough to keep metrics.json small.
LISTED_SYMBOLS = 50


def evaluate(
    predict: Callable[[np.ndarray], np.ndarray],
    prepared: Prepared,
    world: World,
    *,
    batch_size: int = BATCH_SIZE,
    date_unit: str = "D",
    parts: Sequence[str] = (*PARTS, NEW),
) -> dict[str, Any]:
    """Measure a model on validation, test and, if there are any, new rows; collective.

    Each rank forecasts its own slices.

    Args:
        predict: scaled inputs float32 [B, window, features] to scaled forecasts float32 [B].
        batch_size: windows a call of ``predict``; the last call of a part has fewer.
        date_unit: of the store, "D" or "ns".
        parts: those to measure; another is null, without a note.

    Returns:
        The content of ``metrics.json`` as far as the model goes: the same on every rank.
    """
    scaler = prepared.scaler
    train = _train_changes(prepared.train, len(scaler.symbols), world, batch_size)
    metrics: dict[str, Any] = {"format": FORMAT, "version": VERSION}
    notes, sums = [], {}
    for part in (*PARTS, NEW):
        if part not in parts:
            if part != NEW:
                metrics[part] = None
            continue
        if prepared.index.total(part) == 0:
            if part == NEW:
                continue
            metrics[part] = None
            notes.append(f"There is no {part} part: its share in data.split gives it no window.")
            continue
        windows = prepared.validation if part == "validation" else prepared.load_windows(part)
        errors = _part_errors(predict, windows, prepared, train, batch_size).reduce(world)
        sums[part] = errors
        first, last = (date_text(int(date), date_unit) for date in errors.dates[[0, -1]])
        metrics[part] = {
            "first_date": first,
            "last_date": last,
            **part_metrics(errors, train, prepared.index.horizon, "new rows" if part == NEW else part),
        }
    metrics |= _metrics_per_symbol(sums, train, scaler.symbols)
    metrics["notes"] = notes
    return metrics


def _train_changes(train: Windows, symbols: int, world: World, batch_size: int) -> TrainChanges:
    sums = TrainChangeSums(symbols)
    for numbers in _batches(len(train), batch_size):
        prices = train.prices(numbers)
        sums.add(prices.symbol, prices.last, prices.actual)
    return sums.reduce(world)


def _part_errors(
    predict: Callable[[np.ndarray], np.ndarray],
    windows: Windows,
    prepared: Prepared,
    train: TrainChanges,
    batch_size: int,
) -> ErrorSums:
    target, scaler, horizon = prepared.columns.target, prepared.scaler, prepared.index.horizon
    lookback = max(baseline.lookback(horizon) for baseline in BASELINES)
    sums = ErrorSums(len(scaler.symbols), errors=windows.errors)
    for numbers in _batches(len(windows), batch_size):
        inputs, _ = windows.batch(numbers)
        prices = windows.prices(numbers, lookback)
        known = KnownPrices(horizon, prices.symbol, prices.history, train)
        forecasts = {baseline.name: baseline.forecast(known) for baseline in BASELINES}
        forecasts["model"] = forecast_prices(predict(inputs), prices.symbol, prices.last, scaler, target)
        sums.add(prices.symbol, prices.last, prices.actual, prices.date, forecasts)
    return sums


def _metrics_per_symbol(
    sums: dict[str, PartErrors], train: TrainChanges, symbols: list[str]
) -> dict[str, Any]:
    """Metrics of each of the first symbols that have windows, and how many more there are."""
    measured = sum((errors.windows for errors in sums.values()), np.zeros(len(symbols)))
    listed = np.flatnonzero(measured)
    return {
        "per_symbol": {
            symbols[s]: {part: symbol_metrics(errors, train, int(s)) for part, errors in sums.items()}
            for s in listed[:LISTED_SYMBOLS]
        },
        "per_symbol_omitted": max(0, len(listed) - LISTED_SYMBOLS),
    }


def _batches(windows: int, size: int) -> Iterator[np.ndarray]:
    for start in range(0, windows, size):
        yield np.arange(start, min(start + size, windows), dtype=np.int64)
