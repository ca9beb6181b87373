"""A trained model's forecasts of windows whose targets are known, one by one: what its metrics are computed from."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpc_lstm.errors import InputError
from hpc_lstm.evaluation.evaluate import BATCH_SIZE
from hpc_lstm.evaluation.intervals import constant_targets
from hpc_lstm.evaluation.metrics_file import NEW, PARTS
from hpc_lstm.features.feature import DIRECTION, PRICED
from hpc_lstm.model.engines.forecaster_choice import AUTO
from hpc_lstm.parallel.world import World

if TYPE_CHECKING:
    from hpc_lstm.evaluation.trained_run import TrainedRun
    from hpc_lstm.features.columns import TargetColumn
    from hpc_lstm.market.store import MarketStore
    from hpc_lstm.preprocess.prepare import Prepared
    from hpc_lstm.preprocess.windows import Windows

MEASURED = (*PARTS, NEW)
COLUMNS = (
    *("part", "symbol", "target", "rows_ahead", "last_date", "date"),
    *("last", "actual", "forecast", "low", "high"),
)
# Of each CSV file of past forecasts.
CSV_BEGINNING = "part,symbol,"


@dataclass(frozen=True)
class PastForecasts:
    """One output's forecasts of a part, symbol by symbol in order of date; N windows.

    Attributes:
        part: "validation", "test" or "new".
        target: what is forecast, as in the settings.
        column: the store's column that ``last`` is of.
        horizon: rows from the last known price to the target.
        coverage: share of targets that the intervals are to contain.
        symbol: N names.
        last_date, date: datetime64 [N], of the last known row and of the target.
        last: float64 [N], the last known price, which persistence forecasts.
        actual, forecast, low, high: float64 [N], the actual value, the point forecast, and the ends of its interval,
            NaN where there is none. Prices where a price follows from the target, else values of the target.
    """

    part: str
    target: str
    column: str
    horizon: int
    coverage: float
    symbol: list[str]
    last_date: np.ndarray
    date: np.ndarray
    last: np.ndarray
    actual: np.ndarray
    forecast: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def columns(self) -> dict[str, Any]:
        """N values of each of ``COLUMNS``, for tables and files."""
        shared = {"part": self.part, "target": self.target, "rows_ahead": self.horizon}
        return {
            name: [shared[name]] * len(self.symbol) if name in shared else getattr(self, name)
            for name in COLUMNS
        }


def require_part(part: str) -> None:
    """Refuse a name that is none of ``MEASURED``."""
    if part not in MEASURED:
        raise InputError(f'part "{part}": must be one of {", ".join(MEASURED)}')


def past_forecasts(
    run_dir: str | Path,
    store_path: str | os.PathLike[str] | None = None,
    *,
    parts: Sequence[str] = MEASURED,
    symbols: Sequence[str] | None = None,
    device: str = AUTO,
) -> list[PastForecasts]:
    """Forecast a completed run's windows of some parts, on this process alone.

    Args:
        store_path: another market store; None: the run's own.
        parts: of "validation", "test" and "new"; those without windows are left out.
        symbols: names; None: all of the run's symbols that the store has.
        device: "cpu" or "gpu", to forecast on; "auto": where the forecasts are done first.

    Returns:
        For each part that has windows, and each output of the run, its forecasts.

    Raises:
        InputError: there is no such part; the run is not complete or damaged; the store is missing or damaged, or has
            none of the symbols; a symbol is not in the store, or the run was not trained on it.
    """
    from hpc_lstm.evaluation.all_outputs import evaluation_work
    from hpc_lstm.evaluation.trained_run import on_fastest_device, open_run
    from hpc_lstm.files import expanded
    from hpc_lstm.market.store import MarketStore

    for part in parts:
        require_part(part)
    trained = open_run(run_dir)
    if store_path is not None:
        path = {"store": str(expanded(os.fspath(store_path)).absolute())}
        data = trained.config.data.model_copy(update=path)
        trained = replace(trained, config=trained.config.model_copy(update={"data": data}))
    with MarketStore(trained.config.data.store) as store:
        names = known_symbols(trained, store, symbols)
        prepared = prepared_as_trained(trained, store, names)
        trained = on_fastest_device(trained, evaluation_work(prepared, World()), World(), device)
        return [
            found
            for part in parts
            if prepared.index.total(part)
            for found in forecast_part(trained, prepared, part, range(len(prepared.columns.targets)))
        ]


def known_symbols(trained: TrainedRun, store: MarketStore, symbols: Sequence[str] | None) -> list[str]:
    """The named symbols, or all of the store that the run was trained on, in order of the store.

    Raises:
        InputError: there is none, or a named one is not in the store or not in the run.
    """
    scaler, files = trained.scaler, trained.files
    if symbols is None:
        found = [name for name in store.symbols if name in set(scaler.symbols)]
        if not found:
            raise InputError(f"{store.path}: has none of the symbols that {files.path} was trained on")
        return found
    for name in symbols:
        store.symbol(name)
        if name not in scaler.symbols:
            raise InputError(
                f"{files.path}: was not trained on {name}; it knows {', '.join(scaler.symbols[:5])}"
            )
    return [store.symbols[number] for number in sorted({store.symbol(name) for name in symbols})]


def prepared_as_trained(trained: TrainedRun, store: MarketStore, symbols: Sequence[str]) -> Prepared:
    """Some symbols' windows on this process, split and scaled as the run did."""
    from hpc_lstm.evaluation.new_rows import compare_with_run
    from hpc_lstm.preprocess import prepare
    from hpc_lstm.preprocess.host_backend import HostBackend
    from hpc_lstm.preprocess.recorded_split import recorded_split

    data = trained.config.data.model_copy(update={"symbols": list(symbols), "shard": ""})
    found = compare_with_run(trained.files, store, World(), symbols[0] if len(symbols) == 1 else None)
    return prepare.prepare(
        store,
        data,
        World(),
        HostBackend(),
        scaler=trained.scaler,
        known=found.growth.known if found is not None and found.growth is not None else None,
        split_dates=recorded_split(trained.files, trained.config, store.date_unit),
        to_train=False,
    )


