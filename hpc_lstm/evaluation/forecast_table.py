"""Forecasts of one or many symbols as text, and as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

from hpc_lstm.evaluation.forecast import Forecast


def forecast_table(forecasts: Sequence[Forecast]) -> str:
    """Forecasts as plain text: each symbol's own table if they are few, otherwise one table, with the notes below."""
    if len(forecasts) <= 3:
        return "\n\n".join(forecast.table() for forecast in forecasts)
    rows = [("symbol", "date", "last", "forecast", "+/-", "persistence")]
    for forecast in forecasts:
        table = forecast.columns()
        for date, price, error, same in zip(
            *(table[name] for name in ("date", "forecast", "error", "persistence")), strict=True
        ):
            spread = "-" if math.isnan(error) else f"{error:.4g}"
            numbers = (f"{forecast.last_price:.6g}", f"{price:.6g}", spread, f"{same:.6g}")
            rows.append((forecast.symbol, date, *numbers))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
    # What is said of every symbol is said once; notes on single symbols are in their own tables.
    shared = [note for note in forecasts[0].notes if all(note in other.notes for other in forecasts)]
    return "\n".join([*lines, *shared])


def forecast_csv(forecasts: Sequence[Forecast]) -> str:
    """Forecasts as CSV: a row for each symbol and step, an empty cell for what is not known."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(forecasts[0].columns())
    for forecast in forecasts:
        for row in zip(*forecast.columns().values(), strict=True):
            writer.writerow(
                "" if isinstance(value, float) and not math.isfinite(value) else value for value in row
            )
    return text.getvalue()
