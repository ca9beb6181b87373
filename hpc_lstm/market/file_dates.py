"""The date in a file's name, of tables that are one day's and name no date: "cm02JAN2024bhav.csv"."""

from __future__ import annotations

import re
from pathlib import Path

from hpc_lstm.errors import PriceFileError
from hpc_lstm.market.date_forms import form_of_option

_DATES = (
    re.compile(r"(?<!\d)(?:19|20)\d\d([-_.]?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12]\d|3[01])(?!\d)"),
    re.compile(
        r"(?<!\d)\d{2}[-_ ]?(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[-_ ]?(?:19|20)\d\d(?!\d)",
        re.I,
    ),
)


def dates_in_name(path: str) -> list[str]:
    """The dates in a file's name that can be read in one way only, each once."""
    name = _name(path)
    found = [match[0] for pattern in _DATES for match in pattern.finditer(name)]
    return list(dict.fromkeys(re.sub(r"[_.]", "-", text) for text in found))


def date_in_name(path: str, date_format: str | None) -> str:
    """The date in a file's name, as it is written there.

    Args:
        date_format: of the user: a pattern such as "%d%m%y".

    Raises:
        PriceFileError: the name holds none, or several.
    """
    name = _name(path)
    if date_format is None:
        found = dates_in_name(path)
        way = "give --date-format, such as %d%m%y, as it is written there"
    else:
        pattern = form_of_option(date_format).pattern or r"\d+"
        pattern = pattern.removeprefix(r"^\s*").removesuffix(r"\s*$").replace(r"\pL", r"[^\W\d_]")
        found = [match[0] for match in re.finditer(rf"(?<!\d){pattern}(?!\d)", name)]
        way = f"as {date_format} says"
    if len(found) != 1:
        what = "several dates: " + ", ".join(found[:3]) if found else "no date"
        raise PriceFileError(
            f"{path}: --date-column file-name: the file's name holds {what}; expected one, {way}"
        )
    return found[0]


def _name(path: str) -> str:
    """The name of a file; of a sheet, that of its workbook before it."""
    whole = Path(path).parent
    return f"{whole.name} {Path(path).name}" if whole.is_file() else Path(path).name
