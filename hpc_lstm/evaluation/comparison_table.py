"""Model and baselines side by side, as plain text."""

from __future__ import annotations

from typing import Any

from hpc_lstm.evaluation.backtest_table import BacktestTable
from hpc_lstm.evaluation.baselines.registry import METHODS
from hpc_lstm.evaluation.metrics import METRICS
from hpc_lstm.evaluation.metrics_file import NEW, PARTS
from hpc_lstm.evaluation.output_table import output_lines
from hpc_lstm.text.counts import counted


def comparison_table(metrics: dict[str, Any]) -> str:
    """The methods' metrics on validation, test and new rows, with the verdicts and notes.

    Args:
        metrics: the content of ``metrics.json``; of an older file, the baselines that it has.
    """
    lines = []
    for part in (*PARTS, NEW):
        table = metrics.get(part)
        if table is None:
            continue
        size = f"{counted(table['windows'], 'window')} of {counted(table['symbols'], 'symbol')}"
        lines.append(f"{part}: {size}, {table['first_date']} to {table['last_date']}")
        methods = [method for method in METHODS if method in table]
        if methods:
            lines.append(f"  {'':<18}" + "".join(f"{metric.heading:>{metric.width}}" for metric in METRICS))
            for method in methods:
                cells = (f"{metric.text(method, table[method]):>{metric.width}}" for metric in METRICS)
                lines.append(f"  {method:<18}{''.join(cells)}")
        lines += [f"  {table['verdict']}", *output_lines(table.get("outputs", [])), ""]
        if table.get("backtest"):
            lines += [BacktestTable.of(table["backtest"]).text(), ""]
    lines += metrics.get("notes", [])
    return "\n".join(lines).rstrip()
