"""The next prices of a symbol, as columns and as a table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hpc_lstm.text.table import aligned


@dataclass(frozen=True)
class Forecast:
    """The next prices of a symbol: N steps of the run's horizon, or its N outputs, at several horizons or of targets.

    Attributes:
        rows_ahead: rows from the last known one to each forecast, N numbers.
        dates: of the forecast rows, N texts; for daily data weekdays, with no regard to holidays.
        prices: float64 [N], in price units.
        last: float64 [N], the last known price of the column that each forecast is of.
        persistence: float64 [N], the same: what the forecast has to beat; NaN where no price is forecast.
        errors: float64 [N], typical (root mean square) error in price units; NaN where it is not known.
        low, high: float64 [N], the ends of an interval; NaN where there is none.
        coverage: share of targets that the intervals are to contain.
        targets: what is forecast, N texts as in the settings; only where there are several.
        notes: sentences on how to read the numbers.
        cautions: those of the notes that speak against trusting the numbers.
    """

    symbol: str
    column: str
    last_date: str
    rows_ahead: list[int]
    dates: list[str]
    prices: np.ndarray
    last: np.ndarray
    persistence: np.ndarray
    errors: np.ndarray
    low: np.ndarray
    high: np.ndarray
    coverage: float
    targets: list[str]
    notes: list[str]
    cautions: list[str] = field(default_factory=list)

    def columns(self) -> dict[str, Any]:
        """The forecast as columns of N values each, for tables and files; ``step`` numbers the horizons from 1."""
        steps = len(self.dates)
        _, horizon = np.unique(self.rows_ahead, return_inverse=True)
        return {
            "symbol": [self.symbol] * steps,
            "step": (horizon + 1).tolist(),
            "rows_ahead": self.rows_ahead,
            "date": self.dates,
            "last_date": [self.last_date] * steps,
            "last": self.last.tolist(),
            "forecast": self.prices.tolist(),
            "persistence": self.persistence.tolist(),
            "error": self.errors.tolist(),
            "low": self.low.tolist(),
            "high": self.high.tolist(),
            **({"target": self.targets} if self.targets else {}),
        }

    def table(self) -> str:
        """The forecast as plain text."""
        columns = [("forecast", self.prices, 6)]
        if np.isfinite(self.errors).any() or not np.isfinite(self.low).any():
            columns.append(("+/-", self.errors, 4))
        if np.isfinite(self.low).any():
            columns += [("low", self.low, 6), ("high", self.high, 6)]
        columns.append(("persistence", self.persistence, 6))
        cells = [
            ["rows ahead", *(f"{rows:>{len('rows ahead')}}" for rows in self.rows_ahead)],
            ["date", *self.dates],
            *(
                [heading, *(_number(value, digits) for value in values)]
                for heading, values, digits in columns
            ),
        ]
        if self.targets:
            cells.append(["target", *self.targets])
        table = aligned(list(zip(*cells, strict=True)))
        first = f"{self.symbol}: last {self.column} {self.last[0]:.6g} on {self.last_date}"
        return "\n".join([first, *(f"  {line}" for line in table), *self.notes])


def _number(value: float, digits: int) -> str:
    return "-" if np.isnan(value) else f"{value:.{digits}g}"
