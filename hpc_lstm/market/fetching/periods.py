"""Days, weeks and months: when one begins, and when it is over."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np

INTERVALS = ("1d", "1wk", "1mo")  # of which a row has a date; shorter ones have a time


def period_start(day: date, interval: str) -> date:
    """The first day of the day, week or month that a day is in; weeks begin on Monday."""
    if interval == "1wk":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if interval == "1mo" else day


def next_period(day: date, interval: str) -> date:
    """The first day of the first day, week or month that begins on a day or later."""
    start = period_start(day, interval)
    if start == day:
        return day
    return period_start(start + timedelta(days=7 if interval == "1wk" else 31), interval)


def period_ends(days: np.ndarray, interval: str) -> np.ndarray:
    """The day after the last one of the periods that begin on days since 1970, int64 [n]."""
    if interval != "1mo":
        return days + (7 if interval == "1wk" else 1)
    dates = days.astype("datetime64[D]")
    months = dates.astype("datetime64[M]")
    into = dates - months.astype("datetime64[D]")
    return np.asarray(((months + np.timedelta64(1, "M")).astype("datetime64[D]") + into).astype(np.int64))
