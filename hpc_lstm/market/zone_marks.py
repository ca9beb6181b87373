"""What stands behind a time and tells its zone: Z, UTC, +01:00, GMT+1, EST, (CET), (CET/CEST), US/Eastern."""

from __future__ import annotations

import re
from zoneinfo import available_timezones

# Hours from UTC. BST, IST and AST are those of several places, and are not known.
_ABBREVIATIONS = {
    "EST": -5,
    "EDT": -4,
    "CST": -6,
    "CDT": -5,
    "MST": -7,
    "MDT": -6,
    "PST": -8,
    "PDT": -7,
    "WEST": 1,
    "WET": 0,
    "CEST": 2,
    "CET": 1,
    "EEST": 3,
    "EET": 2,
    "MSK": 3,
    "HKT": 8,
    "SGT": 8,
    "JST": 9,
    "KST": 9,
}
# Standard and summer time together: the clocks of these zones.
_CLOCKS = {"WET/WEST": "Europe/Lisbon", "CET/CEST": "Europe/Brussels", "EET/EEST": "Europe/Athens"}
_NAMES = "|".join([*_CLOCKS, *_ABBREVIATIONS])

# Of a column's name: zones whose clocks are put forward in summer, or not, as the writer meant it.
_UNSURE = {
    **dict.fromkeys(("ET", "EST", "EDT"), "America/New_York"),
    **dict.fromkeys(("CT", "CST", "CDT"), "America/Chicago"),
    **dict.fromkeys(("MT", "MST", "MDT"), "America/Denver"),
    **dict.fromkeys(("PT", "PST", "PDT"), "America/Los_Angeles"),
    **dict.fromkeys(("CET", "CEST", "MEZ"), "Europe/Brussels"),
    **dict.fromkeys(("EET", "EEST"), "Europe/Athens"),
    **dict.fromkeys(("WET", "WEST"), "Europe/Lisbon"),
    **dict.fromkeys(("BST", "LONDON"), "Europe/London"),
    **dict.fromkeys(("IST",), "Asia/Kolkata"),
}
_SURE = {
    **_CLOCKS,
    "UTC": "UTC",
    "GMT": "UTC",
    "JST": "Asia/Tokyo",
    "KST": "Asia/Seoul",
    "HKT": "Asia/Hong_Kong",
    "SGT": "Asia/Singapore",
    "MSK": "Europe/Moscow",
}
_IN_NAME = re.compile(r".*(?:[(\[]\s*([A-Za-z]+(?:/[A-Za-z_]+)*)\s*[)\]]|[ _]([A-Za-z]{3,4}))\s*")
_OFFSET_IN_NAME = re.compile(r".*(?:UTC|GMT) ?([+-]) ?(\d{1,2})(?::?00)?\s*[)\]]?\s*")

PATTERN = (
    rf"(?:\(?(?P<zone>{_NAMES}|Z|[A-Z][A-Za-z]+/[A-Za-z_]+(?:/[A-Za-z_]+)?"
    r"|(?:UTC|GMT)(?:[+-]\d{1,2}:?(?:\d{2})?)?|[+-]\d{1,2}:?(?:\d{2})?)\)?(?: ?\([^)]*\))?)?"
)


def zone_name(mark: str) -> str:
    """The name of the time zone that a mark gives; "" if it gives an offset, or nothing."""
    return _CLOCKS.get(mark, mark if "/" in mark else "")


def seconds_from_utc(mark: str) -> int:
    """The offset from UTC that a mark gives, which is not a zone's name."""
    if mark in _ABBREVIATIONS:
        return _ABBREVIATIONS[mark] * 3600
    text = mark.removeprefix("UTC").removeprefix("GMT").replace(":", "")
    if text in ("Z", ""):
        return 0
    digits = text[1:] if len(text) > 3 else text[1:].zfill(2) + "00"
    ahead = int(digits.zfill(4)[:2]) * 3600 + int(digits[-2:]) * 60
    return -ahead if text[0] == "-" else ahead


def zone_of_column(name: str) -> tuple[str | None, str]:
    """The zone of a column's times by its name, such as "MTU (CET/CEST)" or "Time (EST)".

    Returns:
        The name of the zone, None if the column's name tells none for sure; and one that may be meant, or "".
    """
    if offset := _OFFSET_IN_NAME.fullmatch(name):
        return (
            f"Etc/GMT{'-' if offset[1] == '+' else '+'}{int(offset[2])}",
            "",
        )  # their signs are those of POSIX
    found = _IN_NAME.fullmatch(name)
    if found is None:
        return None, ""
    mark = found[1] or found[2]
    if mark.upper() in _SURE:
        return _SURE[mark.upper()], ""
    if "/" in mark and mark in available_timezones():
        return mark, ""
    return None, _UNSURE.get(mark.upper(), "")
