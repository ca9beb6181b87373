"""Why a logger's library or server refuses, for a message."""

from __future__ import annotations

import re
from textwrap import shorten

LONGEST = 300


def reason_of(error: BaseException) -> str:
    """An error's text on one line, not too long, and without the name and password that an address may have."""
    text = re.sub(r"//[^/@\s]*@", "//", str(error))
    return shorten(text, LONGEST, placeholder=" ...") or type(error).__name__
