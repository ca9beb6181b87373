"""One self-contained HTML page about a run: opening it fetches nothing.

This module puts together what ``page_*`` collect; ``templates/report.html`` lays it out, ``report.js`` draws the charts
with uPlot (50 kB, in the page), of which a person can choose the symbol, zoom and read values.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from hpc_lstm import __version__
from hpc_lstm.errors import InputError, damage_in, printable
from hpc_lstm.evaluation.backtest_table import BacktestTable
from hpc_lstm.evaluation.metrics import METRICS
from hpc_lstm.evaluation.metrics_file import ADVICE, methods_of, parts_of, read_metrics
from hpc_lstm.evaluation.output_table import OutputTable
from hpc_lstm.files import make_parent, require_replaceable_text, write_text
from hpc_lstm.model.engines.forecaster_choice import AUTO, GPU
from hpc_lstm.report.page_forecast import PageForecast, collect_forecasts
from hpc_lstm.report.page_losses import loss_curves
from hpc_lstm.report.page_run import environment_section, settings_section
from hpc_lstm.report.page_symbols import symbols_section
from hpc_lstm.report.page_time import timing_section
from hpc_lstm.report.plots import losses_of
from hpc_lstm.runs import directory
from hpc_lstm.runs.directory import RunDirectory
from hpc_lstm.text.counts import counted

TEMPLATES = Path(__file__).parent / "templates"
CONTENTS = {
    "accuracy": "What the forecast is worth",
    "forecast": "Forecasts",
    "symbols": "Symbols",
    "losses": "Losses",
    "time": "Time",
    "rounds": "Rounds",
    "settings": "Settings",
    "environment": "Environment",
}
# Results that have a place of their own on the page, or none.
PLACED = {
    "format",
    "version",
    "notes",
    "per_symbol",
    "per_symbol_omitted",
    "sync",
    "store",
    "finished",
    "wall_s",
}


def write_report(
    run_dir: str | Path,
    output: str | Path | None = None,
    *,
    symbols: Sequence[str] = (),
    device: str = AUTO,
) -> Path:
    """Write the report of a run; that of an incomplete run says what is missing.

    Args:
        output: the page; None: ``report.html`` in the run directory.
        symbols: those whose forecasts are shown; none: all, as far as they fit.
        device: "cpu" or "gpu", to forecast on; "auto": where the forecasts are done first.

    Returns:
        The path of the page.

    Raises:
        InputError: not a run directory, a named symbol has no forecasts, the page cannot be written, or Jinja2 is not
            installed.
    """
    run = directory.at(run_dir)
    run.load_config()
    path = run.report if output is None else Path(output)
    require_replaceable_text(path, "<!DOCTYPE html>", "a report")
    forecasts, missing = _forecasts(run, symbols, device)
    curves = _section(lambda: loss_curves(losses_of(run)))
    if forecasts is not None and "missing" not in curves:
        curves["persistence"] = forecasts.persistence_loss
    metrics = read_metrics(run) if _readable(run) else {}
    page: dict[str, Any] = {
        "name": run.name,
        "headline": _headline(run),
        "accuracy": _section(lambda: _accuracy(run)),
        "forecast": missing if forecasts is None else _about_forecasts(forecasts),
        "symbols": _section(lambda: _symbols(run, metrics, forecasts)),
        "losses": curves if "missing" in curves else {"about": _about_losses(curves)},
        "time": _section(lambda: timing_section(run)),
        "rounds": _rounds(metrics),
        "settings": _section(lambda: settings_section(run)),
        "environment": _section(lambda: environment_section(run, metrics)),
        "footer": f"Written by hpc-lstm {__version__} on {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC.",
    }
    page["contents"] = [(id_, title) for id_, title in CONTENTS.items() if page[id_]]
    data = {
        "forecast": forecasts.data() if forecasts is not None else None,
        "losses": None if "missing" in curves else curves,
    }
    write_text(make_parent(path), _render_page(page, data))
    return path


def _render_page(page: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """Fill the template; every text is escaped, as names and notes are whatever somebody wrote."""
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError:
        raise InputError('reports need Jinja2: pip install "hpc-lstm[report]"') from None
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    names = {
        "css": "report.css",
        "js": "report.js",
        "uplot": "uplot.min.js",
        "uplot_css": "uplot.min.css",
        "uplot_licence": "uplot.LICENSE",
    }
    assets = {key: (TEMPLATES / name).read_text(encoding="utf-8") for key, name in names.items()}
    # In a script element nothing is escaped but what would end it.
    try:
        text = json.dumps(data, allow_nan=False).replace("<", "\\u003c")
    except ValueError:
        raise InputError(
            "a chart of the report has numbers that are not finite: the run's scaling or model is damaged; restore "
            "scaler.h5 and model.keras, or train again"
        ) from None
    return environment.get_template("report.html").render({**page, "assets": assets, "data": text})


def _section(collect: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A section's data, or why there are none: a missing or damaged file costs its own section alone."""
    try:
        return collect()
    except InputError as error:
        return {"missing": str(error)}


def _readable(run: RunDirectory) -> bool:
    return "missing" not in _section(lambda: read_metrics(run))


def _headline(run: RunDirectory) -> str:
    """What was trained on what, in one line."""
    config = run.load_config()
    data, model = config.data, config.model
    symbols = "all symbols" if data.symbols == "all" else counted(len(data.symbols), "symbol")
    ahead = (
        counted(data.horizons[0], "row")
        if len(data.horizons) == 1
        else f"{', '.join(map(str, data.horizons))} rows"
    )
    return (
        f"{counted(model.layers, 'LSTM layer')} of {counted(model.units, 'unit')} on {symbols} of "
        f"{Path(data.store).name}: {', '.join(data.targets)} {ahead} ahead, from windows of "
        f"{counted(data.window, 'row')} of {', '.join(data.features)}."
    )