def forecast_part(
    trained: TrainedRun, prepared: Prepared, part: str, outputs: Sequence[int]
) -> list[PastForecasts]:
    """Forecasts of all windows of a part, each from known rows alone.

    Args:
        part: one that has windows.
        outputs: indices of the targets.
    """
    head, windows = trained.head, prepared.load_windows(part)
    views = [windows.of_output(replace(prepared.columns, output=output)) for output in outputs]
    found: list[list[tuple[np.ndarray, ...]]] = [[] for _ in outputs]
    for numbers in batches(len(windows)):
        inputs, actual = windows.batch(numbers)
        scaled = np.asarray(trained.predict(inputs))
        point = head.loss.point(head.by_target(scaled))
        constant = constant_targets(prepared.scaler, prepared.columns, windows.symbols(numbers))
        ends = trained.intervals.of(head, scaled, constant)
        for to, view, output in zip(found, views, outputs, strict=True):
            target, prices = prepared.columns.targets[output], view.prices(numbers)
            price = target.transform.unit in PRICED
            forecast, low, high, came = (
                _unscaled(values[:, output], prepared, target, prices.symbol, prices.last)
                for values in (point, *ends, np.asarray(actual, np.float64))
            )
            if target.transform.unit == DIRECTION:  # a probability has no interval
                low, high = np.full_like(low, np.nan), np.full_like(high, np.nan)
            to.append(
                (
                    prices.symbol,
                    prices.date,
                    prices.last,
                    prices.actual if price else came,
                    forecast,
                    low,
                    high,
                )
            )
    unit = f"datetime64[{prepared.store.date_unit}]"
    last_date = _last_dates(prepared.store, windows).astype(unit)
    results = []
    for output, columns in zip(outputs, found, strict=True):
        symbol, date, *values = map(np.concatenate, zip(*columns, strict=True))
        target = prepared.columns.targets[output]
        results.append(
            PastForecasts(
                *(part, target.name, prepared.columns.store_columns[target.number], target.horizon),
                trained.intervals.coverage,
                [prepared.scaler.symbols[number] for number in symbol.tolist()],
                *(last_date, date.astype(unit)),
                *values,
            )
        )
    return results


def past_forecasts_csv(forecasts: Sequence[PastForecasts]) -> str:
    """Forecasts as CSV: a row for each window and output, an empty cell for what is not known."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in forecasts:
        columns = [values.tolist() if _is_float(values) else values for values in one.columns().values()]
        for row in zip(*columns, strict=True):
            writer.writerow(
                "" if isinstance(value, float) and not math.isfinite(value) else value for value in row
            )
    return text.getvalue()


def batches(windows: int) -> Iterator[np.ndarray]:
    """The numbers of windows, so many at once as are forecast together: int64 [B]."""
    for start in range(0, windows, BATCH_SIZE):
        yield np.arange(start, min(start + BATCH_SIZE, windows), dtype=np.int64)


def _unscaled(
    scaled: np.ndarray, prepared: Prepared, target: TargetColumn, symbol: np.ndarray, last: np.ndarray
) -> np.ndarray:
    """Scaled values of a target as prices where a price follows from it, else in the target's own unit."""
    values = prepared.scaler.inverse_target(scaled, symbol, target.column)
    return target.transform.price(values, last) if target.transform.unit in PRICED else values


def _last_dates(store: MarketStore, windows: Windows) -> np.ndarray:
    """The date of each window's last row, int64 [N], in the store's unit."""
    last = windows.part.first + windows.window - 1
    rows = zip(last.tolist(), (last + windows.part.count).tolist(), strict=True)
    return np.concatenate([np.empty(0, np.int64), *(store.dates(*own) for own in rows)])


def _is_float(values: Any) -> bool:
    return isinstance(values, np.ndarray) and values.dtype == np.float64
