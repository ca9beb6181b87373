"""The next prices of symbols, by a trained run, with the error to expect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpc_lstm.errors import HpcLstmError, InputError
from hpc_lstm.evaluation.dates import ROWS_OF_SPACING, date_text, date_texts, future_dates
from hpc_lstm.evaluation.expected_error import expected_error
from hpc_lstm.evaluation.forecast import Forecast
from hpc_lstm.evaluation.intervals import constant_targets
from hpc_lstm.evaluation.metrics_file import read_metrics
from hpc_lstm.evaluation.new_rows import compare_symbol, compare_with_run, known_rows
from hpc_lstm.evaluation.output_forecast import OutputForecast, forecast_outputs
from hpc_lstm.evaluation.recursion import forecast_recursively, recursive_forecaster
from hpc_lstm.evaluation.together import TOGETHER, Asking, forecast_together
from hpc_lstm.evaluation.trained_run import TrainedRun, on_fastest_device, open_run
from hpc_lstm.evaluation.unseen_inputs import about_unseen_inputs
from hpc_lstm.evaluation.unseen_symbols import scaler_of_own_rows
from hpc_lstm.features.columns import ModelColumns
from hpc_lstm.features.feature import DIRECTION, PRICED
from hpc_lstm.features.rows import RowDates
from hpc_lstm.model.engines.forecaster_choice import AUTO, Workload
from hpc_lstm.parallel.world import World
from hpc_lstm.text.counts import counted

if TYPE_CHECKING:
    from hpc_lstm.market.known_rows import KnownRows, RowComparison
    from hpc_lstm.market.store import MarketStore

# Steps ahead that are forecast at most.
MOST_STEPS = 1_000_000


@dataclass(frozen=True)
class _Recorded:
    """What a run's files say of its model, read once for all symbols: they are long where the symbols are many.

    Attributes:
        metrics: None before there are any, and where the forecast does not need them.
        rows: those that the model knows; None of a run that has not recorded them.
        means: how the run's store differs from what it was trained on, where features take means of all symbols; "":
            it does not.
    """

    metrics: dict[str, Any] | None
    rows: KnownRows | None
    means: str


def predict_symbols(
    run_dir: str | Path,
    symbols: Sequence[str] | None,
    steps: int = 1,
    store: str | Path | None = None,
    *,
    unseen: bool = False,
    device: str = AUTO,
) -> tuple[list[Forecast], list[str]]:
    """Forecast the next ``steps`` horizons of symbols from the last rows of a store.

    Args:
        symbols: their names; None: all that the store has, without those that cannot be forecast.
        steps: horizons of the run's settings, 1 to ``MOST_STEPS``.
        store: another market store than the run's own.
        unseen: also of symbols that the run was not trained on, scaled by their own rows.
        device: "cpu" or "gpu", to forecast on; "auto": where the forecasts are done first.

    Returns:
        The forecasts, and why symbols were left out, a sentence each; the latter only where ``symbols`` is None.

    Raises:
        InputError: unknown symbol (the nearest name is given), one that the run was not trained on, too few
            rows, a gap in the last window; or a run or store that cannot be used, or has no symbol to forecast.
    """
    from hpc_lstm.market.store import MarketStore
    from hpc_lstm.preprocess.market_means import with_market
    from hpc_lstm.preprocess.prepare import model_columns

    if not isinstance(steps, Integral) or not 1 <= steps <= MOST_STEPS:
        raise InputError(
            f"steps: must be a whole number of at least 1 and at most {MOST_STEPS:,}, got {steps!r}"
        )
    steps = int(steps)
    trained = open_run(run_dir)
    data = trained.config.data
    with MarketStore(store or data.store) as market:
        columns = with_market(market, model_columns(market, data), World())
        if steps > 1 and not _one_price(columns):
            raise InputError(
                f"--steps {steps}: this run forecasts {', '.join(data.targets)} {_ahead(data.horizons)} ahead, which "
                "is not fed back; leave --steps out"
            )
        names = symbols if symbols is not None else market.symbols
        work = Workload(len(names) * steps, max(1, min(len(names), TOGETHER)))
        trained = on_fastest_device(trained, work, World(), device)
        has_metrics = _one_price(columns) and trained.files.metrics.exists()
        recorded = _Recorded(
            metrics=read_metrics(trained.files) if has_metrics else None,
            rows=known_rows(trained.files, World()),
            means=_changed_means(trained, market) if columns.market and store is None else "",
        )

        def forecast(symbol: str) -> Asking[Forecast | str]:
            try:
                return (
                    yield from _forecast_symbol(
                        trained, recorded, market, columns, symbol, steps, unseen=unseen
                    )
                )
            except InputError as error:
                if symbols is not None:
                    raise
                return str(error)

        results = forecast_together(map(forecast, names), trained.predict)
        found = [one for one in results if not isinstance(one, str)]
        left_out = [one for one in results if isinstance(one, str)]
        if not found:
            raise InputError(f"{market.path}: no symbol can be forecast: {(left_out or ['it has none'])[0]}")
    return found, left_out


def _forecast_symbol(
    trained: TrainedRun,
    recorded: _Recorded,
    market: MarketStore,
    columns: ModelColumns,
    symbol: str,
    steps: int,
    *,
    unseen: bool,
) -> Asking[Forecast]:
    data = trained.config.data
    number = market.symbol(symbol)
    horizon = columns.target.horizon
    first, stop = (int(row) for row in market.offsets[number : number + 2])
    unit = market.date_unit
    unseen_notes = []
    if unseen and symbol not in trained.scaler.symbols:
        every = RowDates(symbol, market.dates(first, stop), unit)
        own = scaler_of_own_rows(market.rows(first, stop), every, columns, trained.scaler)
        trained = replace(trained, scaler=own)
        unseen_notes = [
            f"The run was not trained on {symbol}, which is scaled by its own {stop - first:,} rows."
        ]
    scaler_index = int(trained.scaler.select([symbol], "forecast symbols of the run")[0])
    needed = data.window + (horizon - 1 if steps > 1 else 0)
    if stop - first < needed:
        raise InputError(
            f"{symbol}: has {stop - first} rows in {market.path}, but forecasts of {counted(steps, 'step')} with "
            f"data.window = {data.window} and data.horizon = {horizon} need {needed}"
        )
    start = max(first, stop - needed - columns.lookback)
    rows, dates = market.rows(start, stop), market.dates(start, stop)
    recent = market.dates(max(first, min(start, stop - ROWS_OF_SPACING)), stop)
    compared = compare_symbol(recorded.rows, market, World(), symbol)
    price = columns.target.number
    _refuse_gaps(rows, dates, unit, symbol, columns)
    about = RowDates(symbol, dates, unit)
    now = yield from forecast_outputs(trained, columns, rows, scaler_index, about)
    cautions = about_unseen_inputs(rows, columns, data.window, trained.scaler, scaler_index, about)
    news: list[str] = []
    if compared is not None:
        cautions += _about_other_prices(compared, recorded.means)
        news = _about_new_rows(compared, unit)
    interval_notes = _about_intervals(trained, columns, now, symbol, steps)
    if not _one_price(columns):
        first_notes = [*unseen_notes, *cautions, *news, *interval_notes]
        found = _all_outputs(trained, columns, symbol, now, (rows, recent, unit), first_notes)
        return replace(found, cautions=cautions)
    prices = yield from forecast_recursively(
        rows, price, recursive_forecaster(trained, columns, scaler_index, about, recent), horizon, steps
    )
    error, notes, verdicts = expected_error(trained.files, recorded.metrics, symbol, float(rows[-1, price]))
    notes += unseen_notes
    held = [column.name for column in columns.features if any(n != price for n in column.numbers)]
    if steps > 1 and held:
        notes.append(
            f"Beyond the last known row, the columns of these inputs keep their last value: {', '.join(held)}."
        )
    notes += [*cautions, *news]
    rows_ahead = [horizon * step for step in range(1, steps + 1)]
    ahead, rule = future_dates(recent, unit, np.array(rows_ahead))
    last_date, *later = date_texts([dates[-1], *ahead], unit)
    growth = np.sqrt(np.arange(1, steps + 1))
    return Forecast(
        symbol=symbol,
        column=columns.store_columns[price],
        last_date=last_date,
        rows_ahead=rows_ahead,
        dates=later,
        prices=prices,
        last=np.full(steps, rows[-1, price]),
        persistence=np.full(steps, rows[-1, price]),
        errors=error * growth,
        low=prices + (now.low - now.values) * growth,
        high=prices + (now.high - now.values) * growth,
        coverage=trained.intervals.coverage,
        targets=[],
        notes=[*notes, *interval_notes, rule, *verdicts],
        cautions=cautions,
    )


def _one_price(columns: ModelColumns) -> bool:
    """Whether a run forecasts one price at one horizon, which can be fed back as an input."""
    return len(columns.targets) == 1 and columns.target.transform.unit in PRICED


def _all_outputs(
    trained: TrainedRun,
    columns: ModelColumns,
    symbol: str,
    now: OutputForecast,
    known: tuple[np.ndarray, np.ndarray, str],
    notes: list[str],
) -> Forecast:
    """The forecast of a run with several outputs, or with one from which no price follows.

    Args:
        known: the symbol's last known rows, the last known dates, and the dates' unit.
        notes: sentences that come first.
    """
    rows, dates, unit = known
    targets = columns.targets
    ahead, rule = future_dates(dates, unit, np.array(columns.horizons))
    priced = np.array([target.transform.unit in PRICED for target in targets])
    last = np.array([rows[-1, target.number] for target in targets])
    last_date, *later = date_texts([dates[-1], *ahead], unit)
    several = len({target.name for target in targets}) > 1 or not priced.all()
    if not np.isfinite(now.values).all():
        raise HpcLstmError("a forecast is not a finite number: the model diverged in training; train again")
    return Forecast(
        symbol=symbol,
        column=columns.store_columns[columns.target.number],
        last_date=last_date,
        rows_ahead=[int(horizon) for horizon in columns.horizons],
        dates=later,
        prices=now.values,
        last=last,
        persistence=np.where(priced, last, np.nan),
        errors=np.full(len(targets), np.nan),
        low=now.low,
        high=now.high,
        coverage=trained.intervals.coverage,
        targets=[target.name for target in targets] if several else [],
        notes=[*notes, rule],
    )


def _about_intervals(
    trained: TrainedRun, columns: ModelColumns, now: OutputForecast, symbol: str, steps: int
) -> list[str]:
    """Sentences on what the intervals are, if there are any, and on why one is missing."""
    constant = constant_targets(trained.scaler, columns, int(trained.scaler.select([symbol])[0]))
    without = dict.fromkeys(
        target.name
        for number, target in enumerate(columns.targets)
        if constant[number]
        and target.transform.unit != DIRECTION
        and trained.intervals.known(trained.head, number)
    )
    notes = [f"No interval: {name} of {symbol} did not vary in the rows that scale it." for name in without]
    if not np.isfinite(now.low).any():
        return notes
    calibrated = ", calibrated on validation" if np.isfinite(trained.intervals.margins).any() else ""
    later = "; wider at later steps by the square root of the step" if steps > 1 else ""
    return [
        *notes,
        f"low to high: meant to contain {trained.intervals.coverage:.0%} of the values to come{calibrated}{later}.",
    ]


def _changed_means(trained: TrainedRun, market: MarketStore) -> str:
    found = compare_with_run(trained.files, market, World())
    return "" if found is None else found.difference


def _about_other_prices(compared: RowComparison, means: str) -> list[str]:
    """Whether a symbol's rows, as far as the run knows them, are no longer what it was trained on.

    Args:
        means: how other symbols differ, of which features take means; "": they do not.
    """
    difference = compared.difference or means
    return [f"The store holds other prices than the run was trained on: {difference}."] if difference else []


def _about_new_rows(compared: RowComparison, unit: str) -> list[str]:
    """Which of a symbol's rows are new to the run."""
    if compared.growth is None or not compared.growth.rows:
        return []
    rows = counted(compared.growth.rows, "row")
    return [f"New to this run: {rows} {compared.growth.after(unit)}."]


def _refuse_gaps(rows: np.ndarray, dates: np.ndarray, unit: str, symbol: str, columns: ModelColumns) -> None:
    for number in columns.numbers:
        usable = columns.usable(rows, number)
        if not usable.all():
            row = int(np.argmin(usable))
            raise InputError(
                f"{symbol}: {columns.store_columns[number]} on {date_text(int(dates[row]), unit)} is "
                f"{rows[row, number]:g}, which the run's features cannot take; put it right in the store"
            )


def _ahead(horizons: list[int]) -> str:
    return "1 row" if horizons == [1] else f"{', '.join(map(str, horizons))} rows"
