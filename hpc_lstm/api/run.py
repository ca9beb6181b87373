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
from hpc_lstm.errors import InputError, damage_in
from hpc_lstm.runs import directory
from hpc_lstm.text.counts import counted

if TYPE_CHECKING:
    from typing import TypeAlias

    from matplotlib.figure import Figure
    from pandas import DataFrame

    Prices: TypeAlias = (
        Store
        | DataFrame
        | Mapping[str, DataFrame]
        | str
        | os.PathLike[str]
        | Sequence[str | os.PathLike[str]]
    )


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

        docs/metrics.md defines the columns. There are no rows where nothing was measured, or where no price follows
        from what is forecast: see ``outputs``.

        Raises:
            InputError: the run is not complete, or pandas is not installed.
        """
        return _metrics_table(self._metrics_file())

    @property
    def outputs(self) -> DataFrame:
        """How good each output is as a forecast of its target: a row for each ``part``, ``target`` and ``horizon``.

        The columns are the fields of ``outputs`` that docs/metrics.md defines. ``coverage`` and ``direction`` are
        shares; the ends of their confidence intervals are ``coverage_low``, ``coverage_high``, ...

        Raises:
            InputError: the run is not complete, its file is damaged, or pandas is not installed.
        """
        from hpc_lstm.evaluation.metrics_file import ADVICE

        metrics = self._metrics_file()
        with damage_in(self._files.metrics, ADVICE):
            return _outputs_table(metrics)

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
        prices: Prices | None = None,
        *,
        symbols: str | Sequence[str] | None = None,
        steps: int = 1,
        device: str = "auto",
    ) -> DataFrame:
        """Forecast the next prices.

        Symbols that the run was not trained on are scaled by their own rows. What speaks against trusting a forecast,
        and symbols that cannot be forecast, are given as warnings.

        Args:
            prices: a market store, or what ``read_prices`` reads; None: the run's own store.
            symbols: names of the symbols; None: all that can be forecast.
            steps: how many horizons ahead, each from the forecast of the one before.
            device: "cpu" or "gpu", to forecast on; "auto": where the forecasts are done first.

        Returns:
            A row for each symbol and step, with its ``date`` and how many ``rows_ahead`` it is, the
            ``last`` known price and its date, the ``forecast``, ``persistence`` (what it has to beat), the typical
            ``error``, and ``low`` and ``high``, the ends of its interval, if there is one; prices and errors in price
            units. A run that forecasts several targets has the ``target``, too, and ``last`` is of the target's
            column. ``attrs["notes"]`` says how to read the numbers.

        Raises:
            InputError: the run is not complete; there is no such symbol, or it has too few rows.
        """
        from hpc_lstm.api.cautions import caution, caution_of_forecasts
        from hpc_lstm.evaluation.forecast_table import shared_notes
        from hpc_lstm.evaluation.predict import predict_symbols

        pandas = import_pandas()
        store = _store(prices)
        names = [symbols] if isinstance(symbols, str) else None if symbols is None else list(symbols)
        path = None if store is None else store.path
        found, left_out = predict_symbols(self.path, names, steps, path, unseen=True, device=device)
        table: DataFrame = pandas.concat(
            [pandas.DataFrame(forecast.columns()) for forecast in found], ignore_index=True
        )
        for name in ("date", "last_date"):
            table[name] = pandas.to_datetime(table[name], format="ISO8601")
        table.attrs["notes"] = shared_notes(found)
        if left_out:
            caution(f"{counted(len(left_out), 'symbol')} left out: {left_out[0]}")
        caution_of_forecasts(found)
        return table

    def evaluate(
        self, prices: Prices | None = None, *, outputs: bool = False, device: str = "auto"
    ) -> DataFrame:
        """Measure the model anew, also on other prices; a table as ``metrics``. Nothing is written.

        What speaks against trusting the numbers is given as warnings; ``attrs["notes"]`` of the table has all notes.

        Args:
            prices: as of ``predict``.
            outputs: give a table as ``outputs`` instead.
            device: as of ``predict``.

        Raises:
            InputError: the run is not complete, the store has none of its symbols, or nothing can be measured.
        """
        from hpc_lstm.api.cautions import caution
        from hpc_lstm.evaluation.evaluate_run import measure_run
        from hpc_lstm.evaluation.metrics_file import parts_of
        from hpc_lstm.parallel.world import World

        store = _store(prices)
        path = None if store is None else store.path
        evaluation = measure_run(self.path, path, World(), device=device)
        if not parts_of(evaluation.metrics):
            why = " ".join(evaluation.metrics["notes"])
            raise InputError(f"{path or self.config.data.store}: nothing can be measured: {why}")
        for text in evaluation.cautions:
            caution(text)
        return _outputs_table(evaluation.metrics) if outputs else _metrics_table(evaluation.metrics)

    def forecasts(
        self,
        part: str = "test",
        prices: Prices | None = None,
        *,
        symbols: str | Sequence[str] | None = None,
        device: str = "auto",
    ) -> DataFrame:
        """The model's forecasts of past days beside the actual values: what ``metrics`` is computed from.

        Each is made from the rows up to ``last_date`` alone.

        Args:
            part: "validation", "test", or "new" for rows that were added after the training.
            prices: as of ``predict``.
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
        store = _store(prices)
        path = None if store is None else store.path
        names = [symbols] if isinstance(symbols, str) else symbols
        found = past_forecasts(self.path, path, parts=[part], symbols=names, device=device)
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


def _store(prices: Prices | None) -> Store | None:
    return prices if prices is None or isinstance(prices, Store) else read_prices(prices)


def _metrics_table(metrics: dict[str, Any]) -> DataFrame:
    """The methods of each part in rows; metrics that are not numbers are left out."""
    from hpc_lstm.evaluation.metrics import METRICS
    from hpc_lstm.evaluation.metrics_file import methods_of, parts_of

    rows = [
        {"part": part, "method": method, **{key: value for key, value in values.items() if _is_number(value)}}
        for part in parts_of(metrics)
        for method, values in methods_of(metrics[part]).items()
    ]
    index = ["part", "method"]
    columns = None if rows else [*index, *(metric.key for metric in METRICS)]
    return _indexed(rows, columns, index, metrics)


def _outputs_table(metrics: dict[str, Any]) -> DataFrame:
    """The outputs of each part in rows, each a field in a column, a share's fields in several."""
    from hpc_lstm.evaluation.metrics_file import parts_of
    from hpc_lstm.evaluation.output_metrics import FIELDS

    rows = [
        {"part": part, **_flat(output)}
        for part in parts_of(metrics)
        for output in metrics[part].get("outputs", [])
    ]
    index = ["part", "target", "horizon"]
    return _indexed(rows, [*index, *FIELDS], index, metrics).astype(dict.fromkeys(FIELDS[1:], float))


def _flat(output: dict[str, Any]) -> dict[str, Any]:
    """An output's metrics, in which a share is named as its field is."""
    flat: dict[str, Any] = {}
    for name, value in output.items():
        fields = value if isinstance(value, dict) else {"share": value}
        flat |= {name if key == "share" else f"{name}_{key}": one for key, one in fields.items()}
    return flat


def _indexed(
    rows: list[dict[str, Any]], columns: list[str] | None, index: list[str], metrics: dict[str, Any]
) -> DataFrame:
    table: DataFrame = import_pandas().DataFrame(rows, columns=columns).set_index(index)
    table.attrs["notes"] = metrics.get("notes", [])
    return table


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))
