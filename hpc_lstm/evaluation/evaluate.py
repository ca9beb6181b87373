"""What a trained model is worth: its forecasts of validation and test, beside persistence and drift.

``evaluate`` measures any model on prepared windows, ``evaluate_run`` a run from its directory. Definitions
are in ``metrics``; the layout of the result, which is that of ``metrics.json``, in docs/metrics.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpc_lstm.config import DataConfig
from hpc_lstm.errors import InputError
from hpc_lstm.evaluation.metrics import (
    METHODS,
    METRICS,
    Errors,
    ErrorSums,
    Reference,
    ReferenceSums,
    part_metrics,
    symbol_metrics,
)
from hpc_lstm.files import expanded, write_text
from hpc_lstm.parallel.world import World
from hpc_lstm.runs.directory import at

if TYPE_CHECKING:
    from hpc_lstm.features.columns import TargetColumn
    from hpc_lstm.market.store import MarketStore
    from hpc_lstm.preprocess.prepare import Prepared
    from hpc_lstm.preprocess.scaler import Scaler
    from hpc_lstm.preprocess.windows import Windows

PARTS = ("validation", "test")
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
) -> dict[str, Any]:
    """Measure a model on validation and test; collective, each rank forecasts its own slices.

    Args:
        predict: scaled inputs float32 [B, window, features] to scaled forecasts float32 [B].
        batch_size: windows a call of ``predict``; the last call of a part has fewer.
        date_unit: of the store, "D" or "ns".

    Returns:
        The content of ``metrics.json`` as far as the model goes: the same on every rank.
    """
    scaler = prepared.scaler
    reference = _train_reference(prepared.train, len(scaler.symbols), world, batch_size)
    metrics: dict[str, Any] = {"format": "hpc_lstm metrics", "version": 1}
    notes, sums = [], {}
    for part in PARTS:
        metrics[part] = None
        if prepared.index.total(part) == 0:
            notes.append(f"There is no {part} part: its share in data.split gives it no window.")
            continue
        windows = prepared.validation if part == "validation" else prepared.load(part)
        errors = _part_errors(predict, windows, prepared, reference, batch_size).reduce(world)
        sums[part] = errors
        first, last = (date_text(int(date), date_unit) for date in errors.dates[[0, -1]])
        metrics[part] = {
            "first_date": first,
            "last_date": last,
            **part_metrics(errors, reference, prepared.index.horizon, part),
        }
    metrics |= _listed(sums, reference, scaler.symbols)
    metrics["notes"] = notes
    return metrics


def evaluate_run(
    run_dir: str | Path, store_path: str | Path | None, world: World, batch_size: int = BATCH_SIZE
) -> dict[str, Any]:
    """Measure a completed run's model; collective.

    Another store is split by the run's shares and scaled as the run scaled each symbol. Its symbols that the
    run has not scaled are left out and counted in the notes.

    Args:
        store_path: another market store; None: the run's own.

    Returns:
        The content of ``metrics.json``. With the run's own store, what training wrote besides (speed, ranks,
        engine) is kept; with another, it is left out and ``store`` names the file.

    Raises:
        InputError: the run is not complete or damaged; the store is damaged, lacks the run's columns or a
            symbol that the run's settings name, or has no symbol that the run has scaled.
    """
    from hpc_lstm.evaluation.trained_run import open_run, read_metrics
    from hpc_lstm.market.staging import staged
    from hpc_lstm.market.store import MarketStore
    from hpc_lstm.parallel import gpu
    from hpc_lstm.preprocess import prepare

    own_gpu = gpu.claim(world)
    trained = world.raise_on_all(lambda: open_run(run_dir, world.threads))
    before = world.raise_on_all(lambda: read_metrics(trained.files) if trained.files.metrics.exists() else {})
    data = trained.config.data
    if store_path is not None:
        place = world.raise_on_all(lambda: expanded(store_path).absolute())
        data = data.model_copy(update={"store": str(place)})
    place = staged(data.store, world)
    with world.raise_on_all(lambda: MarketStore(place)) as store:
        symbols, notes = world.raise_on_all(lambda: _known_symbols(store, data, trained.scaler))
        data = data.model_copy(update={"symbols": symbols})
        backend = world.raise_on_all(lambda: prepare.backend_here(trained.config.train, own_gpu))
        prepared = prepare.prepare(store, data, world, backend, scaler=trained.scaler)
        metrics = evaluate(trained.predict, prepared, world, batch_size=batch_size, date_unit=store.date_unit)
    if store_path is None:
        metrics = {**before, **metrics}
    else:
        metrics["store"] = data.store
        notes += _seen_in_training(before, metrics)
    metrics["notes"] += notes
    return metrics


def write_metrics(run_dir: str | Path, metrics: dict[str, Any]) -> None:
    """Write a run's ``metrics.json``, whole or not at all, as strict JSON.

    Raises:
        InputError: it cannot be written.
    """
    write_text(at(run_dir).metrics, json.dumps(metrics, indent=2, allow_nan=False) + "\n")


def comparison_table(metrics: dict[str, Any]) -> str:
    """Model, persistence and drift side by side for validation and test, with the verdicts, as plain text."""
    lines = []
    for part in PARTS:
        table = metrics.get(part)
        if table is None:
            continue
        lines += [
            f"{part}: {table['windows']:,} windows of {_count(table['symbols'], 'symbol')}, "
            f"{table['first_date']} to {table['last_date']}",
            f"  {'':<12}{'RMSE':>12}{'MAE':>12}{'MAPE %':>10}{'MASE':>10}{'direction %':>13}",
        ]
        for method in METHODS:
            rmse, mae, mape, mase, direction = (table[method][name] for name in METRICS)
            share = None if direction is None else 100 * direction
            lines.append(
                f"  {method:<12}{_cell(rmse, '.5g'):>12}{_cell(mae, '.5g'):>12}{_cell(mape, '.3f'):>10}"
                f"{_cell(mase, '.4f'):>10}{_cell(share, '.1f'):>13}"
            )
        lines += [f"  {table['verdict']}", ""]
    lines += metrics.get("notes", [])
    return "\n".join(lines).rstrip()


def price_forecast(
    scaled: np.ndarray, symbol: np.ndarray, last: np.ndarray, scaler: Scaler, target: TargetColumn
) -> np.ndarray:
    """The network's output in price units, float64 [B].

    Args:
        scaled: float32 [B], the output.
        symbol: int [B], places in ``scaler.symbols``.
        last: float64 [B], prices of the windows' last rows.
        target: what was forecast.
    """
    return target.transform.price(scaler.inverse_target(scaled, symbol), last)


def date_text(date: int, unit: str) -> str:
    """A store's date for people: the day, or for an intraday store the minute."""
    moment = np.array([date], f"datetime64[{unit}]")
    return str(np.datetime_as_string(moment, unit="D" if unit == "D" else "m")[0])


