"""The next prices of symbols, by a trained run, with the error to expect.

The network forecasts the row ``horizon`` rows after its window. One step of a prediction is one horizon, and
a row beyond the last known one is always forecast from the window that ends ``horizon`` rows before it: the
first step sees known prices only, later ones also forecasts. In a row so forecast the price column, and what
is derived from it, is the forecast; every other column keeps its last known value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpc_lstm.errors import HpcLstmError, InputError, damage_in
from hpc_lstm.evaluation.dates import date_text, future_dates
from hpc_lstm.evaluation.metrics_file import ADVICE, read_metrics
from hpc_lstm.evaluation.new_rows import compare_with_run
from hpc_lstm.evaluation.prices import forecast_prices
from hpc_lstm.evaluation.trained_run import TrainedRun, open_run
from hpc_lstm.evaluation.unseen_inputs import about_unseen_inputs
from hpc_lstm.evaluation.unseen_symbols import scaler_of_own_rows
from hpc_lstm.features.columns import ModelColumns, compute_columns, find_columns
from hpc_lstm.parallel.world import World

if TYPE_CHECKING:
    from hpc_lstm.market.known_rows import Comparison
    from hpc_lstm.market.store import MarketStore


@dataclass(frozen=True)
class Forecast:
    """The next prices of a symbol; N steps of the run's horizon.

    Attributes:
        dates: of the forecast rows, N texts; for daily data weekdays, with no regard to holidays.
        prices: float64 [N], in price units.
        persistence: float64 [N], the last price: what the forecast has to beat.
        errors: float64 [N], typical (root mean square) error in price units; NaN where it is not known.
        notes: sentences on how to read the numbers.
    """

    symbol: str
    column: str
    last_date: str
    last_price: float
    dates: list[str]
    prices: np.ndarray
    persistence: np.ndarray
    errors: np.ndarray
    notes: list[str]

    def columns(self) -> dict[str, Any]:
        """The forecast as columns of N values each, for tables and files."""
        steps = len(self.dates)
        return {
            "symbol": [self.symbol] * steps,
            "step": list(range(1, steps + 1)),
            "date": self.dates,
            "last_date": [self.last_date] * steps,
            "last": [self.last_price] * steps,
            "forecast": self.prices.tolist(),
            "persistence": self.persistence.tolist(),
            "error": self.errors.tolist(),
        }

    def table(self) -> str:
        """The forecast as plain text."""
        width = max(len("date"), *map(len, self.dates))
        lines = [
            f"{self.symbol}: last {self.column} {self.last_price:.6g} on {self.last_date}",
            f"  {'step':>4}  {'date':<{width}}{'forecast':>12}{'+/-':>10}{'persistence':>13}",
        ]
        for step, (date, price, error, same) in enumerate(
            zip(self.dates, self.prices, self.errors, self.persistence, strict=True), 1
        ):
            spread = "-" if np.isnan(error) else f"{error:.4g}"
            lines.append(f"  {step:>4}  {date:<{width}}{price:>12.6g}{spread:>10}{same:>13.6g}")
        return "\n".join([*lines, *self.notes])


def predict_symbol(
    run_dir: str | Path, symbol: str, steps: int = 1, store: str | Path | None = None
) -> Forecast:
    """``predict_symbols`` of one symbol that the run was trained on."""
    found, _ = predict_symbols(run_dir, [symbol], steps, store)
    return found[0]


def predict_symbols(
    run_dir: str | Path,
    symbols: Sequence[str] | None,
    steps: int = 1,
    store: str | Path | None = None,
    *,
    unseen: bool = False,
) -> tuple[list[Forecast], list[str]]:
    """Forecast the next ``steps`` horizons of symbols from the last rows of a store.

    Args:
        symbols: their names; None: all that the store has, without those that cannot be forecast.
        steps: horizons of the run's settings, at least 1.
        store: another market store than the run's own.
        unseen: also of symbols that the run was not trained on, scaled by their own rows.

    Returns:
        The forecasts, and why symbols were left out, a sentence each; the latter only where ``symbols`` is None.

    Raises:
        InputError: unknown symbol (the nearest name is given), one that the run was not trained on, too few
            rows, a gap in the last window; or a run or store that cannot be used, or has no symbol to forecast.
    """
    from hpc_lstm.market.store import MarketStore

    if steps < 1:
        raise InputError(f"--steps {steps}: must be at least 1")
    trained = open_run(run_dir)
    found, left_out = [], []
    with MarketStore(store or trained.config.data.store) as market:
        for symbol in symbols if symbols is not None else market.symbols:
            try:
                found.append(_forecast_symbol(trained, market, symbol, steps, unseen=unseen))
            except InputError as error:
                if symbols is not None:
                    raise
                left_out.append(str(error))
        if not found:
            raise InputError(f"{market.path}: no symbol can be forecast: {(left_out or ['it has none'])[0]}")
    return found, left_out


def _forecast_symbol(
    trained: TrainedRun, market: MarketStore, symbol: str, steps: int, *, unseen: bool
) -> Forecast:
    data = trained.config.data
    number = market.symbol(symbol)
    columns = find_columns(data.features, data.target, data.horizon, market.columns, str(market.path))
    first, stop = (int(row) for row in market.offsets[number : number + 2])
    about = []
    if unseen and symbol not in trained.scaler.symbols:
        own = scaler_of_own_rows(symbol, market.rows(first, stop), columns, trained.scaler)
        trained = replace(trained, scaler=own)
        about = [f"The run was not trained on {symbol}, which is scaled by its own {stop - first:,} rows."]
    scaler_index = int(trained.scaler.select([symbol])[0])
    needed = data.window + (data.horizon - 1 if steps > 1 else 0)
    if stop - first < needed:
        raise InputError(
            f"{symbol}: has {stop - first} rows in {market.path}, but {steps} steps with "
            f"data.window = {data.window} and data.horizon = {data.horizon} need {needed}"
        )
    start = max(first, stop - needed - columns.lookback)
    rows, dates, unit = market.rows(start, stop), market.dates(start, stop), market.date_unit
    compared = compare_with_run(trained.files, market, World(), symbol)
    price = columns.target.number
    _refuse_gaps(rows, dates, unit, symbol, columns)
    prices = forecast_recursively(
        rows, price, _forecaster(trained, columns, scaler_index), data.horizon, steps
    )
    error, notes, verdicts = _expected_error(trained, symbol, float(rows[-1, price]))
    notes += about
    held = [column.name for column in columns.features if column.number != price]
    if steps > 1 and held:
        notes.append(
            f"Beyond the last known row, the columns of these inputs keep their last value: {', '.join(held)}."
        )
    notes += about_unseen_inputs(rows, columns, data.window, trained.scaler, scaler_index)
    if compared is not None:
        notes += _about_rows(compared, unit)
    ahead, rule = future_dates(dates, unit, data.horizon * np.arange(1, steps + 1))
    return Forecast(
        symbol=symbol,
        column=columns.store_columns[price],
        last_date=date_text(int(dates[-1]), unit),
        last_price=float(rows[-1, price]),
        dates=[date_text(int(date), unit) for date in ahead],
        prices=prices,
        persistence=np.full(steps, rows[-1, price]),
        errors=error * np.sqrt(np.arange(1, steps + 1)),
        notes=[*notes, rule, *verdicts],
    )


def forecast_recursively(
    rows: np.ndarray,
    price: int,
    forecast: Callable[[np.ndarray, np.ndarray], np.ndarray],
    horizon: int,
    steps: int,
) -> np.ndarray:
    """Forecast recursively.

    Args:
        rows: float64 [n, C], a symbol's last known rows.
        price: the column that is forecast.
        forecast: (rows, ends int64 [B]) to prices float64 [B] of the rows ``horizon`` after each of ``ends``,
            from the windows that end there.

    Returns:
        float64 [steps], the prices ``horizon``, ``2 * horizon``, ... rows after the last known one.

    Raises:
        HpcLstmError: a forecast is not a finite number.
    """
    found = np.empty(steps)
    for step in range(steps):
        block = horizon if step + 1 < steps else 1  # the rows between are asked for only where a step follows
        ahead = forecast(rows, np.arange(len(rows) - block, len(rows), dtype=np.int64))
        if not np.isfinite(ahead).all():
            raise HpcLstmError(
                f"the forecast of step {step + 1} is not a finite number: the model diverged in training, or "
                "cannot take its earlier forecasts as inputs; ask for fewer steps or train again"
            )
        found[step] = ahead[-1]
        future = np.repeat(rows[-1:], block, axis=0)
        future[:, price] = ahead
        rows = np.concatenate([rows, future])
    return found


def _forecaster(
    trained: TrainedRun, columns: ModelColumns, scaler_index: int
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """The network as ``forecast_recursively`` calls it; ``scaler_index`` is the symbol's in the scaler."""
    scaler, window = trained.scaler, trained.config.data.window
    scale, shift = scaler.scale[scaler_index, :-1], scaler.shift[scaler_index, :-1]

    def forecast(rows: np.ndarray, ends: np.ndarray) -> np.ndarray:
        features = compute_columns(rows, np.array([0, len(rows)]), columns)[:, :-1]
        scaled = (features * scale + shift).astype(np.float32)
        inputs = scaled[ends[:, None] + np.arange(1 - window, 1)]
        last = rows[ends, columns.target.number]
        return forecast_prices(
            trained.predict(inputs), np.full(len(ends), scaler_index), last, scaler, columns.target
        )

    return forecast


