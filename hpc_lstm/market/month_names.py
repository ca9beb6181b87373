"""Names of months in the languages of price files."""

from __future__ import annotations

import unicodedata

# By their first letters, enough of them to tell one month from another in all of these languages: English, German,
# Dutch, Danish, Swedish, French, Spanish, Italian, Portuguese, Polish, Russian, Turkish.
_BEGINNINGS = {
    1: "jan ene gen sty янв oca",
    2: "feb fev lut фев sub",
    3: "mar maa mrz mae mär мар",
    4: "apr avr abr kwi апр nis",
    5: "may mai mag maj mei май мая",
    6: "jun juin giu cze июн haz",
    7: "jul juil lug lip июл tem",
    8: "aug aou ago sie авг agu",
    9: "sep set wrz сен eyl",
    10: "oct okt out ott paz окт eki",
    11: "nov lis ноя kas",
    12: "dec dez dic déc gru дек ara",
}


def month_number(name: str) -> int:
    """1 to 12, or 0 if a text does not begin as a month's name: "Januar", "ENE" and "янв" are 1."""
    text = _folded(name)
    for number, beginnings in _BEGINNINGS.items():
        if any(text.startswith(_folded(beginning)) for beginning in beginnings.split()):
            return number
    return 0


def _folded(text: str) -> str:
    parts = unicodedata.normalize("NFD", text.lower())
    return "".join(c for c in parts if not unicodedata.combining(c))
