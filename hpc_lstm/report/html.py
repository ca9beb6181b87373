"""One self-contained HTML page about a run: opening it fetches nothing.

This module collects what the page shows; ``templates/report.html`` lays it out. Pictures are inline SVG: a report is
about 200 kB, where an interactive plotting library alone takes 4.5 MB.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from platform import python_version
from typing import Any

from hpc_lstm import __version__
from hpc_lstm.errors import InputError, damage_in, printable
from hpc_lstm.evaluation.metrics import METRICS
from hpc_lstm.evaluation.metrics_file import ADVICE, NEW, PARTS, read_metrics
from hpc_lstm.files import write_text
from hpc_lstm.report import figures, plots
from hpc_lstm.report.series import open_and_forecast
from hpc_lstm.runs import directory
from hpc_lstm.runs.directory import RunDirectory
from hpc_lstm.runs.history import read_history
from hpc_lstm.timing.cluster_runs import axis_notes, open_cluster_runs
from hpc_lstm.timing.table import table_lines, table_title, timing_notes

PACKAGES = ("tensorflow", "keras", "numpy", "h5py", "mpi4py", "mpich", "pycuda", "matplotlib")


def write_report(run_dir: str | Path, output: str | Path | None = None) -> Path:
    """Write the report of a run; that of an incomplete run says what is missing.

    Args:
        output: the page; None: ``report.html`` in the run directory.

    Returns:
        The path of the page.

    Raises:
        InputError: not a run directory, the page cannot be written, or matplotlib or Jinja2 is not installed.
    """
    run = directory.at(run_dir)
    run.load_config()
    path = run.report if output is None else Path(output)
    with figures.styled():
        page = {
            "name": run.name,
            "headline": _headline(run),
            "accuracy": _section(_accuracy, run),
            "forecast": _section(_forecast, run),
            "losses": _section(_losses, run),
            "time": _section(_time, run),
            "settings": _section(_settings, run),
            "environment": _section(_environment, run),
        }
    write_text(path, _render_page(page))
    return path


def _render_page(page: Mapping[str, Any]) -> str:
    """Fill the template; every text is escaped, as names and notes are whatever somebody wrote."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError:
        raise InputError('reports need Jinja2: pip install "hpc-lstm[report]"') from None
    environment = Environment(
        loader=PackageLoader("hpc_lstm.report"),
        autoescape=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("report.html").render(page)


def _section(collect: Callable[[RunDirectory], dict[str, Any]], run: RunDirectory) -> dict[str, Any]:
    """A section's data, or why there are none: a missing or damaged file costs its own section alone."""
    try:
        return collect(run)
    except InputError as error:
        return {"missing": str(error)}


def _headline(run: RunDirectory) -> str:
    """What was trained on what, in one line."""
    config = run.load_config()
    data, model = config.data, config.model
    symbols = "all symbols" if data.symbols == "all" else _count(len(data.symbols), "symbol")
    return (
        f"{_count(model.layers, 'LSTM layer')} of {_count(model.units, 'unit')} on {symbols} of "
        f"{Path(data.store).name}: {data.target} {_count(data.horizon, 'row')} ahead, from windows of "
        f"{_count(data.window, 'row')} of {', '.join(data.features)}."
    )


def _accuracy(run: RunDirectory) -> dict[str, Any]:
    metrics = read_metrics(run)
    with damage_in(run.metrics, ADVICE):
        return _accuracy_of(metrics)


def _accuracy_of(metrics: dict[str, Any]) -> dict[str, Any]:
    """The same from the content of ``metrics.json``."""
    speed = metrics.get("samples_per_second")
    trained_with = [f"{key} {metrics[key]}" for key in ("engine", "backend") if key in metrics]
    if "ranks" in metrics:
        trained_with.append(_count(metrics["ranks"], "rank"))
    if isinstance(speed, (int, float)):
        trained_with.append(f"{speed:,.0f} windows per second")
    return {
        "parts": [_part(name, metrics[name]) for name in (*PARTS, NEW) if metrics.get(name)],
        "notes": metrics.get("notes", []),
        "trained_with": ", ".join(trained_with),
    }


def _part(name: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics of a part: a row for the model and for each baseline that the run was compared with."""
    dates = " to ".join(str(table[key]) for key in ("first_date", "last_date") if table.get(key))
    windows = _count(table["windows"], "window") if "windows" in table else ""
    methods = {key: value for key, value in table.items() if isinstance(value, dict) and "rmse" in value}
    return {
        "name": name,
        "verdict": table.get("verdict"),
        "about": ", ".join(text for text in (windows, dates) if text),
        "header": [
            "method",
            *(f"{metric.title} ({metric.unit})" if metric.unit else metric.title for metric in METRICS),
        ],
        "rows": [
            [method, *(metric.text(method, values) for metric in METRICS)]
            for method, values in methods.items()
        ],
    }


def _forecast(run: RunDirectory) -> dict[str, Any]:
    for path in (run.model, run.scaler):
        run.require(path)
    part = next((p for p in reversed(PARTS) if read_metrics(run).get(p)), "test")
    series = open_and_forecast(run.path, part=part)
    return {"svg": figures.inline_svg(plots.forecast_figure(series), "forecast")}


def _losses(run: RunDirectory) -> dict[str, Any]:
    entries = read_history(run.history)
    if not entries:
        raise InputError("no losses yet: the run was stopped before its first report")
    return {"svg": figures.inline_svg(plots.history_figure(entries), "losses")}


def _time(run: RunDirectory) -> dict[str, Any]:
    (opened,) = open_cluster_runs([run.path])
    bottleneck, *notes = [*timing_notes(opened), *axis_notes([opened])]
    return {
        "svg": figures.inline_svg(plots.timing_figure(opened.timing), "timing"),
        "bottleneck": bottleneck,
        "notes": notes,
        "table": "\n".join([table_title(opened), "", *table_lines(opened.timing)]),
    }


def _settings(run: RunDirectory) -> dict[str, Any]:
    return {"toml": run.config.read_text(encoding="utf-8")}


def _environment(_: RunDirectory) -> dict[str, Any]:
    rows = [("hpc-lstm", __version__), ("Python", python_version())]
    for name in PACKAGES:
        try:
            rows.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            rows.append((name, "not installed"))
    return {"rows": rows}


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
