"""A trained run for Python: its metrics, forecasts and pictures."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpc_lstm.api.prices import Store, read_prices
from hpc_lstm.api.tables import import_pandas
from hpc_lstm.config import RunConfig
from hpc_lstm.errors import InputError
from hpc_lstm.runs import directory

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


class Run:
    """A run's directory, as ``train`` fills it.

    Args:
        path: of the directory.

    Raises:
        InputError: it is no run directory.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._files = directory.at(os.fspath(path))
        self._files.load_config()

    @property
    def path(self) -> Path:
        """Absolute path of the run's directory."""
        return self._files.path

    @cached_property
    def config(self) -> RunConfig:
        """All settings of the run."""
        return self._files.load_config()

    @property
    def complete(self) -> bool:
        """Whether the run was trained to its end and measured."""
        return self._files.metrics.exists()

    @property
    def metrics(self) -> DataFrame:
        """The errors of the model and of each baseline, in price units: a row for each ``part`` and ``method``.

        docs/metrics.md defines the columns.

        Raises:
            InputError: the run is not complete, or pandas is not installed.
        """
        return _metrics_table(self._metrics_file())

    @property
    def verdict(self) -> str:
        """A sentence on whether the model beats the best simple forecast, on test or, without one, on validation."""
        from hpc_lstm.evaluation.metrics_file import PARTS

        metrics = self._metrics_file()
        return next((str(metrics[part]["verdict"]) for part in reversed(PARTS) if metrics.get(part)), "")

    @property
    def history(self) -> DataFrame:
        """Losses, learning rate and samples per second over the run: the lines of ``history.jsonl``.

        Columns: ``kind`` ("train" or "validation"), ``step``, ``epoch`` (a fraction), ``loss`` (that of
        ``train.loss``, in scaled units), ``learning_rate``, ``samples_per_second``, ``elapsed_s``,
        ``memory_bytes`` (of rank 0), ``best``.
        """
        from hpc_lstm.runs.history import read_history

        return import_pandas().DataFrame(read_history(self._files.history))

    def predict(
        self,
        prices: Store | DataFrame | Mapping[str, DataFrame] | str | os.PathLike[str] | None = None,
        *,
        symbols: str | Sequence[str] | None = None,
        steps: int = 1,
        device: str = "auto",
    ) -> DataFrame:
        """Forecast the next prices.

        Symbols that the run was not trained on are scaled by their own rows.

        Args:
            prices: a market store, or what ``read_prices`` reads; None: the run's own store.
            symbols: names of the symbols; None: all that can be forecast.
            steps: how many horizons ahead, each from the forecast of the one before.
            device: "cpu" or "gpu", to forecast on; "auto": where the forecasts are done first.

        Returns:
            A row for each symbol and step, with its ``date`` and how many ``rows_ahead`` it is, the
            ``last`` known price and its date, the ``forecast``, ``persistence`` (what it has to beat), the typical
            ``error``, and ``low`` and ``high``, the ends of its interval, if there is one; prices and errors in price
            units. A run that forecasts several targets has the ``target``, too.

        Raises:
            InputError: the run is not complete; there is no such symbol, or it has too few rows.
        """
        from hpc_lstm.evaluation.predict import predict_symbols

        pandas = import_pandas()
        store = None if prices is None else prices if isinstance(prices, Store) else read_prices(prices)
        names = [symbols] if isinstance(symbols, str) else None if symbols is None else list(symbols)
        found, _ = predict_symbols(
            self.path, names, steps, None if store is None else store.path, unseen=True, device=device
        )
        table: DataFrame = pandas.concat(
            [pandas.DataFrame(forecast.columns()) for forecast in found], ignore_index=True
        )
        for name in ("date", "last_date"):
            table[name] = pandas.to_datetime(table[name])
        return table

    def evaluate(
        self, prices: Store | str | os.PathLike[str] | None = None, *, device: str = "auto"
    ) -> DataFrame:
        """Measure the model anew, also on another market store; a table as ``metrics``. Nothing is written.

        Args:
            prices: another market store; None: the run's own.
            device: as of ``predict``.

        Raises:
            InputError: the run is not complete, or the store has none of its symbols.
        """
        from hpc_lstm.evaluation.evaluate_run import evaluate_run
        from hpc_lstm.parallel.world import World

        store = prices.path if isinstance(prices, Store) else prices
        metrics = evaluate_run(self.path, None if store is None else os.fspath(store), World(), device=device)
        return _metrics_table(metrics)

    def forecasts(
        self,
        part: str = "test",
        prices: Store | str | os.PathLike[str] | None = None,
        *,
        symbols: str | Sequence[str] | None = None,
        device: str = "auto",
    ) -> DataFrame:
        """The model's forecasts of past days beside the actual values: what ``metrics`` is computed from.

        Each is made from the rows up to ``last_date`` alone.

        Args:
            part: "validation", "test", or "new" for rows that were added after the training.
            prices: another market store; None: the run's own.
            symbols: names of the symbols; None: all that the run was trained on.
            device: as of ``predict``.

        Returns:
            A row for each window and output: its ``symbol``, ``target``, how many ``rows_ahead`` of the last known row
            the target lies, the dates of both (``last_date``, ``date``), the ``last`` known price, which persistence
            forecasts, the ``actual`` value, the ``forecast``, and ``low`` and ``high``, the ends of its interval, NaN
            where there is none. Prices where a price follows from the target, else values of the target.

        Raises:
            InputError: the run is not complete, the part has no windows, or the run was not trained on a symbol.
        """
        from hpc_lstm.evaluation.past_forecasts import past_forecasts

        pandas = import_pandas()
        store = prices.path if isinstance(prices, Store) else prices
        names = [symbols] if isinstance(symbols, str) else symbols
        found = past_forecasts(self.path, store, parts=[part], symbols=names, device=device)
        if not found:
            raise InputError(f"{self.path}: there are no windows in the {part} part; see data.split")
        table: DataFrame = pandas.concat(
            [pandas.DataFrame(one.columns()) for one in found], ignore_index=True
        )
        return table.drop(columns="part")

    def plot_forecast(self, symbol: str | None = None, part: str = "test") -> Figure:
        """A symbol's prices with the model's forecasts and persistence.

        Args:
            symbol: None: the first one of the run.
            part: "validation", "test", or "new" for rows that were added after the training.

        Raises:
            InputError: the run is not complete, the symbol has no windows in the part, or matplotlib is missing.
        """
        from hpc_lstm.report import figures, plots
        from hpc_lstm.report.series import open_and_forecast

        with figures.styled():
            return plots.forecast_figure(open_and_forecast(self.path, symbol, part))

    def plot_losses(self) -> Figure:
        """Training and validation loss over the epochs.

        Raises:
            InputError: the run has no losses yet, or matplotlib is missing.
        """
        from hpc_lstm.report import figures, plots

        with figures.styled():
            return plots.history_figure(plots.losses_of(self._files))

    def report(self, path: str | os.PathLike[str] | None = None) -> Path:
        """Write the HTML report; returns its path, by default ``report.html`` in the run's directory."""
        from hpc_lstm.report.html import write_report

        return write_report(self.path, None if path is None else os.fspath(path))

    def timing(self) -> str:
        """Where each rank's time went, as ``hpc-lstm timing`` shows it."""
        from hpc_lstm.timing.table import timing_table

        return timing_table(self.path)

    def __repr__(self) -> str:
        return f"Run {self.path}: {self.verdict if self.complete else 'not complete'}"

    def _metrics_file(self) -> dict[str, Any]:
        from hpc_lstm.evaluation.metrics_file import read_metrics

        return read_metrics(self._files)


def load(run_dir: str | os.PathLike[str]) -> Run:
    """Open a run's directory.

    Raises:
        InputError: it is no run directory.

    >>> import hpc_lstm as hl
    >>> hl.load("no/such/run")
    Traceback (most recent call last):
        ...
    hpc_lstm.errors.InputError: ...no such run directory; `hpc-lstm train CONFIG.toml --run-dir DIR` creates one
    """
    return Run(run_dir)


def _metrics_table(metrics: dict[str, Any]) -> DataFrame:
    """The methods of each part in rows; metrics that are not numbers are left out."""
    from hpc_lstm.evaluation.metrics_file import methods_of, parts_of

    rows = [
        {"part": part, "method": method, **{key: value for key, value in values.items() if _is_number(value)}}
        for part in parts_of(metrics)
        for method, values in methods_of(metrics[part]).items()
    ]
    table: DataFrame = import_pandas().DataFrame(rows)
    return table.set_index(["part", "method"])


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))
