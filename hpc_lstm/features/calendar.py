"""The calendar: weekday, month and day of the year, each as a point on a circle, and the end of a month.

``weekday`` in the settings stands for ``weekday-sine`` and ``weekday-cosine``, and so on: a circle takes two columns.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hpc_lstm.features.feature import Feature
from hpc_lstm.features.rows import RowDates, SymbolRows

DAYS_OF_WEEK, MONTHS, DAYS_OF_YEAR = 7, 12, 365.2425


def days(about: RowDates) -> np.ndarray:
    """Days of rows, datetime64[D] [n]."""
    return about.dates.astype(f"datetime64[{about.unit}]").astype("datetime64[D]")


@dataclass(frozen=True)
class CalendarFeature(Feature):
    """A function of the row's day alone."""

    scaled: ClassVar[bool] = False
    dated: ClassVar[bool] = True

    def values(self, rows: SymbolRows) -> np.ndarray:
        """The values, float64 [n]."""
        return self.of_days(days(rows.dated))

    @abstractmethod
    def of_days(self, found: np.ndarray) -> np.ndarray:
        """Values, float64 [n], of days datetime64[D] [n]."""


def _weekday(found: np.ndarray) -> np.ndarray:
    """Share of the week, from Monday on."""
    return (found.astype(np.int64) + 3) % DAYS_OF_WEEK / DAYS_OF_WEEK  # 1970-01-01 was a Thursday


def _month(found: np.ndarray) -> np.ndarray:
    """Share of the year, from January on, by whole months."""
    return found.astype("datetime64[M]").astype(np.int64) % MONTHS / MONTHS


def _day_of_year(found: np.ndarray) -> np.ndarray:
    """Share of the year, from January 1 on."""
    return (found - found.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.int64) / DAYS_OF_YEAR


@dataclass(frozen=True)
class CircleFeature(CalendarFeature):
    """A coordinate of the day's point on a circle.

    Attributes:
        coordinate: of an angle: ``np.sin`` or ``np.cos``.
    """

    coordinate: ClassVar[np.ufunc]

    @staticmethod
    @abstractmethod
    def share(found: np.ndarray) -> np.ndarray:
        """Shares of the circle, float64 [n], of days datetime64[D] [n]."""

    def of_days(self, found: np.ndarray) -> np.ndarray:
        return self.coordinate(2 * np.pi * self.share(found))


class WeekdaySine(CircleFeature):
    """Sine of the weekday's angle; Monday is at 0."""

    kind = "weekday-sine"
    share, coordinate = staticmethod(_weekday), np.sin


class WeekdayCosine(CircleFeature):
    """Cosine of the weekday's angle."""

    kind = "weekday-cosine"
    share, coordinate = staticmethod(_weekday), np.cos


class MonthSine(CircleFeature):
    """Sine of the month's angle; January is at 0."""

    kind = "month-sine"
    share, coordinate = staticmethod(_month), np.sin


class MonthCosine(CircleFeature):
    """Cosine of the month's angle."""

    kind = "month-cosine"
    share, coordinate = staticmethod(_month), np.cos


class DayOfYearSine(CircleFeature):
    """Sine of the day's angle in the year; January 1 is at 0."""

    kind = "day-of-year-sine"
    share, coordinate = staticmethod(_day_of_year), np.sin


class DayOfYearCosine(CircleFeature):
    """Cosine of the day's angle in the year."""

    kind = "day-of-year-cosine"
    share, coordinate = staticmethod(_day_of_year), np.cos


@dataclass(frozen=True)
class MonthEnd(CalendarFeature):
    """1 on the last weekday of a month, which the calendar tells without knowing the days to come; else 0."""

    kind = "month-end"

    def of_days(self, found: np.ndarray) -> np.ndarray:
        following = np.busday_offset(found, 1, roll="backward")
        is_weekday = np.is_busday(found)
        return (is_weekday & (following.astype("datetime64[M]") != found.astype("datetime64[M]"))).astype(
            np.float64
        )
