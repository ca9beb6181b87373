"""All that is said of a part: the metrics of every method, the tests between them, and the verdict."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpc_lstm.evaluation.baselines.registry import ORACLE
from hpc_lstm.evaluation.error_sums import PartErrors
from hpc_lstm.evaluation.metrics import METRICS, best_baseline, finite, method_metrics
from hpc_lstm.evaluation.significance import diebold_mariano
from hpc_lstm.evaluation.symbol_tests import SymbolTests, compare_by_symbol
from hpc_lstm.evaluation.verdict import SIGNIFICANT, verdict
from hpc_lstm.parallel.world import World


@dataclass(frozen=True)
class PartMetrics:
    """What was measured on a part.

    Attributes:
        table: over all windows, ready for JSON.
        windows: float64 [S], windows of each symbol.
        by_symbol: metrics of each method by its name and the metric's key, float64 [S].
        tests: the model against the best baseline, symbol by symbol.
    """

    table: dict[str, Any]
    windows: np.ndarray
    by_symbol: dict[str, dict[str, np.ndarray]]
    tests: SymbolTests

    def symbol_table(self, symbol: int) -> dict[str, Any] | None:
        """One symbol's metrics, ready for JSON; None if it has no window."""
        if not self.windows[symbol]:
            return None
        methods = {
            method: {key: finite(values[symbol]) for key, values in metrics.items()}
            for method, metrics in self.by_symbol.items()
        }
        return {"windows": int(self.windows[symbol]), **methods}


def measure_part(errors: PartErrors, horizon: int, name: str, world: World) -> PartMetrics:
    """Measure a part; collective, and the same on every rank.

    Args:
        name: the part's name in the verdict.
    """
    best = best_baseline(errors)
    tests = compare_by_symbol(errors, best, horizon, world)
    table: dict[str, Any] = {
        "windows": int(errors.windows.sum()),
        "symbols": int((errors.windows > 0).sum()),
    }
    table |= {method: method_metrics(errors, method) for method in errors.methods}
    table["against_persistence"] = _compare(errors, "persistence", horizon)
    table["against_best"] = {
        "baseline": best,
        **_compare(errors, best, horizon),
        "symbols": _count_symbols(tests),
    }
    if ORACLE in errors.methods:
        table["reached_gain"] = _reached_gain(table)
    table["verdict"] = verdict(table, name)
    with np.errstate(over="ignore", invalid="ignore"):
        by_symbol = {
            method: {metric.key: metric.of_each(errors, index) for metric in METRICS}
            for index, method in enumerate(errors.methods)
        }
    return PartMetrics(table, errors.windows, by_symbol, tests)


def symbols_csv(parts: dict[str, PartMetrics], symbols: Sequence[str]) -> str:
    """``symbols.csv``: the metrics of every symbol, a line for each part, symbol and method.

    Args:
        symbols: S names.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    tests = ("p_value", "p_holm", "p_benjamini_hochberg")
    writer.writerow(["part", "symbol", "windows", "method", *(metric.key for metric in METRICS), *tests])
    for name, part in parts.items():
        found = np.stack([part.tests.p_value, part.tests.holm, part.tests.benjamini_hochberg])
        for number in np.flatnonzero(part.windows).tolist():
            for method, metrics in part.by_symbol.items():
                values = [values[number] for values in metrics.values()]
                values += found[:, number].tolist() if method == "model" else [np.nan] * len(tests)
                writer.writerow(
                    [name, symbols[number], int(part.windows[number]), method, *map(_cell, values)]
                )
    return text.getvalue()


def _cell(value: float) -> str:
    return f"{value:.9g}" if np.isfinite(value) else ""


def _compare(errors: PartErrors, other: str, horizon: int) -> dict[str, Any]:
    """The model's squared scaled errors against another method's, as ``metrics.json`` has it."""
    model, rival = errors.methods.index("model"), errors.methods.index(other)
    # Targets overlap over so many dates of all symbols, of which each symbol may have but some.
    overlap = 1 + round((horizon - 1) * errors.step)
    with np.errstate(over="ignore", invalid="ignore"):
        differential = errors.by_date[model] - errors.by_date[rival]
        found = diebold_mariano(differential, errors.date_windows, overlap)
    return {
        "squared_error_difference": finite(found.difference),
        "standard_error": found.standard_error,
        "p_value": found.p_value,
        "dates": found.dates,
    }


def _count_symbols(tests: SymbolTests) -> dict[str, int]:
    """On how many symbols the model is better and worse, and on how many by more than chance."""
    with np.errstate(invalid="ignore"):
        better, worse = tests.difference < 0, tests.difference > 0
        counts = {"compared": int((~np.isnan(tests.difference)).sum()), "better": int(better.sum())}
        for name, adjusted in (("holm", tests.holm), ("benjamini_hochberg", tests.benjamini_hochberg)):
            sure = adjusted < SIGNIFICANT
            counts |= {
                f"better_{name}": int((better & sure).sum()),
                f"worse_{name}": int((worse & sure).sum()),
            }
    return counts


def _reached_gain(table: dict[str, Any]) -> float | None:
    """The share of the oracle's gain over persistence, in scaled error, that the model has; None without a gain."""
    model, oracle, naive = (table[method]["rmsse"] for method in ("model", ORACLE, "persistence"))
    if None in (model, oracle, naive) or oracle >= naive:
        return None
    return finite((naive - model) / (naive - oracle))
