"""Dates and times as texts in price files, parsed as a ``DateForm`` says; ``date_forms`` finds it.

2020-01-31  2020/1/31  20200131  2020年1月31日    daily
31-Jan-2020  Jan 31, 2020  31. Januar 2020        month names of the languages in ``month_names``
31/1/2020  1/31/20  31.01.2020                    day or month first, as the form says
31-Jan-62  1/31/62                                the latest year that ends so and is not in the future
2024-01  2024M01  Jan 2024                        the first of a month
2024-Q1  2024Q1  Q1 2024                          the first of a quarter
2024-W03  2024W03  2024-W03-5                     the Monday of a week of ISO 8601, or the day named
113/01/31                                         year of the Taiwanese calendar, which began in 1911
2567-01-31                                        year of the Buddhist calendar, if all are
2020-01-31 15:59[:00[.123456789]] [PM]            with a time of day, after "T" or a space; also 155900
...Z  ...+01:00  ...-0500  ...GMT+1  ...US/Eastern  with the offset from UTC, or a zone's name (``zone_marks``)
2020-01-31 15:00 - 2020-01-31 16:00               an interval, by its beginning
1580428800  1.5804288E+09                         seconds, milli-, micro- or nanoseconds from 1970, in UTC
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np

from hpc_lstm.market.month_names import month_number
from hpc_lstm.market.zone_marks import PATTERN as ZONE_MARK
from hpc_lstm.market.zone_marks import seconds_from_utc, zone_name

DAY = 86_400_000_000_000  # nanoseconds
NO_ZONE = np.iinfo(np.int32).min
# How a date was written, where all those of a column must be looked at together: see ``DateCheck``.
SHORT_YEAR, YEAR_FIRST, ORDERED = 1, 2, 4
FIRST_DAY, LAST_DAY = -106_650, 106_650  # within 1678 to 2261, which nanoseconds can hold
EXPECTED = "YYYY-MM-DD, YYYYMMDD or a time such as 2020-01-31T15:59:00-05:00"

UNKNOWN = f"{EXPECTED}; give --date-format with a pattern such as %d/%m/%Y if it is written in another way"

_CLOCK = (
    r"(?:(?P<early>上午|午前|오전|下午|午後|오후) ?)?(?P<hour>\d{1,2}):(?P<minute>\d{2})"
    r"(?::(?P<second>\d{2})(?:[.,:](?P<fraction>\d{1,9}))?)? ?(?P<half>[AaPp]\.?[Mm]\.?)? ?" + ZONE_MARK
)
_TIME = r"(?:(?:T|:|,? +)" + _CLOCK + r")?\s*$"
_DIGITS = (
    r"[T ;]?(?P<hour>\d{2})(?P<minute>\d{2})(?:(?P<second>\d{2})(?: ?(?P<fraction>\d{3}|\d{7}))?)?"
    + ZONE_MARK
    + r"\s*$"
)
_WEEKDAY = r"^\s*(?:\pL{2,}\.?,? +)?"
_WEEKDAY_BEHIND = (
    r"(?:\s*[,，]?\s*[(（]?(?:(?:星期|周|週)?[一二三四五六日月火水木金土](?:曜日?)?|[월화수목금토일](?:요일)?"
    r"|Mon|Tue|Wed|Thu|Fri|Sat|Sun)[)）]?)?"
)
_YEAR = r"(?P<year>\d{4}|\d{2})"

# What a pattern does not match is left to the next ones.
_PLAIN = (
    r"^\s*(?P<year>\d{4})(?:-|/|)(?P<month>\d{2})(?:-|/|)(?P<day>\d{2})"
    r"(?:[T ](?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?"
    r" ?(?P<zone>Z|UTC|[+-]\d{2}:?\d{2})?)?\s*$"
)
_UNAMBIGUOUS = (
    _PLAIN,
    r"^\s*(?P<year>\d{4})\s*[-/.年년]\s*(?P<month>\d{1,2})\s*[-/.月월]\s*(?P<day>\d{1,2})\s*[日일.]?"
    + _WEEKDAY_BEHIND
    + _TIME,
    r"^\s*(?P<year>\d{4})-?(?P<month>\d{2})-?(?P<day>\d{2})" + _DIGITS,
    r"^\s*(?P<year>\d{4})-?(?P<month>\d{2})-?(?P<day>\d{2})" + _TIME,
    r"^\s*(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2}) (?P<hour>\d{1,2})-(?P<half>[AP]M)\s*$",  # CryptoDataDownload
    _WEEKDAY + r"(?P<day>\d{1,2})[\s./-]*(?P<name>\pL{3,})[\s.,/-]*['’]?" + _YEAR + _TIME,
    _WEEKDAY + r"(?P<name>\pL{3,})\.?[\s-]+(?P<day>\d{1,2})(?:st|nd|rd|th)?,?[\s-]+(?P<year>\d{4})" + _TIME,
    r"^\s*(?P<year>\d{4})[-/\s](?P<name>\pL{3,})\.?[-/\s](?P<day>\d{1,2})" + _TIME,
    r"^\s*(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})\.0+\s*$",  # a whole number that was read as a float
    r"^\s*(?P<year>\d{4})(?:-|-?M)(?P<month>\d{2})\s*$",  # the first of a month
    r"^\s*(?P<year>\d{4})M(?P<month>\d{2})D(?P<day>\d{2})\s*$",  # Statistics Denmark
    r"^\s*(?P<year>\d{4})[-/ ]?W(?P<week>\d{2})(?:-?(?P<weekday>[1-7]))?\s*$",
    r"^\s*(?P<name>\pL{3,})\.?[\s-](?P<year>\d{4})\s*$",
    r"^\s*(?P<year>\d{4})[-\s]?Q(?P<quarter>[1-4])\s*$",  # the first of a quarter
    r"^\s*Q(?P<quarter>[1-4])[-\s/]?(?P<year>\d{4})\s*$",
    r"^\s*(?P<roc>\d{3})/(?P<month>\d{2})/(?P<day>\d{2})\s*$",
)
_ORDERED = {
    "day": _WEEKDAY + r"(?P<day>\d{1,2})\s?[-/.]\s?(?P<month>\d{1,2})\s?[-/.]\s?" + _YEAR,
    "month": _WEEKDAY + r"(?P<month>\d{1,2})\s?[-/.]\s?(?P<day>\d{1,2})\s?[-/.]\s?" + _YEAR,
}
_HALVES = {
    "": "",
    **dict.fromkeys(("上午", "午前", "오전"), "a"),
    **dict.fromkeys(("下午", "午後", "오후"), "p"),
}
_UNITS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
# From a beginning to an end: "01.01.2023 00:00 - 01.01.2023 01:00 (CET/CEST)"; a zone at the end holds for both.
_BOUND = r"\d{1,4}[-/.]\d{1,2}[-/.]\d{2,4}"
_IN_PARENTHESES = r"\((?P<{}>[A-Z]+(?:/[A-Z]+)?)\)"
_INTERVAL = re.compile(
    rf"\s*(?P<begin>{_BOUND}[^()]*?)(?:\s*{_IN_PARENTHESES.format('own')})?(?:\s+[-–]\s+|(?<=[\dZ])/(?=\d{{4}}-\d\d-\d\dT))"
    rf"(?:{_BOUND}|\d{{1,2}}:\d{{2}})[^()]*?(?:\s*{_IN_PARENTHESES.format('both')})?\s*"
)
_SCIENTIFIC = re.compile(r"\s*\d\.\d+[eE]\+?\d{1,2}\s*")
_DAY_LAST = re.compile("<year>.*<month>.*<day>")
_BUDDHIST_YEARS = (2400, 2600, 543)  # first, last, and how far they are ahead


class BadDate(ValueError):
    """A text is not a date.

    Attributes:
        text: the text. expected: the formats that are accepted.
    """

    def __init__(self, text: str, expected: str = UNKNOWN) -> None:
        super().__init__(text)
        self.text, self.expected = text, expected


def latest_year() -> int:
    """The year of the latest prices; a few days ahead, as time zones and the ends of weeks are."""
    return (datetime.now(timezone.utc) + timedelta(days=7)).year


@dataclass(frozen=True)
class DateForm:
    """How the dates of a column are written.

    Attributes:
        order: of 01/02/2020: "day" or "month" first; None if there is no such date.
        epoch: they are numbers counted from 1970: "s", "ms", "us", "ns", or "auto", where the number of digits tells.
        first_day: they are numbers of days, and this is the day 0, in days from 1970; None if they are not.
        pattern: a regular expression with named groups that all of them match.
        interval: they are intervals, of which the beginning is meant.
        scientific: some are numbers in scientific notation.
        time_digits: times in a column of their own are written as 4 (930 is 9:30) or 6 digits (93000); 0: with colons.
        label: for people.
        last_year: the latest one that years of two digits may be.
    """

    order: str | None = None
    epoch: str | None = None
    first_day: int | None = None
    pattern: str | None = None
    interval: bool = False
    scientific: bool = False
    time_digits: int = 0
    label: str = "YYYY-MM-DD"
    last_year: int = field(default_factory=latest_year)

    @property
    def expected(self) -> str:
        """What to say of a text that is not written so."""
        return UNKNOWN if self.order is None and self.pattern is None else self.label

    @property
    def patterns(self) -> tuple[str, ...]:
        """Regular expressions; the first one that matches a text reads it."""
        if self.pattern is not None:
            return (self.pattern,)
        ordered = [_ORDERED[self.order] + end for end in (_TIME, _DIGITS)] if self.order else []
        return (*_UNAMBIGUOUS, *ordered)


@dataclass
class Dates:
    """Parsed dates.

    Attributes:
        wall: int64 [n], nanoseconds from 1970-01-01 to the local date and time in the text.
        zone: int32 [n], the offset from UTC in seconds; NO_ZONE if the text has none.
        marks: uint8 [n], sums of SHORT_YEAR (of two digits), YEAR_FIRST (2020-01-31) and ORDERED (31/1/2020).
    """

    wall: np.ndarray
    zone: np.ndarray
    marks: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint8))

    def __post_init__(self) -> None:
        if len(self.marks) != len(self.wall):
            self.marks = np.zeros(len(self.wall), np.uint8)

    def take(self, rows: np.ndarray) -> Dates:
        """The dates of some rows."""
        return Dates(self.wall[rows], self.zone[rows], self.marks[rows])


def parse_dates(texts: Any, form: DateForm | None = None) -> Dates:
    """Parse n texts (a pyarrow string array).

    Raises:
        BadDate: the first text that is not a date between 1678 and 2261.
    """
    form = form or DateForm()
    if form.interval:
        return _parse_rewritten(texts, beginning_of_interval, replace(form, interval=False))
    if form.scientific:
        return _parse_rewritten(texts, digits_of, replace(form, scientific=False))
    if form.epoch is not None or form.first_day is not None:
        return _counted(texts, form)
    if form.pattern is None and (days := _iso_days(texts)) is not None:
        marks = np.full(len(days), YEAR_FIRST, np.uint8)
        return Dates(days * DAY, np.full(len(days), NO_ZONE, np.int32), marks)
    import pyarrow.compute as pc

    wall, zone = np.zeros(len(texts), np.int64), np.full(len(texts), NO_ZONE, np.int32)
    marks = np.zeros(len(texts), np.uint8)
    rest = np.arange(len(texts))
    # To compile a pattern with the letters of all scripts takes up to 10 ms, with those of ASCII 0.2 ms.
    all_ascii = pc.all(pc.string_is_ascii(texts), min_count=0).as_py()
    for number, pattern in enumerate(form.patterns):
        pattern = pattern.replace(r"\pL", "[A-Za-z]") if all_ascii else pattern
        left = texts if len(rest) == len(texts) else texts.take(rest)
        fields = pc.extract_regex(left, pattern)
        matched = np.asarray(fields.is_valid().to_numpy(zero_copy_only=False))
        if matched.any():
            rows = np.flatnonzero(matched)
            wall[rest[rows]], zone[rest[rows]] = _instants(fields.take(rows), left.take(rows), form)
            order = YEAR_FIRST if _DAY_LAST.search(pattern) else ORDERED * (number >= len(_UNAMBIGUOUS))
            marks[rest[rows]] = np.where(_is_short(fields.take(rows)), order | SHORT_YEAR, order)
            rest = rest[~matched]
        if not len(rest):
            return Dates(wall, zone, marks)
    raise BadDate(texts[int(rest[0])].as_py() or "", form.expected)


def _parse_rewritten(texts: Any, rewrite: Callable[[str], str], form: DateForm) -> Dates:
    """Parse texts as another function rewrites them.

    Raises:
        BadDate: the first text, as it was before, that is then no date.
    """
    import pyarrow as pa

    rewritten = [rewrite(text) for text in texts.to_pylist()]
    try:
        return parse_dates(pa.array(rewritten, pa.string()), form)
    except BadDate as error:
        place = rewritten.index(error.text) if error.text in rewritten else 0
        raise BadDate(texts[place].as_py(), error.expected) from None


def joined_parts(parts: Sequence[str]) -> str:
    """Year, month and day, each a text, as one date; the first of the month if there is no day."""
    year, month, day = [re.sub(r"\.0+$", "", part) for part in parts] + ["1"] * (3 - len(parts))
    return f"{year}-{month.zfill(2)}-{day.zfill(2)}"


def beginning_of_interval(text: str) -> str:
    """The beginning of an interval, with its zone; "" if a text is no interval."""
    found = _INTERVAL.fullmatch(text)
    return f"{found['begin']} {found['own'] or found['both'] or ''}".rstrip() if found else ""


def is_scientific(text: str) -> bool:
    """Whether a text is a number such as 1.7040672E+09."""
    return _SCIENTIFIC.fullmatch(text) is not None


def digits_of(text: str) -> str:
    """The digits of a whole number in scientific notation; another text as it is, and one with a fraction."""
    if not is_scientific(text):
        return text
    value = Decimal(text.strip())
    return str(int(value)) if value == int(value) else text


def _iso_days(texts: Any) -> np.ndarray | None:
    """Days from 1970 of n texts, int64 [n], if all are YYYY-MM-DD as NumPy reads it too; None if any is not."""
    marks = np.array(texts.to_pylist(), np.str_)
    if not len(marks) or marks.dtype != "<U10":
        return None
    letters = marks.view(np.uint32).reshape(len(marks), 10)
    digits = letters - ord("0")
    if (letters[:, [4, 7]] != ord("-")).any() or (digits[:, [0, 1, 2, 3, 5, 6, 8, 9]] > 9).any():
        return None
    try:
        days = marks.astype("datetime64[D]").astype(np.int64)
    except ValueError:  # 2024-13-45
        return None
    return days if days.min() >= FIRST_DAY and days.max() < LAST_DAY else None


def _counted(texts: Any, form: DateForm) -> Dates:
    """Numbers of seconds and their parts from 1970, or of days from some day on."""
    import pyarrow.compute as pc

    fields = pc.extract_regex(texts, r"^\s*(?P<whole>\d{1,19})(?:\.(?P<fraction>\d*))?\s*$")
    matched = np.asarray(fields.is_valid().to_numpy(zero_copy_only=False))
    if not matched.all():
        raise BadDate(texts[int(np.argmin(matched))].as_py() or "", form.label)
    whole = _integers(fields, "whole", 19)
    part = np.array(
        ["0." + (text or "0") for text in pc.struct_field(fields, "fraction").to_pylist()], np.float64
    )
    if form.first_day is not None:
        day = whole + form.first_day
        bad = (day < FIRST_DAY) | (day >= LAST_DAY)
        seconds = np.round(part * 86400).astype(np.int64)
        wall, zone = day * DAY + seconds * 1_000_000_000, np.full(len(whole), NO_ZONE, np.int32)
    else:
        unit = np.array([_UNITS.get(form.epoch or "", 0)] * len(whole), np.int64)
        if form.epoch == "auto":
            limits = [2 * 10**9, 2 * 10**12, 2 * 10**15]  # until 2033; units are a thousandfold apart
            unit = np.array([1_000_000_000, 1_000_000, 1_000, 1], np.int64)[np.searchsorted(limits, whole)]
        bad = whole > np.iinfo(np.int64).max // unit
        wall = np.where(bad, 0, whole) * unit + (part * unit).astype(np.int64)
        zone = np.zeros(len(whole), np.int32)
    if bad.any():
        raise BadDate(texts[int(np.argmax(bad))].as_py(), form.label)
    return Dates(wall, zone)


def _integers(fields: Any, name: str, digits: int = 2) -> np.ndarray:
    import pyarrow as pa
    import pyarrow.compute as pc

    names = [field.name for field in fields.type]
    if name not in names:
        return np.zeros(len(fields), np.int64)
    padded = pc.utf8_rpad if name == "fraction" else pc.utf8_lpad
    column = pc.fill_null(pc.struct_field(fields, name), "")
    whole = padded(column, width=digits, padding="0").cast(pa.int64())
    return np.asarray(whole.to_numpy(zero_copy_only=False))


def _instants(fields: Any, texts: Any, form: DateForm) -> tuple[np.ndarray, np.ndarray]:
    names = {field.name for field in fields.type}
    days, wrong = _days_of_weeks(fields) if "week" in names else _days(fields, names, form.last_year)
    hour, minute, second = (_integers(fields, name) for name in ("hour", "minute", "second"))
    if "half" in names:
        hour, bad = _hours(fields, hour)
        wrong |= bad
    midnight = (hour == 24) & (minute == 0) & (second == 0)  # of the next day
    wrong |= ((hour > 23) & ~midnight) | (minute > 59) | (second > 59)
    if wrong.any():
        expected = form.expected
        if re.match(r"\s*1[34]\d\d[-/]", texts[int(np.argmax(wrong))].as_py()):
            expected = (
                "a year of the Gregorian calendar; name another column with --date-column, if one has it"
            )
        raise BadDate(texts[int(np.argmax(wrong))].as_py(), expected)
    seconds = ((days * 24 + hour) * 60 + minute) * 60 + second
    wall = seconds * 1_000_000_000 + _integers(fields, "fraction", 9)
    try:
        zone = _zone_offsets(fields, wall) if "zone" in names else np.full(len(wall), NO_ZONE, np.int32)
    except SkippedTime as error:
        expected = f"a time that exists in {error.zone}: clocks were put forward over this one"
        raise BadDate(texts[error.row].as_py(), expected) from None
    return wall, zone


def _days(fields: Any, names: set[str], last_year: int) -> tuple[np.ndarray, np.ndarray]:
    """Days from 1970, and where there is no such day: by year, and month or quarter, and day unless it is the first."""
    year = _integers(fields, "roc", 3) + 1911 if "roc" in names else _years(fields, last_year)
    first, last, ahead = _BUDDHIST_YEARS
    if len(year) and first <= year.min() and year.max() <= last:
        year = year - ahead
    month = np.ones(len(year), np.int64)
    if "quarter" in names:
        month = 3 * _integers(fields, "quarter", 1) - 2
    elif "name" in names:
        month = _months(fields)
    elif "month" in names:
        month = _integers(fields, "month")
    if "october" in names:
        month = np.where(_is_filled(fields, "october"), 10, month)
    day = _integers(fields, "day") if "day" in names else np.ones(len(year), np.int64)
    start = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    length = (
        (start + np.timedelta64(1, "M")).astype("datetime64[D]") - start.astype("datetime64[D]")
    ).astype(np.int64)
    wrong = (month < 1) | (month > 12) | (day < 1) | (day > length) | (year < 1678) | (year > 2261)
    return start.astype("datetime64[D]").astype(np.int64) + day - 1, wrong


def _days_of_weeks(fields: Any) -> tuple[np.ndarray, np.ndarray]:
    """Days from 1970 in weeks of ISO 8601, and where the year has no such week: its first has the 4th of January."""
    year, week = _integers(fields, "year", 4), _integers(fields, "week")
    weekday = np.where(_is_filled(fields, "weekday"), _integers(fields, "weekday", 1), 1)
    begin, end = (_first_monday(year), _first_monday(year + 1))
    days = begin + (week - 1) * 7 + weekday - 1
    return days, (week < 1) | (days >= end) | (year < 1678) | (year > 2260)


def _first_monday(year: np.ndarray) -> np.ndarray:
    fourth = (year - 1970).astype("datetime64[Y]").astype("datetime64[D]").astype(np.int64) + 3
    return np.asarray(fourth - (fourth + 3) % 7)


def _is_filled(fields: Any, name: str) -> np.ndarray:
    """Where a field is not empty."""
    import pyarrow.compute as pc

    filled = pc.not_equal(pc.fill_null(pc.struct_field(fields, name), ""), "")
    return np.asarray(filled.to_numpy(zero_copy_only=False))


def _years(fields: Any, last_year: int) -> np.ndarray:
    """Years; of two digits, the latest that end so up to some year."""
    year = _integers(fields, "year", 4)
    return np.where(_is_short(fields), last_year - (last_year - year) % 100, year)


def _is_short(fields: Any) -> np.ndarray:
    """Where a year has two digits."""
    import pyarrow.compute as pc

    if "year" not in {field.name for field in fields.type}:
        return np.zeros(len(fields), bool)
    short = pc.equal(pc.utf8_length(pc.struct_field(fields, "year")), 2)
    return np.asarray(short.to_numpy(zero_copy_only=False))


def _months(fields: Any) -> np.ndarray:
    import pyarrow.compute as pc

    codes = pc.struct_field(fields, "name").dictionary_encode()
    numbers = np.array([month_number(text) for text in codes.dictionary.to_pylist()], np.int64)
    return np.asarray(numbers[codes.indices.to_numpy()])


def _hours(fields: Any, hour: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hours of 24 from those with AM or PM, and where these are wrong."""
    import pyarrow.compute as pc

    half = pc.utf8_lower(pc.utf8_slice_codeunits(pc.fill_null(pc.struct_field(fields, "half"), ""), 0, 1))
    half = np.array(half.to_pylist(), dtype="U1")
    if "early" in {field.name for field in fields.type}:
        before = pc.fill_null(pc.struct_field(fields, "early"), "").to_pylist()
        half = np.where(half == "", np.array([_HALVES[text] for text in before], dtype="U1"), half)
    written = half != ""
    wrong = written & ((hour < 1) | (hour > 12))
    return np.where(written, hour % 12 + 12 * (half == "p"), hour), wrong


