"""What the cells of a column look like, by a sample of its texts: dates, times of day, numbers or words."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hpc_lstm.market.layouts.vocabulary import word_set

# Texts that stand for a missing number.
MISSING = word_set(
    r"""NA N/A #N/A nan NaN NAN null NULL Null None none nil - -- --- — – . .. … n/a n.a. N.A. na NaT <NA>
    #VALUE! #REF! #DIV/0! #NUM! #NULL! #NAME? #N/A! N.D. n.d. nd ND \N"""
) | {"", "#N/A N/A", "#N/A Invalid Security", "#N/A Field Not Applicable", "N/A N/A"}

# What may be left out has its spaces with it: otherwise many spaces could be shared out in very many ways, one by one.
_TIME = re.compile(
    r"\s*\d{1,2}:\d{2}(:\d{2}([.,:]\d+)?)?(\s*[AaPp]\.?[Mm]\.?)?(\s*(Z|[A-Z]{2,4}|[+-]\d{2}:?\d{2}))?\s*"
)
_TIME_DIGITS = re.compile(r"\s*(?:\d{1,6})\s*")
_DATE = re.compile(
    r"""\s*(?:
        \d{4}\s*[-/.年년]\s*\d{1,2}\s*[-/.月월]\s*\d{1,2}(?!\d).*            # 2020-01-31
      | \d{4}[年년].*
      | (?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:[0-2]\d|3[01])(?:[ T:]*\d{2}.*)?   # 20200131
      | \d{4}[-\ ]?Q[1-4] | Q[1-4][-\ /]?\d{4}                              # 2020-Q1, Q1 2020
      | \d{4}-\d{2} | [^\W\d_]{3,}\.?[\s-]\d{4}                              # 2020-01, Jan 2020
      | (?:[^\W\d_]{2,}\.?,?\ +)?\d{1,2}[-/.]\d{1,2}[-/.](?:\d{4}|\d{2})(?!\d).*                      # 31/01/2020
      | \d{3}/\d{2}/\d{2}                                                    # 113/01/02, of the Taiwanese calendar
      | \d{1,2}[\s./-]*[^\W\d_]{3,}[\s.,/-]*(?:\d{4}|\d{2})(?!\d).*          # 31-Jan-2020
      | (?:[^\W\d_]{2,}\.?,?\s+)?[^\W\d_]{3,}\.?[\s-]+\d{1,2},?[\s-]+\d{4}.* # Tue, Jan 31, 2020
      | (?:[^\W\d_]{2,}\.?,?\s+)\d{1,2}[\s./-]*[^\W\d_]{3,}[\s.,/-]*\d{4}.*  # Tue, 31 Jan 2020
      | \d{4}[-/\s][^\W\d_]{3,}\.?[-/\s]\d{1,2}\b.*                          # 2020-Jan-31
      | \d{9,10}(?:\.0+)? | \d{12,13}(?:\.0+)? | \d{15,16}(?:\.0+)? | \d{18,19}  # seconds, ms, us, ns from 1970
      )\s*""",
    re.VERBOSE,
)
NUMBER_MARKS = r"[$€£¥₹₩₽₺฿₫₱]|US\$|A\$|C\$|HK\$|R\$|Rs\.?|kr\.?|zł|CHF|USD|EUR|GBP|JPY|INR"
_NUMBER = re.compile(
    rf"\s*(?:[(+\-−]\s*)?(?:(?:{NUMBER_MARKS})\s*)?(?:[+\-−]\s*)?"
    rf"(?:\d(?:[\d.,'’\s_]*[\d.,'’_])?(?:\s*[eE][+-]?\d+)?|[.,]\d+(?:[eE][+-]?\d+)?)"
    rf"(?:\s*(?:{NUMBER_MARKS}|%|[KkMmBbTt]|[Mm]io\.?|[Mm]rd\.?|万|亿|萬|億))?(?:\s*\))?\s*"
)

_PLAIN = re.compile(r"-?\d+(?:\.\d*)?")
ALL_ISO = re.compile(r"(?:\d{4}-\d\d-\d\d\0)+")  # dates as 2020-01-31, each with \0 after it
_ALL_PLAIN = re.compile(rf"(?:{_PLAIN.pattern}\0)+")
_NO_NUMBER = re.compile(r"\d[-/]\d|\d\.\d{1,2}\.\d{2,4}$")  # dates that would pass for one: 31.01.2024


def is_missing(text: str) -> bool:
    """Whether a text stands for a missing number."""
    return text.strip() in MISSING


def is_date(text: str) -> bool:
    """Whether a text may be a date, with or without a time."""
    return _DATE.fullmatch(text) is not None


def is_time(text: str, digits: bool = False) -> bool:
    """Whether a text may be a time of day; with ``digits`` also 93000."""
    return bool(_TIME.fullmatch(text) or (digits and _TIME_DIGITS.fullmatch(text)))


def is_number(text: str) -> bool:
    """Whether a text may be a number in some notation: 1.234,5 and $1.25M are."""
    return _NUMBER.fullmatch(text) is not None


def kind_of(cells: Iterable[str]) -> str:
    """What most cells of a column are: "date", "number", "text", or "empty" if there is nothing to see."""
    cells = list(cells)
    if cells and _ALL_PLAIN.fullmatch("\0".join(cells) + "\0"):  # so are most columns
        return "number"
    counts = {"date": 0, "number": 0, "text": 0}
    for text in cells:
        if _PLAIN.fullmatch(text):
            counts["number"] += 1
        elif not is_missing(text):
            counts[_kind(text)] += 1
    best = max(counts, key=lambda kind: counts[kind])
    return best if counts[best] else "empty"


def _kind(text: str) -> str:
    # A number of ten digits may be a volume: it is a date only where a date is looked for.
    if is_number(text) and not _NO_NUMBER.search(text):
        return "number"
    return "date" if is_date(text) else "text"


def mostly_dates(cells: Iterable[str]) -> bool:
    """Whether more than half of the cells that are not empty may be dates."""
    filled = [text for text in cells if text.strip()]
    if filled and ALL_ISO.fullmatch("\0".join(filled) + "\0"):  # most columns
        return True
    return bool(filled) and 2 * sum(map(is_date, filled)) > len(filled)
