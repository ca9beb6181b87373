"""``metrics.json``, what a completed run's model is worth: docs/metrics.md has its fields."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpc_lstm.clusters.run_owner import require
from hpc_lstm.errors import InputError, why_unreadable
from hpc_lstm.files import read_text, write_text
from hpc_lstm.runs.directory import RunDirectory, at

FORMAT = "hpc_lstm metrics"
# Version 2 scales MASE by persistence on the part itself; version 1 did by persistence on the train windows.
VERSION = 2
# The parts that a model is measured on.
PARTS = ("validation", "test")
# Windows of rows that the run did not know: another part, where a store has such rows.
NEW = "new"
# What to do about a damaged file.
ADVICE = "remove it, and `hpc-lstm evaluate` computes it again"


def read_metrics(files: RunDirectory) -> dict[str, Any]:
    """The run's ``metrics.json``; one of an earlier version may lack baselines.

    Raises:
        InputError: the run was not completed, or the file is damaged.
    """
    path = require(files, files.metrics)
    try:
        metrics = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        damaged = f"cannot be read as JSON: {error}; {ADVICE}"
        raise InputError(f"{path}: {why_unreadable(error, damaged)}") from None
    if not isinstance(metrics, dict) or metrics.get("format") != FORMAT:
        raise InputError(f'{path}: not a metrics file: it has no "format": "{FORMAT}"')
    try:
        _check(metrics)
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: is damaged ({error}); {ADVICE}") from None
    return metrics


def _check(metrics: Mapping[str, Any]) -> None:
    """Refuse values of other types than are written.

    Raises:
        ValueError, TypeError, AttributeError: one is.
    """
    for part in (*PARTS, NEW):
        _check_table(metrics.get(part), part)
    for symbol, parts in metrics.get("per_symbol", {}).items():
        for part, table in parts.items():
            _check_table(table, f"{part} of {symbol[:40]}")
    if not all(isinstance(note, str) for note in metrics.get("notes", [])):
        raise ValueError("a note is not text")
    for name in (
        "per_symbol_omitted",
        "epochs",
        "samples_per_second",
        "wall_s",
        "best_validation_loss",
        "ranks",
    ):
        _check_number(metrics.get(name), name)


def _check_table(table: Any, name: str) -> None:
    for key, value in {} if table is None else table.items():
        if key in ("first_date", "last_date", "verdict"):
            if not isinstance(value, str):
                raise ValueError(f"{key} of {name} is not text")
        elif key in ("windows", "symbols", "reached_gain"):
            _check_number(value, f"{key} of {name}")
    for method, values in methods_of(table or {}).items():
        for key, value in values.items():
            _check_number(value, f"{method[:40]}.{key[:40]} of {name}")


def _check_number(value: Any, name: str) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if value is not None and not (number and abs(value) <= sys.float_info.max):
        raise ValueError(f"{name} is not a finite number")


def parts_of(metrics: Mapping[str, Any]) -> list[str]:
    """Names of the parts that were measured, in their order."""
    return [part for part in (*PARTS, NEW) if metrics.get(part)]


def methods_of(table: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The metrics of the model and of each baseline in a part, or of one symbol in it, by the method's name."""
    return {name: values for name, values in table.items() if isinstance(values, dict) and "rmse" in values}


def write_metrics(run_dir: str | Path, metrics: dict[str, Any], symbols_csv: str) -> None:
    """Write a run's ``symbols.csv`` and ``metrics.json``, each whole or not at all; the latter as strict JSON.

    Args:
        symbols_csv: the metrics of every symbol.

    Raises:
        InputError: one cannot be written.
    """
    write_text(at(run_dir).symbols, symbols_csv)
    # Last: its presence says that the run is complete.
    write_text(at(run_dir).metrics, json.dumps(metrics, indent=2, allow_nan=False) + "\n")
