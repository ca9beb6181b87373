"""Prices in fractions: of bonds and their futures in 32nds, 110'165 or 110-165; of grains in eighths, 452-4."""

from __future__ import annotations

import re

# The last of three digits is a half or a quarter of a 32nd: 0, 2, 5 or 7.
_THIRTY_SECONDS = re.compile(r"\s*\d{2,3}(['-])(?:[0-2]\d|3[01])[0257]?\s*")
_EIGHTHS = re.compile(r"\s*\d{2,4}(['-])[0-7]\s*")


def fraction_mark(text: str) -> str:
    """The mark before the fraction of a price; "" if a text is none."""
    found = _THIRTY_SECONDS.fullmatch(text) or _EIGHTHS.fullmatch(text)
    return found[1] if found else ""


def to_decimals(mark: str) -> str:
    """A command of the shell that makes decimals of the fractions in a file whose cells are separated by commas."""
    return (
        f'awk -v q="{mark}" -F, -v OFS=, -v CONVFMT=%.12g \'{{for (i = 2; i <= NF; i++) if (split($i, p, q) == 2) '
        "{d = substr(p[2], 3, 1); $i = p[1] + (length(p[2]) == 1 ? p[2] / 8 : "
        "(substr(p[2], 1, 2) + (d == 2 ? .25 : d == 7 ? .75 : d / 10)) / 32)}} 1' FILE > NEW"
    )
