"""Forecasts of one or many symbols as text, and as CSV."""

from __future__ import annotations

import csv
import io
import itertools
import math
from collections.abc import Sequence

from hpc_lstm.evaluation.forecast import Forecast
from hpc_lstm.text.table import aligned

# Headings, columns of a forecast, and significant digits of numbers.
COLUMNS = (
    ("symbol", "symbol", 0),
    ("rows ahead", "rows_ahead", 0),
    ("date", "date", 0),
    ("target", "target", 0),
    ("last", "last", 6),
    ("forecast", "forecast", 6),
    ("+/-", "error", 4),
    ("low", "low", 6),
    ("high", "high", 6),
    ("persistence", "persistence", 6),
)
# Of each CSV file of forecasts.
CSV_BEGINNING = "symbol,step,"
# Left out of the table where there is none.
OPTIONAL = ("error", "low", "high")


def forecast_table(forecasts: Sequence[Forecast]) -> str:
    """Forecasts as plain text: each symbol's own table if they are few, otherwise one table, with the notes below."""
    if len(forecasts) <= 3:
        return "\n\n".join(forecast.table() for forecast in forecasts)
    tables = [forecast.columns() for forecast in forecasts]
    left_out = {
        name for name in OPTIONAL if not any(map(math.isfinite, itertools.chain(*(t[name] for t in tables))))
    }
    if all(table["persistence"] == table["last"] for table in tables):
        left_out.add("persistence")  # it is the last price, which is there
    shown = [entry for entry in COLUMNS if entry[1] in tables[0] and entry[1] not in left_out]
    rows = [[title for title, *_ in shown]]
    for table in tables:
        columns = [[_cell(value, digits) for value in table[name]] for _, name, digits in shown]
        rows += map(list, zip(*columns, strict=True))
    # What is said of every symbol is said once; notes on single symbols are in their own tables.
    return "\n".join([*aligned(rows), *shared_notes(forecasts)])


def shared_notes(forecasts: Sequence[Forecast]) -> list[str]:
    """The notes of the first forecast that all others have as well."""
    return [note for note in forecasts[0].notes if all(note in other.notes for other in forecasts)]


def _cell(value: str | int | float, digits: int) -> str:
    if isinstance(value, (str, int)):
        return str(value)
    return "-" if math.isnan(value) else f"{value:.{digits}g}"


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
