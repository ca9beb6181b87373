"""One HTML page about a run, complete in itself: nothing is fetched from anywhere when it is opened.

Pictures are inline SVG: a report is about 200 kB, where an interactive plotting library alone takes 4.5 MB.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from importlib import metadata
from pathlib import Path
from platform import python_version

from hpc_lstm import __version__
from hpc_lstm.errors import InputError
from hpc_lstm.evaluation.trained_run import read_metrics
from hpc_lstm.files import write_text
from hpc_lstm.report import figures, plots
from hpc_lstm.report.series import open_and_forecast
from hpc_lstm.runs import directory
from hpc_lstm.runs.directory import RunDirectory
from hpc_lstm.runs.history import read as read_history
from hpc_lstm.timing.side_by_side import axis_notes, open_runs
from hpc_lstm.timing.table import sentences, table_lines, title

PARTS = ("validation", "test")
METHODS = ("model", "persistence", "drift")
# Heading, key, unit and digits of each metric, in the order of the table.
METRICS = (
    ("RMSE", "rmse", "price", ".5g"),
    ("MAE", "mae", "price", ".5g"),
    ("MAPE", "mape", "%", ".3f"),
    ("MASE", "mase", "", ".3f"),
    ("direction right", "directional_accuracy", "share", ".3f"),
)
PACKAGES = ("tensorflow", "keras", "numpy", "h5py", "mpi4py", "mpich", "pycuda", "matplotlib")

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
       max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; }
h2 { font-size: 1.15rem; margin-top: 2.2rem; border-bottom: 1px solid #ddd; padding-bottom: .2rem; }
.what { color: #555; margin-top: .2rem; }
.verdict { background: #f2f6fa; border-left: 4px solid #0072B2; padding: .6rem .9rem; margin: .5rem 0; }
.missing { background: #fdf4e3; border-left: 4px solid #E69F00; padding: .6rem .9rem; }
table { border-collapse: collapse; margin: .6rem 0; }
th, td { padding: .25rem .9rem .25rem 0; text-align: right; border-bottom: 1px solid #eee;
         font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; }
pre { background: #f7f7f7; padding: .8rem; overflow-x: auto; font-size: 13px; line-height: 1.35; }
svg { max-width: 100%; height: auto; }
summary { cursor: pointer; }
"""


def write_report(run_dir: str | Path, output: str | Path | None = None) -> Path:
    """Write the report of a run, also of one that has not been completed: it then says what is missing.

    Args:
        output: the page; None: ``report.html`` in the run directory.

    Returns:
        The path of the page.

    Raises:
        InputError: not a run directory, the page cannot be written, or matplotlib is not installed.
    """
    run = directory.at(run_dir)
    run.load_config()
    path = run.report if output is None else Path(output)
    sections = (
        ("What it is worth", _worth),
        ("Forecast", _forecast),
        ("Losses", _losses),
        ("Where the time went", _time),
        ("Settings", _settings),
        ("Environment", _environment),
    )
    with figures.styled():
        body = "\n".join(
            f"<section><h2>{title}</h2>\n{_section(make, run)}</section>" for title, make in sections
        )
    write_text(path, _page(run, body))
    return path


def _section(make: Callable[[RunDirectory], str], run: RunDirectory) -> str:
    """A section, or what it is missing: one file that is absent or damaged leaves the others."""
    try:
        return make(run)
    except InputError as error:
        return f'<p class="missing">Missing: {escape(str(error))}</p>\n'


def _page(run: RunDirectory, body: str) -> str:
    name = escape(run.name)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>Run {name}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>Run {name}</h1>\n"
        f'<p class="what">{escape(_headline(run))}</p>\n{body}\n</body>\n</html>\n'
    )


def _headline(run: RunDirectory) -> str:
    """What was trained on what, in one line."""
    config = run.load_config()
    data, model = config.data, config.model
    symbols = "all symbols" if data.symbols == "all" else f"{len(data.symbols)} symbols"
    rows = "row" if data.horizon == 1 else "rows"
    return (
        f"{model.layers} LSTM layers of {model.units} units on {symbols} of {Path(data.store).name}: "
        f"{data.target} {data.horizon} {rows} ahead, from windows of {data.window} rows of "
        f"{', '.join(data.features)}."
    )


def _worth(run: RunDirectory) -> str:
    metrics = read_metrics(run)
    found = [(part, metrics[part]) for part in PARTS if metrics.get(part)]
    parts = [
        f'<p class="verdict">{escape(str(table["verdict"]))}</p>'
        for _, table in found
        if table.get("verdict")
    ]
    for part, table in found:
        dates = " to ".join(str(table[key]) for key in ("first_date", "last_date") if table.get(key))
        about = ", ".join(
            t for t in (f"{table['windows']:,} windows" if "windows" in table else "", dates) if t
        )
        parts.append(
            f"<h3>{part.capitalize()}</h3>" + (f'<p class="what">{escape(about)}</p>' if about else "")
        )
        header = ["method", *(f"{title} ({unit})" if unit else title for title, _, unit, _ in METRICS)]
        rows = [
            [m, *(_number(table[m].get(k), f) for _, k, _, f in METRICS)] for m in METHODS if table.get(m)
        ]
        parts.append(_table(header, rows))
    parts += [f"<p>{escape(str(note))}</p>" for note in metrics.get("notes", [])]
    speed = metrics.get("samples_per_second")
    run_with = [f"{speed:,.0f} windows a second"] if isinstance(speed, (int, float)) else []
    run_with += [f"{key} {metrics[key]}" for key in ("ranks", "engine", "backend") if key in metrics]
    parts.append(f"<p>{escape(', '.join(run_with))}</p>")
    return "\n".join(parts) + "\n"


def _forecast(run: RunDirectory) -> str:
    for path in (run.model, run.scaler):
        run.require(path)
    part = next((p for p in reversed(PARTS) if read_metrics(run).get(p)), "test")
    return figures.inline_svg(plots.forecast_figure(open_and_forecast(run.path, part=part)), "forecast")


def _losses(run: RunDirectory) -> str:
    entries = read_history(run.history)
    if not entries:
        raise InputError("no losses yet: the run was stopped before its first report")
    return figures.inline_svg(plots.history_figure(entries), "losses")


def _time(run: RunDirectory) -> str:
    (opened,) = open_runs([run.path])
    picture = figures.inline_svg(plots.timing_figure(opened.timing), "timing")
    bound, *others = [*sentences(opened), *axis_notes([opened])]
    said = [f'<p class="verdict">{escape(bound)}</p>', *(f"<p>{escape(text)}</p>" for text in others)]
    numbers = "\n".join([title(opened), "", *table_lines(opened.timing)])
    return "\n".join([picture, *said, f"<pre>{escape(numbers)}</pre>\n"])


def _settings(run: RunDirectory) -> str:
    text = run.config.read_text(encoding="utf-8")
    return f"<details><summary>config.toml, every setting</summary>\n<pre>{escape(text)}</pre></details>\n"


def _environment(run: RunDirectory) -> str:
    rows = [["hpc-lstm", __version__], ["Python", python_version()]]
    for name in PACKAGES:
        try:
            rows.append([name, metadata.version(name)])
        except metadata.PackageNotFoundError:
            rows.append([name, "not installed"])
    return '<p class="what">Where this page was written.</p>' + _table(["package", "version"], rows)


def _number(value: object, form: str) -> str:
    return format(value, form) if isinstance(value, (int, float)) and math.isfinite(value) else "-"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table>\n<tr>{head}</tr>\n{body}\n</table>"
