"""What walk-forward folds came to: ``walk_forward.json``, and a table for people."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpc_lstm.evaluation.metrics import METRICS
from hpc_lstm.evaluation.verdict import SAME, SIGNIFICANT
from hpc_lstm.files import write_text

FORMAT = "hpc_lstm walk-forward"
VERSION = 1


@dataclass(frozen=True)
class FoldResult:
    """A fold that was tested.

    Attributes:
        number: from 1.
        trained: the number of the fold whose model was tested: its own, or an earlier one.
        days: "train_ends", "test_begins" and others by name, as texts.
        table: the metrics of its test part, as ``metrics.json`` has them.
    """

    number: int
    trained: int
    days: dict[str, str]
    table: dict[str, Any]


def summary(folds: list[FoldResult]) -> dict[str, dict[str, dict[str, float | None]]]:
    """Mean and standard deviation over the folds of every method's metrics; None where a fold has none."""
    methods = [
        name
        for name, value in folds[0].table.items()
        if isinstance(value, dict) and "rmsse" in value and all(name in fold.table for fold in folds)
    ]
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for method in methods:
        found[method] = {}
        for metric in METRICS:
            values = [fold.table[method].get(metric.key) for fold in folds]
            known = None not in values
            found[method][metric.key] = {
                "mean": statistics.fmean(values) if known else None,
                "standard_deviation": statistics.stdev(values) if known and len(values) > 1 else None,
            }
    return found


def write_walk_forward(path: Path, folds: list[FoldResult], how: dict[str, Any]) -> None:
    """Write ``walk_forward.json``, whole or not at all.

    Args:
        how: what was asked for.

    Raises:
        InputError: it cannot be written.
    """
    content = {
        "format": FORMAT,
        "version": VERSION,
        **how,
        "folds": [
            {"fold": fold.number, "trained_on_fold": fold.trained, **fold.days, "test": fold.table}
            for fold in folds
        ],
        "summary": summary(folds),
    }
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def walk_forward_table(folds: list[FoldResult]) -> str:
    """The folds as plain text, with mean, spread and a sentence."""
    lines = [f"  {'fold':<5}{'tested':<26}{'windows':>9}{'model':>9}{'best baseline':>26}{'better on':>14}"]
    for fold in folds:
        against = fold.table["against_best"]
        best = against["baseline"]
        tested = f"{fold.table['first_date']} to {fold.table['last_date']}"
        symbols = f"{against['symbols']['better']:,} of {against['symbols']['compared']:,}"
        lines.append(
            f"  {fold.number:<5}{tested:<26}{fold.table['windows']:>9,}{_number(fold.table['model']['rmsse'])}"
            f"{best:>17}{_number(fold.table[best]['rmsse'])}{symbols:>14}"
        )
    means = summary(folds)
    for title, key in (("mean", "mean"), ("spread", "standard_deviation")):
        lines.append(f"  {title:<40}{_number(means['model']['rmsse'][key])}")
    return "\n".join(
        [*lines, "", _sentence(folds, means), "RMSSE: persistence has 1. Spread: standard deviation."]
    )


def _sentence(folds: list[FoldResult], means: dict[str, Any]) -> str:
    """On how many folds the model was better than the best baseline of the fold, and surely so."""
    better = surely = 0
    for fold in folds:
        model, against = fold.table["model"]["rmsse"], fold.table["against_best"]
        least = fold.table[against["baseline"]]["rmsse"]
        if model is not None and least is not None and model < least:
            better += 1
            surely += against["p_value"] is not None and against["p_value"] < SIGNIFICANT
    mean = means["model"]["rmsse"]["mean"]
    ending = ""
    if mean is not None:
        size = f"{abs(1 - mean):.1%} {'smaller' if mean < 1 else 'larger'} than persistence's"
        same = f"persistence's within {SAME:.2%}"
        ending = f"; its error is {same if abs(1 - mean) <= SAME else size} on average"
    return (
        f"The model beats the best simple forecast of the fold in {better} of {len(folds)} folds, by more "
        f"than chance in {surely}{ending}."
    )


def _number(value: float | None) -> str:
    return f"{'-' if value is None else format(value, '.4f'):>9}"
