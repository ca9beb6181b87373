"""A store's dates as people read them, and those of rows that are still to come."""

from __future__ import annotations

import numpy as np

# Rows whose spacing goes on: so many that weekends and holidays are few among them, whatever a run's window.
ROWS_OF_SPACING = 30


def date_text(date: int, unit: str) -> str:
    """A store's date for people: the day, or for an intraday store the minute."""
    moment = np.array([date], f"datetime64[{unit}]")
    return str(np.datetime_as_string(moment, unit="D" if unit == "D" else "m")[0])


def future_dates(dates: np.ndarray, unit: str, rows: np.ndarray) -> tuple[np.ndarray, str]:
    """Dates of rows after the last known one, and a sentence on how they were found.

    Args:
        dates: int64 [n], the last known dates, ascending.
        unit: "D" or "ns".
        rows: int64 [N], how many rows after the last.
    """
    spacing = int(np.median(np.diff(dates))) if len(dates) > 1 else 1
    weekday = (dates + 3) % 7 < 5  # 1970-01-01 was a Thursday
    if unit == "D" and spacing <= 1 and weekday.all():
        last = np.array(dates[-1], "datetime64[D]")
        return np.busday_offset(last, rows, roll="forward").astype(
            np.int64
        ), "Dates: weekdays; holidays unknown."
    return dates[-1] + rows * max(spacing, 1), "Dates: at the spacing of the last rows."
