"""Each output's own metrics as plain text: point, interval and distribution, by target and horizon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hpc_lstm.text.table import aligned

HEADINGS = ("rows ahead", "RMSE", "MAE", "MASE", "direction %", "coverage %", "width", "pinball", "CRPS")
# As text they are two tables, each of which fits a terminal of 80 columns: of point forecasts, and of intervals.
POINT, INTERVAL = (2, 3, 4, 5), (6, 7, 8, 9)


@dataclass(frozen=True)
class OutputTable:
    """The metrics of each output of a part.

    Attributes:
        title: what the table is called.
        header, rows: cells, the first of each row the target.
        notes: sentences on how to read them.
    """

    title: str
    header: tuple[str, ...]
    rows: list[list[str]]
    notes: list[str]

    @classmethod
    def of(cls, outputs: list[dict[str, Any]], part: str) -> OutputTable:
        """The table of a part's ``outputs`` in ``metrics.json``."""
        stated = [output["coverage"]["stated"] for output in outputs if output["coverage"]]
        rows = [
            [
                output["target"],
                str(output["horizon"]),
                *(_number(output[key]) for key in ("rmse", "mae", "mase")),
                _share(output["direction"]),
                _share(output["coverage"]),
                *(_number(output[key]) for key in ("width", "pinball", "crps")),
            ]
            for output in outputs
        ]
        notes = [f"The intervals are meant to cover {stated[0]:.0%}."] if stated else []
        if any("[" in cell for row in rows for cell in row[1:]):
            notes.append("In brackets: 95% confidence intervals.")
        return cls(f"Each output on {part}", ("output", *HEADINGS), rows, notes)


def output_lines(outputs: list[dict[str, Any]]) -> list[str]:
    """Lines of tables of a part's ``outputs`` in ``metrics.json``; none of an older file, which has none."""
    if not outputs:
        return []
    table = OutputTable.of(outputs, "")
    lines = []
    for group in (POINT, INTERVAL):
        known = [column for column in group if any(row[column] != "-" for row in table.rows)]
        if known:
            rows = [[cells[column] for column in (0, 1, *known)] for cells in (table.header, *table.rows)]
            lines += ["", *(f"  {line}" for line in aligned(rows))]
    return [*lines, *(["  " + " ".join(table.notes)] if table.notes else [])]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _share(share: dict[str, Any] | None) -> str:
    if share is None or share["share"] is None:
        return "-"
    return f"{share['share']:.1%} [{share['low']:.1%}, {share['high']:.1%}]".replace("%", "")