def _refuse_gaps(rows: np.ndarray, dates: np.ndarray, unit: str, symbol: str, columns: ModelColumns) -> None:
    for number in columns.numbers:
        usable = columns.usable(rows, number)
        if not usable.all():
            row = int(np.argmin(usable))
            raise InputError(
                f"{symbol}: {columns.store_columns[number]} on {date_text(int(dates[row]), unit)} is "
                f"{rows[row, number]:g}, which the run's features cannot take; put it right in the store"
            )


def _about_rows(compared: Comparison, unit: str) -> list[str]:
    """Which of a symbol's rows are new to the run, and whether the others are what it was trained on."""
    notes = []
    if compared.difference:
        notes.append(f"The store holds other prices than the run was trained on: {compared.difference}.")
    if compared.growth is not None and compared.growth.rows:
        count = compared.growth.rows
        notes.append(
            f"New to this run: {count:,} row{'' if count == 1 else 's'} {compared.growth.after(unit)}."
        )
    return notes


def _expected_error(trained: TrainedRun, symbol: str, price: float) -> tuple[float, list[str], list[str]]:
    """Typical error of one step in price units, a note on its source, and the verdict on the model."""
    if not trained.files.metrics.exists():
        return float("nan"), ["+/-: not known before the run has metrics."], []
    metrics = read_metrics(trained.files)
    with damage_in(trained.files.metrics, ADVICE):
        return _error_of(metrics, symbol, price)


def _error_of(metrics: dict[str, Any], symbol: str, price: float) -> tuple[float, list[str], list[str]]:
    """The same from the content of ``metrics.json``."""
    growth = "times the square root of the step"
    for part in ("test", "validation"):
        if not metrics.get(part):
            continue
        own = metrics.get("per_symbol", {}).get(symbol, {}).get(part)
        if own and own["model"]["rmse"] is not None:
            return (
                own["model"]["rmse"],
                [f"+/-: RMSE of {symbol} on {part}, {growth}."],
                [metrics[part]["verdict"]],
            )
        relative = metrics[part]["model"]["mape"]
        if relative is not None:
            note = f"+/-: mean percentage error of all symbols on {part} ({relative:.2f}%), {growth}."
            return price * relative / 100, [note], [metrics[part]["verdict"]]
    return float("nan"), ["+/-: not known: the run's metrics have neither test nor validation."], []
