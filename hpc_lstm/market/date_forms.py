"""Find how the dates of a column are written, by all its texts or a sample of them."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import date

from hpc_lstm.errors import InputError
from hpc_lstm.market.dates import (
    BadDate,
    DateForm,
    beginning_of_interval,
    digits_of,
    is_scientific,
    latest_year,
)
from hpc_lstm.market.layouts.cells import ALL_ISO

_ORDERED = re.compile(
    r"\s*(?:[^\W\d_]{2,}\.?,? +)?(\d{1,2})\s?([-/.])\s?(\d{1,2})\s?[-/.]\s?(\d{4}|\d{2})(?!\d).*"
)
_MONTH = re.compile(r"\s*[^\W\d_]{3,}\.?[\s'’-]+\d{2}\s*")
_DIGITS = re.compile(r"\s*(\d+)(?:\.0*)?\s*")
_YEAR_AND_MONTH = re.compile(r"\s*\d{4}\.(\d{1,2})\s*")
_PADDED = {f"{month:02}" for month in range(1, 10)}
_LATE_MONTHS = {"10", "11", "12"}
_ALL_DIGITS = 8  # a number in scientific notation with fewer may have been cut off: Excel saves 1.70407E+12
_FORMATS = {
    "day-first": DateForm(order="day", label="day/month/year, as --date-format says"),
    "month-first": DateForm(order="month", label="month/day/year, as --date-format says"),
    "excel": DateForm(first_day=-25569, label="days counted by Excel"),
    "matlab": DateForm(first_day=-719529, label="days counted by MATLAB"),
    "epoch-days": DateForm(first_day=0, label="days from 1970"),
    **{
        f"epoch-{unit}": DateForm(epoch=unit, label=f"{name} from 1970")
        for unit, name in (
            ("s", "seconds"),
            ("ms", "milliseconds"),
            ("us", "microseconds"),
            ("ns", "nanoseconds"),
        )
    },
}
_DIRECTIVES = {
    "Y": r"(?P<year>\d{4})",
    "y": r"(?P<year>\d{2})",
    "m": r"(?P<month>\d{1,2})",
    "d": r"(?P<day>\d{1,2})",
    "b": r"(?P<name>\pL{3,})\.?",
    "B": r"(?P<name>\pL{3,})",
    "H": r"(?P<hour>\d{1,2})",
    "I": r"(?P<hour>\d{1,2})",
    "M": r"(?P<minute>\d{1,2})",
    "S": r"(?P<second>\d{1,2})",
    "f": r"(?P<fraction>\d{1,9})",
    "p": r"(?P<half>[AaPp][Mm])",
    "z": r"(?P<zone>Z|[+-]\d{2}:?\d{2})",
    "a": r"\pL+\.?",
    "A": r"\pL+",
    "%": "%",
}


def form_of_option(text: str) -> DateForm:
    """The form that ``--date-format`` names.

    Raises:
        InputError: it names none.
    """
    if text in _FORMATS:
        return replace(_FORMATS[text], last_year=latest_year())
    pieces = re.split(r"%(.)", text)
    unknown = [mark for mark in pieces[1::2] if mark not in _DIRECTIVES]
    pattern = "".join(
        _DIRECTIVES.get(piece, "") if place % 2 else re.escape(piece) for place, piece in enumerate(pieces)
    )
    named = {name for name in ("year", "month", "name") if f"<{name}>" in pattern}
    doubled = len(set(pieces[1::2])) < len(pieces[1::2])
    if unknown or doubled or len(named) != 2 or "year" not in named:
        raise InputError(
            f'--date-format: must be {", ".join(_FORMATS)} or a pattern with year and month such as "%d/%m/%Y" or '
            f'"%b-%y", got "{text}"'
        )
    return DateForm(pattern=rf"^\s*{pattern}\s*$", label=text)


@dataclass
class DateEvidence:
    """What the texts of a date column tell about how they are written.

    Attributes:
        lengths: of texts that are digits alone: how many have how many.
        calendar: whether all those of 12 and 14 digits may be YYYYMMDDHHMM[SS].
        months, days: whether all those of 6 digits may be YYYYMM; YYMMDD.
        years_last: whether all those of 8 digits may end with a year, and none is YYYYMMDD.
        years: whether all those of 4 digits may be years.
        taiwanese: whether all those of 7 digits may be a day of the Taiwanese calendar, 1130131.
        intervals: number of texts that are intervals; what else is told is that of their beginnings.
        scientific: the first text such as 1.7E+09.
        significant: the most digits that a text of digits alone has, or one in scientific notation.
        fractions: of texts such as 1871.01, the parts behind the point.
        named: the first text such as Jan-24.
        other: number of all other texts.
        ordered: of texts such as 1/31/2020, the first, second and last part: values seen.
        first_ordered, first_day, second_day: the first of these; the first with a first or second part above 12.
        dotted, short: whether such a text has dots; a year of two digits.
    """

    lengths: Counter[int] = field(default_factory=Counter)
    calendar: bool = True
    months: bool = True
    days: bool = True
    taiwanese: bool = True
    years_last: bool = True
    years: bool = True
    intervals: int = 0
    scientific: str = ""
    significant: int = 0
    fractions: set[str] = field(default_factory=set)
    named: str = ""
    other: int = 0
    ordered: tuple[set[str], set[str], set[str]] = field(default_factory=lambda: (set(), set(), set()))
    first_ordered: str = ""
    first_day: str = ""
    second_day: str = ""
    dotted: bool = True
    short: bool = False
    example: str = ""

    def update(self, texts: Iterable[str]) -> None:
        """Take in more texts."""
        texts = list(texts)
        if texts and ALL_ISO.fullmatch("\0".join(texts) + "\0"):  # most columns
            self.other += len(texts)
            self.example = self.example or texts[0]
            return
        for text in texts:
            if not text.strip():
                continue
            self.example = self.example or text
            if beginning := beginning_of_interval(text):
                self.intervals += 1
                text = beginning
            if is_scientific(text):
                self.scientific = self.scientific or text
                self.significant = max(self.significant, len(text.lower().split("e")[0].strip()) - 1)
                text = digits_of(text)
            if digits := _DIGITS.fullmatch(text):
                self._take_digits(digits[1])
            elif fraction := _YEAR_AND_MONTH.fullmatch(text):
                self.fractions.add(fraction[1])
            elif parts := _ORDERED.fullmatch(text):
                self._take_ordered(text, parts)
            else:
                self.other += 1
                if not self.named and _MONTH.fullmatch(text):
                    self.named = text

    def _take_digits(self, digits: str) -> None:
        self.lengths[len(digits)] += 1
        if not self.scientific:
            self.significant = max(self.significant, len(digits))
        if len(digits) == 4:
            self.years = self.years and 1700 <= int(digits) < 2600
        if len(digits) == 6:
            first, second, last = (int(digits[at : at + 2]) for at in (0, 2, 4))
            self.months = self.months and first in (18, 19, 20) and 1 <= last <= 12
            self.days = self.days and 1 <= second <= 12 and 1 <= last <= 31
        if len(digits) == 8:
            self.years_last = self.years_last and digits[4:6] in ("19", "20")
        if len(digits) == 7:
            self.taiwanese = self.taiwanese and 1 <= int(digits[3:5]) <= 12 and 1 <= int(digits[5:]) <= 31
        if len(digits) in (12, 14):
            month, day, hour, minute = (int(digits[at : at + 2]) for at in (4, 6, 8, 10))
            year = int(digits[:4])
            fits = 1900 <= year < 2100 and 1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60
            self.calendar = self.calendar and fits

    def _take_ordered(self, text: str, parts: re.Match[str]) -> None:
        self.first_ordered = self.first_ordered or text
        for place, group in enumerate((1, 3, 4)):
            self.ordered[place].add(parts[group])
        if int(parts[1]) > 12:
            self.first_day = self.first_day or text
        if int(parts[3]) > 12:
            self.second_day = self.second_day or text
        self.dotted = self.dotted and parts[2] == "."
        self.short = self.short or len(parts[4]) == 2

    def decide(self) -> DateForm:
        """The form of the dates.

        Raises:
            BadDate: they may be read in two ways, or contradict each other.
        """
        form = self._decide()
        if self.intervals:
            return replace(form, interval=True, label=f"beginnings of intervals, {form.label}")
        return replace(form, scientific=bool(self.scientific))

    def _decide(self) -> DateForm:
        if self.scientific and self.significant < _ALL_DIGITS:
            raise BadDate(
                self.scientific,
                "a time with all of its digits: a spreadsheet has cut them off; import the file as it was downloaded, "
                "or name another column with --date-column",
            )
        if self.fractions and not (self.lengths or self.other or self.first_ordered):
            return self._months_as_fractions()
        if sum(self.lengths.values()) and not self.other and not self.first_ordered:
            return self._counted()
        if self.named:
            mark = re.sub(r"[^\s'’.-]", "", self.named.strip())
            given = shlex.quote(f"%b{mark.removeprefix('.')}%y")
            raise BadDate(
                self.named,
                f"YYYY-MM-DD; give --date-format {given} if it is a month of a year, or write the year of a day",
            )
        if not self.first_ordered:
            return DateForm(label=_label(self.example))
        return self._in_order()

    def _counted(self) -> DateForm:
        lengths = set(self.lengths)
        if lengths == {8} and self.years_last:
            raise BadDate(
                self.example, "YYYYMMDD; give --date-format %d%m%Y or %m%d%Y if these end with the year"
            )
        if lengths == {4} and self.years:
            return DateForm(pattern=r"^\s*(?P<year>\d{4})(?:\.0*)?\s*$", label="YYYY, the first of January")
        if lengths <= {8} or (lengths <= {8, 12, 14} and self.calendar):
            return DateForm(label="YYYYMMDD")
        if lengths <= {9, 10, 12, 13, 15, 16, 18, 19}:
            units = {9: "seconds", 12: "milliseconds", 15: "microseconds", 18: "nanoseconds"}
            names = dict.fromkeys(units[length // 3 * 3] for length in sorted(lengths))
            return DateForm(epoch="auto", label=f"{' and '.join(names)} from 1970, in UTC")
        if lengths == {6} and self.months and not self.days:
            return DateForm(
                pattern=r"^\s*(?P<year>\d{4})(?P<month>\d{2})(?:\.0*)?\s*$",
                label="YYYYMM, the first of a month",
            )
        if lengths == {6} and not (self.months or self.days) and self.example.strip().startswith("7"):
            raise BadDate(self.example, "YYYY-MM-DD; give --date-format matlab if MATLAB counted these days")
        if lengths == {6}:
            raise BadDate(
                self.example, "YYYY-MM-DD; give --date-format %Y%m if it is a month, %y%m%d if a day"
            )
        if lengths == {7} and self.taiwanese:
            return DateForm(
                pattern=r"^\s*(?P<roc>\d{3})(?P<month>\d{2})(?P<day>\d{2})\s*$",
                label="YYYMMDD of the Taiwanese calendar",
            )
        if lengths == {5}:
            raise BadDate(
                self.example,
                "YYYY-MM-DD; give --date-format excel if Excel counted these days, --date-format epoch-days if "
                "they are counted from 1970, as by R",
            )
        return DateForm(label="YYYYMMDD")

    def _months_as_fractions(self) -> DateForm:
        """1871.01 to 1871.12, October being 1871.1 where the file was written as numbers; or 1871.1 to 1871.12."""
        if self.fractions <= {*_PADDED, *_LATE_MONTHS} or (
            self.fractions & _PADDED and self.fractions <= {*_PADDED, "1", "11", "12"}
        ):
            pattern = r"^\s*(?P<year>\d{4})\.(?:(?P<month>\d{2})|(?P<october>1))\s*$"
            return DateForm(pattern=pattern, label="YYYY.MM, the first of a month")
        single = {str(month) for month in range(1, 10)}
        if "10" in self.fractions and self.fractions <= single | _LATE_MONTHS:
            return DateForm(
                pattern=r"^\s*(?P<year>\d{4})\.(?P<month>\d{1,2})\s*$", label="YYYY.M, the first of a month"
            )
        raise BadDate(self.example, "YYYY-MM, as it may be a month or a part of the year")

    def _in_order(self) -> DateForm:
        if self.first_day and self.second_day:
            raise BadDate(
                self.second_day,
                f'day/month/year as in "{self.first_day.strip()}", or month/day/year in all rows',
            )
        first, _, last = (len(values) for values in self.ordered)
        dashed = "-" in self.first_ordered
        if self.short and self.first_day and (last > first or (dashed and last == first)):
            # 24-01-02, 24-01-03: the years do not seem to come last
            raise BadDate(
                self.first_ordered, "a year of four digits; give --date-format %y-%m-%d or %d-%m-%y"
            )
        if self.second_day:
            return DateForm(order="month", label=f'month/day/year, as "{self.second_day.strip()}" shows')
        if self.first_day:
            return DateForm(order="day", label=f'day/month/year, as "{self.first_day.strip()}" shows')
        if self.dotted and not self.short:
            return DateForm(order="day", label="day.month.year")
        raise BadDate(
            self.first_ordered,
            "YYYY-MM-DD, since no date of the file tells month/day from day/month; give --date-format month-first or "
            "day-first",
        )


def with_time_digits(form: DateForm, times: Iterable[str]) -> DateForm:
    """The form with the digits of the times in a column of their own, if they are digits alone."""
    texts = [text.strip() for text in times if text.strip()]
    if texts and all(text.isdigit() for text in texts):
        return replace(form, time_digits=4 if 3 <= max(map(len, texts)) <= 4 else 6)
    return form


def _label(example: str) -> str:
    """How dates are written, for people, by an example."""
    text = example.strip()
    day = text.replace("T", " ").split(" ")[0]
    try:
        date.fromisoformat(day if "-" in day else "")
    except ValueError:
        return f'as in "{text[:40]}"' if text else "YYYY-MM-DD"
    return "YYYY-MM-DD" if day == text else f'YYYY-MM-DD with times, as in "{text[:40]}"'