def _accuracy(run: RunDirectory) -> dict[str, Any]:
    metrics = read_metrics(run)
    with damage_in(run.metrics, ADVICE):
        return _accuracy_of(metrics)


def _accuracy_of(metrics: dict[str, Any]) -> dict[str, Any]:
    """The same from the content of ``metrics.json``."""
    parts = parts_of(metrics)
    return {
        "parts": [_part(name, metrics[name]) for name in parts],
        "facts": _facts(metrics),
        "notes": metrics.get("notes", []),
        "more": [
            {"title": name.replace("_", " ").capitalize(), "rows": _flat(value)}
            for name, value in metrics.items()
            if isinstance(value, dict) and value and name not in PLACED and name not in parts
        ],
    }


def _symbols(run: RunDirectory, metrics: dict[str, Any], forecasts: PageForecast | None) -> dict[str, Any]:
    with damage_in(run.metrics, ADVICE):
        return symbols_section(run, metrics, forecasts.symbols if forecasts else ()) or {}


def _facts(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What to see at a glance."""
    facts = []
    for part in parts_of(metrics):
        error = methods_of(metrics[part]).get("model", {}).get("rmsse")
        if error is not None:
            facts.append((f"{part}: RMSSE (persistence: 1)", f"{error:.4f}"))
    speed = metrics.get("samples_per_second")
    if isinstance(speed, (int, float)):
        facts.append(("windows per second", f"{speed:,.0f}"))
    if isinstance(metrics.get("wall_s"), (int, float)):
        facts.append(("wall time", f"{metrics['wall_s']:,.1f} s"))
    if "ranks" in metrics:
        facts.append(("ranks", str(metrics["ranks"])))
    if computed := [str(metrics[key]) for key in ("engine", "backend") if key in metrics]:
        facts.append(("engine, backend", ", ".join(computed)))
    return facts


def _part(name: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics of a part: a row for the model and for each baseline that the run was compared with."""
    dates = " to ".join(str(table[key]) for key in ("first_date", "last_date") if table.get(key))
    windows = counted(table["windows"], "window") if "windows" in table else ""
    methods = methods_of(table)
    metrics = [metric for metric in METRICS if any(metric.key in values for values in methods.values())]
    verdict, outputs, traded = table.get("verdict"), table.get("outputs"), table.get("backtest")
    return {
        "name": name,
        "title": f"Errors on {name}",
        "verdict": verdict,
        "tone": _tone(table),
        "about": ", ".join(text for text in (windows, dates) if text),
        "header": [
            "method",
            *(f"{metric.title} ({metric.unit})" if metric.unit else metric.title for metric in metrics),
        ],
        "rows": [
            [method, *(metric.text(method, values) for metric in metrics)]
            for method, values in methods.items()
        ],
        "outputs": OutputTable.of(outputs, name) if outputs else None,
        "backtest": BacktestTable.of(traded) if traded else None,
    }


def _tone(table: Mapping[str, Any]) -> str:
    """``better`` where the model beats what it was held against by more than chance, else ``worse``."""
    test = table.get("against_best") or table.get("against_persistence") or {}
    difference, p = test.get("squared_error_difference"), test.get("p_value")
    sure = isinstance(p, (int, float)) and p < 0.05
    return "better" if sure and isinstance(difference, (int, float)) and difference < 0 else "worse"


def _flat(table: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Numbers and texts of nested tables, by the path of their keys; lists are counted, not shown."""
    rows = []
    for key, value in table.items():
        name = f"{before}{key.replace('_', ' ')}"
        if isinstance(value, dict):
            rows += _flat(value, f"{name}: ")
        elif isinstance(value, (bool, str)):
            rows.append((name, str(value)))
        elif isinstance(value, (int, float)):
            rows.append((name, f"{value:,.6g}" if math.isfinite(value) else "-"))
    return rows


def _forecasts(
    run: RunDirectory, symbols: Sequence[str], device: str
) -> tuple[PageForecast | None, dict[str, Any]]:
    try:
        return collect_forecasts(run, symbols, device), {}
    except InputError as error:
        if (symbols or device == GPU) and _readable(run):
            raise
        return None, {"missing": str(error)}


def _about_forecasts(page: PageForecast) -> dict[str, Any]:
    banded = any("lower" in arrays for arrays in page.symbols.values())
    band = f" The band is meant to contain {page.coverage:.0%} of the targets." if banded else ""
    return {
        "about": f"The {page.part} part: each target forecast {counted(page.horizon, 'row')} ahead from known prices. "
        "Persistence is the last known price. A curve that hugs the prices proves nothing: persistence hugs them, "
        f"too.{band} Drag to zoom, double-click to see all.",
        "symbols": list(page.symbols),
        "notes": page.notes,
    }


def _about_losses(curves: Mapping[str, Any]) -> str:
    validation = curves["validation"]
    text = "The training loss each time the ranks agreed on it, its mean over each epoch, and the validation loss."
    if curves.get("persistence") is not None:
        text += " Persistence's loss is on the same validation windows."
    if validation[1]:
        best = min(range(len(validation[1])), key=validation[1].__getitem__)
        text += (
            f" The best validation loss is {validation[1][best]:.6g}, after epoch {validation[0][best]:g}."
        )
    return text + (" The axis is logarithmic." if curves["logarithmic"] else "")


def _rounds(metrics: Mapping[str, Any]) -> dict[str, Any]:
    sync = metrics.get("sync")
    return {"rows": _flat(sync)} if isinstance(sync, dict) and sync else {}