def _zone_offsets(fields: Any, wall: np.ndarray) -> np.ndarray:
    import pyarrow.compute as pc

    codes = pc.fill_null(pc.struct_field(fields, "zone"), "").dictionary_encode()
    texts, indices = codes.dictionary.to_pylist(), codes.indices.to_numpy()
    unnamed = [int(NO_ZONE) if not text or zone_name(text) else seconds_from_utc(text) for text in texts]
    seconds = np.array(unnamed, np.int32)
    zone = np.asarray(seconds[indices])
    for number, text in enumerate(texts):
        if name := zone_name(text):
            rows = np.flatnonzero(indices == number)
            try:
                zone[rows] = offsets_of_zone(wall[rows], name)
            except SkippedTime as error:
                raise SkippedTime(int(rows[error.row]), name) from None
    return zone


class SkippedTime(ValueError):
    """A local time does not exist: clocks were put forward over it.

    Attributes:
        row: of the time. zone: the zone's name.
    """

    def __init__(self, row: int, zone: str) -> None:
        super().__init__(row, zone)
        self.row, self.zone = row, zone


def offsets_of_zone(wall: np.ndarray, name: str) -> np.ndarray:
    """Offsets from UTC, in seconds, of local times in a time zone.

    Args:
        wall: int64 [n], nanoseconds from 1970-01-01 to the local time. One that occurs twice as clocks go back is
            taken for the first; midnights that are skipped, of a day's prices, are moved forward.

    Raises:
        BadDate: there is no such zone.
        SkippedTime: a time does not exist there.
    """
    utc = _instants_of_zone(wall, name, "earliest")
    skipped = (local_times(utc, name) != wall) & (wall % DAY != 0)
    if skipped.any():
        raise SkippedTime(int(np.argmax(skipped)), name)
    return ((wall - utc) // 1_000_000_000).astype(np.int32)


def doubled_times(wall: np.ndarray, name: str) -> np.ndarray:
    """Which local times occur twice in a time zone, as clocks go back, bool [n]; arguments as ``offsets_of_zone``."""
    return np.asarray(_instants_of_zone(wall, name, "earliest") != _instants_of_zone(wall, name, "latest"))


def _instants_of_zone(wall: np.ndarray, name: str, ambiguous: str) -> np.ndarray:
    import pyarrow as pa
    import pyarrow.compute as pc

    times = pa.array(wall, pa.timestamp("ns"))
    try:
        utc = pc.assume_timezone(times, name, ambiguous=ambiguous, nonexistent="latest")
    except pa.ArrowInvalid:
        raise BadDate(name, "the name of a time zone such as America/New_York") from None
    return np.asarray(utc.cast(pa.int64()).to_numpy())


def with_zone(dates: Dates, name: str | None) -> Dates:
    """The dates, those without an offset taken as local times of a time zone; as they are if ``name`` is None.

    Raises:
        SkippedTime: a time does not exist there.
    """
    naive = np.flatnonzero(dates.zone == NO_ZONE)
    if name is None or not len(naive):
        return dates
    zone = dates.zone.copy()
    try:
        zone[naive] = offsets_of_zone(dates.wall[naive], name)
    except SkippedTime as error:
        raise SkippedTime(int(naive[error.row]), name) from None
    return Dates(dates.wall, zone)


def local_times(instants: np.ndarray, name: str) -> np.ndarray:
    """Local times in a time zone of instants in UTC, both int64 [n] nanoseconds from 1970-01-01."""
    import pyarrow as pa
    import pyarrow.compute as pc

    local = pc.local_timestamp(pa.array(instants, pa.timestamp("ns", "UTC")).cast(pa.timestamp("ns", name)))
    return np.asarray(local.cast(pa.int64()).to_numpy())
