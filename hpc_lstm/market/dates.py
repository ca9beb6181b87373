"""Dates and times as texts in price files.

2020-01-31  2020/01/31  20200131         daily
2020-01-31 15:59[:00[.123456789]]        with a time of day, after "T" or a space
...Z  ...+01:00  ...-0500                with the offset from UTC
1/31/2020                                month/day/year: only in a file where some day is above 12; without one,
                                         it could as well mean day/month/year
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

DAY = 86_400_000_000_000  # nanoseconds
NO_ZONE = np.iinfo(np.int32).min
EXPECTED = "YYYY-MM-DD, YYYYMMDD or a time such as 2020-01-31T15:59:00-05:00"

_TIME = (
    r"(?:[T ](?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?"
    r" ?(?P<zone>Z|UTC|[+-]\d{2}:?\d{2})?)?\s*$"
)
_YEAR_FIRST = r"^\s*(?P<year>\d{4})(?:-|/|)(?P<month>\d{2})(?:-|/|)(?P<day>\d{2})" + _TIME
_MONTH_FIRST = r"^\s*(?P<month>\d{1,2})/(?P<day>\d{1,2})/(?P<year>\d{4})" + _TIME


class BadDate(ValueError):
    """A text is not a date.

    Attributes:
        text: the text. expected: the formats that are accepted.
    """

    def __init__(self, text: str, expected: str = EXPECTED) -> None:
        super().__init__(text)
        self.text, self.expected = text, expected


@dataclass
class Dates:
    """Parsed dates.

    Attributes:
        wall: int64 [n], nanoseconds from 1970-01-01 to the local date and time in the text.
        zone: int32 [n], the offset from UTC in seconds; NO_ZONE if the text has none.
        month_first: the first text written as month/day/year, if any.
        day_above_12: whether some such text has a day that cannot be a month.
    """

    wall: np.ndarray
    zone: np.ndarray
    month_first: str | None
    day_above_12: bool


def parse_dates(texts: Any) -> Dates:
    """Parse n texts (a pyarrow string array).

    Raises:
        BadDate: the first text that is not a date between 1678 and 2261.
    """
    import pyarrow.compute as pc

    # Texts that begin with the year; what they do not match must begin with the month.
    wall, zone = np.zeros(len(texts), np.int64), np.full(len(texts), NO_ZONE, np.int32)
    fields = pc.extract_regex(texts, _YEAR_FIRST)
    rest = np.flatnonzero(~_matched(fields))
    if len(rest) < len(texts):
        rows = np.flatnonzero(_matched(fields))
        wall[rows], zone[rows] = _instants(fields.take(rows), texts.take(rows), EXPECTED)
    if not len(rest):
        return Dates(wall, zone, None, False)
    texts = texts.take(rest)
    fields = pc.extract_regex(texts, _MONTH_FIRST)
    if not _matched(fields).all():
        raise BadDate(texts[int(np.argmin(_matched(fields)))].as_py() or "")
    wall[rest], zone[rest] = _instants(fields, texts, "month/day/year; better YYYY-MM-DD")
    return Dates(wall, zone, texts[0].as_py(), bool((_integers(fields, "day") > 12).any()))


def _matched(fields: Any) -> np.ndarray:
    return np.asarray(fields.is_valid().to_numpy(zero_copy_only=False))


def _integers(fields: Any, name: str, digits: int = 2) -> np.ndarray:
    import pyarrow as pa
    import pyarrow.compute as pc

    padded = pc.utf8_rpad if name == "fraction" else pc.utf8_lpad
    whole = padded(pc.struct_field(fields, name), width=digits, padding="0").cast(pa.int64())
    return np.asarray(whole.to_numpy(zero_copy_only=False))


def _instants(fields: Any, texts: Any, expected: str) -> tuple[np.ndarray, np.ndarray]:
    year, month, day = (_integers(fields, name) for name in ("year", "month", "day"))
    hour, minute, second = (_integers(fields, name) for name in ("hour", "minute", "second"))
    start = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    length = ((start + 1).astype("datetime64[D]") - start.astype("datetime64[D]")).astype(np.int64)
    wrong = (month < 1) | (month > 12) | (day < 1) | (day > length) | (year < 1678) | (year > 2261)
    wrong |= (hour > 23) | (minute > 59) | (second > 59)
    if wrong.any():
        raise BadDate(texts[int(np.argmax(wrong))].as_py(), expected)
    days = start.astype("datetime64[D]").astype(np.int64) + day - 1
    seconds = ((days * 24 + hour) * 60 + minute) * 60 + second
    return seconds * 1_000_000_000 + _integers(fields, "fraction", 9), _zone_offsets(fields)


def _zone_offsets(fields: Any) -> np.ndarray:
    import pyarrow.compute as pc

    codes = pc.struct_field(fields, "zone").dictionary_encode()
    seconds = np.array([_zone_offset(text) for text in codes.dictionary.to_pylist()], np.int32)
    return np.asarray(seconds[codes.indices.to_numpy()])


def _zone_offset(text: str) -> int:
    if not text:
        return int(NO_ZONE)
    if text in ("Z", "UTC"):
        return 0
    ahead = int(text[1:3]) * 3600 + int(text[-2:]) * 60
    return -ahead if text[0] == "-" else ahead
