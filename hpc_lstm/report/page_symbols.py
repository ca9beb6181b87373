"""The sortable table of a report: the errors of each symbol."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping
from typing import Any

from hpc_lstm.errors import InputError, why_unreadable
from hpc_lstm.evaluation.metrics import METRICS
from hpc_lstm.evaluation.metrics_file import PARTS, methods_of
from hpc_lstm.files import open_text
from hpc_lstm.runs.directory import RunDirectory

# Rows of the table: a page with more is slow to open.
MAX_ROWS = 1000


def symbols_section(
    run: RunDirectory, metrics: Mapping[str, Any], charted: Collection[str]
) -> dict[str, Any] | None:
    """Each symbol's errors, those of the model beside persistence's; None where there are none.

    Args:
        metrics: the content of ``metrics.json``.
        charted: symbols that the page has a chart of.
    """
    part = next((p for p in reversed(PARTS) if metrics.get(p)), None)
    if part is None:
        return None
    found = _of_csv(run, part) or {
        symbol: (parts[part].get("windows") or 0, methods_of(parts[part]))
        for symbol, parts in metrics.get("per_symbol", {}).items()
        if "model" in methods_of(parts.get(part) or {})
    }
    keys = [metric for metric in METRICS if any(metric.key in m["model"] for _, m in found.values())]
    header = ["symbol", "windows", "RMSE over persistence's", *(metric.heading for metric in keys)]
    rows = []
    for symbol, (windows, methods) in list(found.items())[:MAX_ROWS]:
        model = methods["model"]
        cells = [(f"{windows:,}", str(windows)), _ratio(model, methods.get("persistence", {}))]
        cells += [(metric.text("model", model), _number(model.get(metric.key))) for metric in keys]
        rows.append((symbol, cells, symbol in charted))
    if not rows:
        return None
    about = f"The model on {part}. A ratio below 1 is better than persistence; over a single period that may be chance."
    omitted = (
        int(metrics.get("per_symbol_omitted") or 0) if len(found) < MAX_ROWS and not _has_csv(run) else 0
    )
    omitted += max(0, len(found) - MAX_ROWS)
    if omitted:
        about += f" {omitted:,} more symbols are left out."
    return {"about": about, "header": header, "rows": rows}


def _of_csv(run: RunDirectory, part: str) -> dict[str, tuple[int, dict[str, dict[str, float]]]]:
    """Windows and the methods' metrics of each symbol, from ``symbols.csv``; empty where there is none."""
    if not _has_csv(run):
        return {}
    found: dict[str, tuple[int, dict[str, dict[str, float]]]] = {}
    try:
        with open_text(run.path / "symbols.csv", newline="") as file:
            for row in csv.DictReader(file):
                if row["part"] != part:
                    continue
                numbers = {
                    metric.key: float(row[metric.key]) for metric in METRICS if row.get(metric.key, "") != ""
                }
                found.setdefault(row["symbol"], (int(row["windows"]), {}))[1][row["method"]] = numbers
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        damaged = f"cannot be read ({error}); evaluate the run again"
        raise InputError(f"{run.path / 'symbols.csv'}: {why_unreadable(error, damaged)}") from None
    return {symbol: (windows, methods) for symbol, (windows, methods) in found.items() if "model" in methods}


def _has_csv(run: RunDirectory) -> bool:
    return (run.path / "symbols.csv").exists()


def _ratio(model: Mapping[str, Any], persistence: Mapping[str, Any]) -> tuple[str, str]:
    own, other = model.get("rmse"), persistence.get("rmse")
    if own is None or not other:
        return "-", ""
    return f"{own / other:.4f}", repr(own / other)


def _number(value: Any) -> str:
    return repr(value) if isinstance(value, (int, float)) else ""
