"""A store's dates as people read them, and those of rows that are still to come."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Rows whose spacing goes on: so many that weekends and holidays are few among them, whatever a run's window.
ROWS_OF_SPACING = 30
_MOST = 0.9  # of the last rows; a few differ, such as special sessions and a symbol's first month


def date_text(date: int, unit: str) -> str:
    """A store's date for people: the day, or for an intraday store the time."""
    return date_texts([date], unit)[0]


def date_texts(dates: Sequence[int] | np.ndarray, unit: str) -> list[str]:
    """Dates for people: days, or for an intraday store times to the minute, or to what smaller part they need."""
    moments = np.array(dates, f"datetime64[{unit}]")
    parts = ["D"] if unit == "D" else ["m", "s", "ms", "us", "ns"]
    needed = next(part for part in parts if (moments == moments.astype(f"datetime64[{part}]")).all())
    return [str(moment) for moment in moments.astype(f"datetime64[{needed}]")]


def future_dates(dates: np.ndarray, unit: str, rows: np.ndarray) -> tuple[np.ndarray, str]:
    """Dates of rows after the last known one, and a sentence on how they were found.

    Args:
        dates: int64 [n], the last known dates, ascending.
        unit: "D" or "ns".
        rows: int64 [N], how many rows after the last.
    """
    spacing = int(np.median(np.diff(dates))) if len(dates) > 1 else 1
    if unit == "D":
        days = dates.astype("datetime64[D]")
        if spacing <= 1 and _most(np.is_busday(days)):
            ahead = np.busday_offset(days[-1], rows, roll="backward")
            return ahead.astype(np.int64), "Dates: weekdays; holidays unknown."
        if spacing >= 28 and (monthly := _in_months_ahead(days, rows)) is not None:
            return monthly.astype(np.int64), "Dates: on the same day of later months as the last rows."
        weekday = (dates + 3) % 7  # 1970-01-01 was a Thursday
        usual = int(np.median(weekday))
        if spacing % 7 == 0 and _most(weekday == usual):  # a holiday may have moved the last row
            return dates[-1] - weekday[-1] + usual + rows * spacing, "Dates: on the weekday of the last rows."
    return dates[-1] + rows * max(spacing, 1), "Dates: at the spacing of the last rows."


def _in_months_ahead(days: np.ndarray, rows: np.ndarray) -> np.ndarray | None:
    """Days of later months, datetime64[D] [N], if the last rows are on the same day of theirs; None if they are not.

    The same day is the last one, one by its number, or the first or the last weekday.
    """
    months = days.astype("datetime64[M]")
    between = np.diff(months).astype(np.int64)
    if between.min() < 1:
        return None
    ahead = months[-1] + (rows * int(np.median(between))).astype("timedelta64[M]")
    first, last = months.astype("datetime64[D]"), _last_days(months)
    number = np.median(days - first)
    if _most(days == last):
        return _last_days(ahead)
    if _most(days - first == number):
        return np.minimum(ahead.astype("datetime64[D]") + number, _last_days(ahead))
    if not _most(np.is_busday(days)):
        return None
    few = np.timedelta64(5, "D")  # weekends and holidays
    if _most(days - first < few):
        return np.busday_offset(ahead.astype("datetime64[D]"), 0, roll="forward")
    return np.busday_offset(_last_days(ahead), 0, roll="backward") if _most(last - days < few) else None


def _last_days(months: np.ndarray) -> np.ndarray:
    return (months + np.timedelta64(1, "M")).astype("datetime64[D]") - np.timedelta64(1, "D")


def _most(holds: np.ndarray) -> bool:
    return bool(holds.mean() >= _MOST)
