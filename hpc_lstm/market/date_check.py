"""Dates of a table that can be read one by one, but contradict each other: years of two digits, swapped days."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hpc_lstm.market.dates import DAY, ORDERED, SHORT_YEAR, YEAR_FIRST, DateForm, Dates

_MOST_YEARS = 90  # that years of two digits may span: beyond, some may belong to another century


class DateCheck:
    """Takes in a table's dates, some rows at a time, and tells what is doubtful about all of them.

    Args:
        form: how they are written.
    """

    def __init__(self, form: DateForm) -> None:
        self._form = form
        self._rows = 0
        # Of years of two digits, the first and the last day, and their rows.
        self._ends: list[tuple[np.datetime64, int]] = []
        self._year_first: tuple[np.datetime64, int] | None = None  # the first such day, and its row
        self._ordered: int | None = None  # the first such row
        self._late_days = False  # whether a day above 12 stands behind year and month

    def update(self, dates: Dates) -> None:
        """Take in more rows."""
        short, ordered, year_first = (
            np.flatnonzero(dates.marks & mark) for mark in (SHORT_YEAR, ORDERED, YEAR_FIRST)
        )
        if len(short):
            days = _days(dates, short)
            found = [
                (days[place], self._rows + int(short[place])) for place in (days.argmin(), days.argmax())
            ]
            self._ends = [min([*self._ends, *found]), max([*self._ends, *found])]
        if self._form.order is not None and len(year_first):
            days = _days(dates, year_first)
            late = days - days.astype("datetime64[M]") >= np.timedelta64(12, "D")
            self._late_days = self._late_days or bool(late.any())
            self._year_first = self._year_first or (days[0], self._rows + int(year_first[0]))
        if self._ordered is None and len(ordered):
            self._ordered = self._rows + int(ordered[0])
        self._rows += len(dates.marks)

    def problem(self, place: Callable[[int], str]) -> str:
        """What is doubtful, and how to put it right; "" if nothing is.

        Args:
            place: where a row stands.
        """
        if self._ends:
            (first, begin), (last, end) = self._ends
            years = last.astype("datetime64[Y]") - first.astype("datetime64[Y]")
            if years >= np.timedelta64(_MOST_YEARS, "Y"):
                return (
                    f"{place(begin)}: found a year of two digits in a date that would be {first}, beside {last} "
                    f"({place(end)}): its century is not certain; write all years with four digits"
                )
        if self._year_first is not None and self._ordered is not None and not self._late_days:
            day, row = self._year_first
            written = "day/month/year" if self._form.order == "day" else "month/day/year"
            return (
                f"{place(row)}: found the date {day} beside others written {written} ({place(self._ordered)}): a "
                "spreadsheet that swaps day and month leaves such dates; import the file that it has opened, or write "
                "all dates as YYYY-MM-DD"
            )
        return ""


def _days(dates: Dates, rows: np.ndarray) -> np.ndarray:
    """The days of some rows."""
    return np.asarray((dates.wall[rows] // DAY).astype("datetime64[D]"))