def _train_reference(train: Windows, symbols: int, world: World, batch_size: int) -> Reference:
    sums = ReferenceSums(symbols)
    for numbers in _batches(len(train), batch_size):
        prices = train.prices(numbers)
        sums.add(prices.symbol, prices.anchor, prices.actual)
    return sums.reduce(world)


def _part_errors(
    predict: Callable[[np.ndarray], np.ndarray],
    windows: Windows,
    prepared: Prepared,
    reference: Reference,
    batch_size: int,
) -> ErrorSums:
    target, scaler = prepared.columns.target, prepared.scaler
    sums = ErrorSums(len(scaler.symbols), windows.errors)
    for numbers in _batches(len(windows), batch_size):
        inputs, _ = windows.batch(numbers)
        prices = windows.prices(numbers)
        model = price_forecast(predict(inputs), prices.symbol, prices.anchor, scaler, target)
        drift = prices.anchor + reference.change[prices.symbol]
        sums.add(prices.symbol, prices.anchor, prices.actual, prices.date, (model, prices.anchor, drift))
    return sums


def _listed(sums: dict[str, Errors], reference: Reference, symbols: list[str]) -> dict[str, Any]:
    """Metrics of each of the first symbols that have windows, and how many more there are."""
    measured = sum((errors.windows for errors in sums.values()), np.zeros(len(symbols)))
    listed = np.flatnonzero(measured)
    return {
        "per_symbol": {
            symbols[s]: {part: symbol_metrics(errors, reference, int(s)) for part, errors in sums.items()}
            for s in listed[:LISTED_SYMBOLS]
        },
        "per_symbol_omitted": max(0, len(listed) - LISTED_SYMBOLS),
    }


def _known_symbols(store: MarketStore, data: DataConfig, scaler: Scaler) -> tuple[list[str], list[str]]:
    """Symbols to measure in order of the store, and a note on those left out."""
    if data.symbols == "all":
        chosen = list(store.symbols)
    else:
        chosen = [store.symbols[s] for s in sorted(store.symbol(name) for name in data.symbols)]
    scaled = set(scaler.symbols)
    known = [name for name in chosen if name in scaled]
    if not known:
        raise InputError(
            f"{store.path}: the run was trained on none of its {_count(len(chosen), 'symbol')} "
            f"({_some(chosen)}); it knows {_some(scaler.symbols)}"
        )
    left_out = [name for name in chosen if name not in scaled]
    if not left_out:
        return known, []
    return known, [f"Left out, not trained on: {_count(len(left_out), 'symbol')} ({_some(left_out)})."]


def _seen_in_training(before: dict[str, Any], metrics: dict[str, Any]) -> list[str]:
    """A warning if windows of another store may have been trained on."""
    known = next((before[part]["first_date"] for part in PARTS if before.get(part)), None)
    found = [metrics[part]["first_date"] for part in PARTS if metrics[part]]
    if known is None or not found or min(found) >= known:
        return []
    return [
        f"Windows of this store begin at {min(found)}, before the run's own validation ({known}): the model "
        "may have been trained on some of them, and its metrics flatter it."
    ]


def _batches(windows: int, size: int) -> Iterator[np.ndarray]:
    for start in range(0, windows, size):
        yield np.arange(start, min(start + size, windows), dtype=np.int64)


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
