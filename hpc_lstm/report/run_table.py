"""Runs beside each other: a list of those in a folder, and a comparison of some."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpc_lstm import config as configuration
from hpc_lstm.errors import InputError
from hpc_lstm.evaluation.metrics import METRICS
from hpc_lstm.evaluation.metrics_file import NEW, PARTS, methods_of, read_metrics
from hpc_lstm.files import checked_path
from hpc_lstm.market.known_rows import KnownRows
from hpc_lstm.runs import directory
from hpc_lstm.runs.directory import RunDirectory
from hpc_lstm.runs.history import read_history
from hpc_lstm.runs.run_file import read_run_file
from hpc_lstm.text.table import aligned

# How deep below the folder runs are looked for.
DEPTH = 3
# A cell with a longer text is cut off.
WIDEST = 40

# What ``metrics.json`` says of a run besides errors.
FACTS = {
    "best_validation_loss": "best validation loss",
    "epochs": "epochs",
    "samples_per_second": "windows per second",
    "wall_s": "wall time, s",
    "ranks": "ranks",
    "engine": "engine",
    "backend": "backend",
}


@dataclass(frozen=True)
class RunSummary:
    """A run in one line.

    Attributes:
        path: of its directory.
        started: of its last start; "" of a run of an older version.
        state: "complete", or "epoch 2.5 of 10".
        ratio: RMSE of the model over persistence's, on test or else validation; None where there is none.
        verdict: the sentence on it.
    """

    path: str
    started: str
    state: str
    ratio: float | None
    verdict: str


@dataclass(frozen=True)
class RunComparison:
    """Runs side by side: each row has a cell for each run.

    Attributes:
        names: of the runs.
        results: by "part metric", such as "test rmse", and what else ``metrics.json`` says of the run.
        settings: those in which the runs differ, by key.
        notes: what to know before the numbers are compared.
    """

    names: list[str]
    results: dict[str, list[Any]] = field(default_factory=dict)
    settings: dict[str, list[Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def list_runs(folder: str | Path) -> list[RunSummary]:
    """The runs in a folder and below it, the newest first.

    Raises:
        InputError: there is no such folder, or no run in it.
    """
    top = checked_path(folder)
    if not top.is_dir():
        raise InputError(f"{folder}: no such folder; runs are in runs/ unless --run-dir says otherwise")
    found = [summarize(run) for run in _runs_below(top, DEPTH)]
    if not found:
        raise InputError(f"{folder}: has no runs; `hpc-lstm train CONFIG.toml` makes one in runs/")
    return sorted(found, key=lambda run: run.started, reverse=True)


def summarize(run: RunDirectory) -> RunSummary:
    """A run in one line; what is damaged is told in its place."""
    started, state, ratio, verdict = "", "", None, ""
    try:
        record = read_run_file(run)
        started = record.starts[-1].get("started", "") if record is not None and record.starts else ""
        if run.metrics.exists():
            metrics = read_metrics(run)
            state = "complete"
            part = next((part for part in reversed(PARTS) if metrics.get(part)), None)
            if part is not None:
                verdict, ratio = str(metrics[part].get("verdict", "")), _ratio(metrics[part])
        else:
            epochs = max((entry.get("epoch", 0) for entry in read_history(run.history)), default=0)
            state = f"epoch {epochs:.3g} of {run.load_config().train.epochs}"
    except InputError as error:
        state = f"damaged: {error}"
    return RunSummary(str(run.path), started, state, ratio, verdict)


def runs_table(runs: Sequence[RunSummary], folder: str | Path) -> str:
    """The runs as plain text."""
    top = checked_path(folder)
    rows = [("run", "started (UTC)", "state", "RMSE / persistence")]
    for run in runs:
        name = str(Path(run.path).relative_to(top)) if Path(run.path) != top else Path(run.path).name
        ratio = "-" if run.ratio is None else f"{run.ratio:.4f}"
        rows.append((name, run.started[:16].replace("T", " ") or "-", run.state[:WIDEST], ratio))
    return "\n".join(aligned(rows))


def compare_runs(run_dirs: Sequence[str | Path]) -> RunComparison:
    """Put completed runs beside each other.

    Raises:
        InputError: fewer than two runs, or one that is none or was not completed.
    """
    if len(run_dirs) < 2:
        raise InputError("compare: name at least two run directories")
    runs = [directory.at(path) for path in run_dirs]
    configs = [run.load_config() for run in runs]
    all_metrics = [read_metrics(run) for run in runs]
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        names = [str(path) for path in run_dirs]
    comparison = RunComparison(names)
    for part in (*PARTS, NEW):
        tables = [metrics.get(part) or {} for metrics in all_metrics]
        if not any(tables):
            continue
        _add(comparison.results, f"{part}: RMSE / persistence", [_ratio(table) for table in tables])
        for metric in METRICS:
            values = [methods_of(table).get("model", {}).get(metric.key) for table in tables]
            _add(comparison.results, f"{part}: {metric.heading}", [_scaled(v, metric.factor) for v in values])
    for key, title in FACTS.items():
        _add(comparison.results, title, [metrics.get(key) for metrics in all_metrics])
    for key in configuration.keys():  # noqa: SIM118 - a function
        values = [configuration.get(config, key) for config in configs]
        if any(value != values[0] for value in values):
            comparison.settings[key] = values
    comparison.notes.extend(_differences(names, all_metrics, runs))
    return comparison


def comparison_text(comparison: RunComparison) -> str:
    """The comparison as plain text."""
    rows = [("", *comparison.names)]
    rows += [(name, *map(_cell, values)) for name, values in comparison.results.items()]
    lines = aligned(rows)
    if comparison.settings:
        settings = [(key, *map(_cell, values)) for key, values in comparison.settings.items()]
        lines += ["", "settings that differ", *aligned(settings)]
    return "\n".join([*lines, "", *comparison.notes] if comparison.notes else lines)


def _runs_below(folder: Path, depth: int) -> Iterator[RunDirectory]:
    run = directory.at(folder)
    if run.holds_run:
        yield run
        return
    if depth:
        for below in sorted(folder.iterdir()):
            if below.is_dir() and not below.is_symlink():
                yield from _runs_below(below, depth - 1)


def _differences(
    names: Sequence[str], all_metrics: Sequence[Mapping[str, Any]], runs: Sequence[RunDirectory]
) -> Iterator[str]:
    """Sentences on what makes the numbers of two runs incomparable."""
    for part in PARTS:
        measured = [
            tuple((metrics.get(part) or {}).get(key) for key in ("first_date", "last_date", "windows"))
            for metrics in all_metrics
        ]
        if len(set(measured)) > 1:
            yield f"The runs were measured on different windows of {part}: compare only the ratios to persistence."
    yield from _differing_prices(runs)


def _differing_prices(runs: Sequence[RunDirectory]) -> Iterator[str]:
    """A sentence where the runs were not trained on the same prices, or where that is not known."""
    records = [record.data or {} if (record := read_run_file(run)) is not None else {} for run in runs]

    def distinct(*keys: str) -> int:
        return len({tuple(record.get(key) for key in keys) for record in records})

    if distinct("sha256") == 1:
        return
    if not all(records):
        yield "Which prices some of the runs were trained on is not recorded."
        return
    # The digest is of the columns that a run reads: with others it differs on the same prices, too.
    read = {KnownRows.load(run.rows).columns if run.rows.exists() else () for run in runs}
    if len(read) == 1 or distinct("symbols", "rows", "last") > 1:
        yield "The runs were trained on different prices."
    elif distinct("store") > 1:
        yield "The runs read other columns of other stores: whether the prices are the same cannot be determined."


def _ratio(table: Mapping[str, Any]) -> float | None:
    methods = methods_of(table)
    model, same = (methods.get(name, {}).get("rmse") for name in ("model", "persistence"))
    return model / same if model is not None and same else None


def _scaled(value: Any, factor: float) -> Any:
    return value * factor if isinstance(value, (int, float)) else value


def _add(rows: dict[str, list[Any]], name: str, values: list[Any]) -> None:
    if any(value is not None for value in values):
        rows[name] = values


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.5g}"
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"
