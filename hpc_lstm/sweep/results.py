"""The results of a sweep, written into its folder: table, figures, model and summary."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpc_lstm.errors import InputError
from hpc_lstm.files import write_text
from hpc_lstm.report import figures
from hpc_lstm.sweep import plots, summary, table
from hpc_lstm.sweep.groups import Record, group_records
from hpc_lstm.sweep.model import fit as fitting
from hpc_lstm.sweep.model.extrapolation import extrapolate, network_estimates


@dataclass(frozen=True)
class Results:
    """What the measured runs of a sweep say.

    Attributes:
        text: the summary, for a person to read.
        runs: a row for each run, as in the CSV file.
        model: the fitted model and what it extrapolates, as in the JSON file; None: there is none.
    """

    text: str
    runs: list[dict[str, Any]]
    model: dict[str, Any] | None


def write_results(
    records: Sequence[Record],
    folder: Path,
    missing: int = 0,
    name: str = "scaling",
    *,
    failed: int = 0,
    fewest: int | None = None,
    model: bool = True,
) -> Results:
    """Write a sweep's results: ``name``.csv, .h5 and .json, and pictures.

    These are ``name``.png, ``name``-phases.png and, where there is a model, ``name``-extrapolation.png.

    Args:
        missing: runs of the sweep that are not measured yet.
        failed: those of them that failed when they were last started.
        fewest: smallest number of ranks in the sweep; None: that of ``records``, where none is missing.
        model: fit it, where the sweep can have one, and extrapolate; takes some seconds.

    Raises:
        InputError: a file cannot be written, or matplotlib or scipy is not installed.
    """
    groups = group_records(records, fewest)
    rows = table.table_rows(groups)
    # First, so that the measurements are written even if the model fails.
    table.write_csv(rows, folder / f"{name}.csv")
    table.write_hdf5(rows, records, folder / f"{name}.h5")
    fitted = fitting.fit_model(groups) if model else None
    extrapolated = [] if fitted is None else extrapolate(groups, fitted)
    content = _as_json(records, groups, fitted, extrapolated)
    write_text(folder / f"{name}.json", json.dumps(content) + "\n")
    with figures.styled():
        figures.save(plots.scaling_figure(groups), folder / f"{name}.png")
        figures.save(plots.phases_figure(groups), folder / f"{name}-phases.png")
        if extrapolated:
            figures.save(
                plots.extrapolation_figure(groups, extrapolated), folder / f"{name}-extrapolation.png"
            )
        else:  # nor may one of an earlier call stay
            (folder / f"{name}-extrapolation.png").unlink(missing_ok=True)
    text = summary.points_text(groups, missing, failed)
    if model:
        text = f"{text}\n\n{summary.model_text(groups, fitted, extrapolated)}"
    return Results(text, rows, content["model"])


def check_packages() -> None:
    """Refuse to measure what could not be drawn or fitted afterwards.

    Raises:
        InputError: matplotlib or scipy is not installed.
    """
    with figures.styled():
        pass
    if importlib.util.find_spec("scipy") is None:
        raise InputError('sweeps need scipy: pip install "hpc-lstm[report]"')


def load_records(path: Path) -> list[Record]:
    """The records in a JSON file that ``write_results`` wrote."""
    tables = json.loads(path.read_text())
    return [
        record
        | {
            "environment": tables["environments"][record["environment"]],
            "config": tables["configs"][record["config"]],
        }
        for record in tables["records"]
    ]


def _as_json(
    records: Sequence[Record], groups: Sequence[Any], fitted: fitting.Fit | None, extrapolated: Sequence[Any]
) -> dict[str, Any]:
    environments, places = table.deduplicate([record["environment"] for record in records])
    configs, config_places = table.deduplicate([record["config"] for record in records])
    model = None
    if fitted is not None:
        estimates = network_estimates(groups, fitted)
        model = fitting.fit_as_json(fitted) | {
            "intervals": {name: [one.value, one.low, one.high] for name, one in estimates.items()},
            "errors": [
                {"axes": setting.group.axes, "ranks": ranks, "error": error}
                for setting, ranks, error in fitting.residuals(fitted)
            ],
            "extrapolation": list(extrapolated),
        }
    return {
        "format": table.FORMAT,
        "version": table.VERSION,
        "model": model,
        "environments": environments,
        "configs": configs,
        "records": [
            record | {"environment": place, "config": config}
            for record, place, config in zip(records, places, config_places, strict=True)
        ],
    }
