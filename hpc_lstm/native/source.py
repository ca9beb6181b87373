"""The text of a C kernel with the headers beside it in their places, as the compiler gets it."""

from __future__ import annotations

import re
from pathlib import Path

_INCLUDE = re.compile(rb'^#include "([\w.]+)"$', re.MULTILINE)


def whole_source(path: Path) -> bytes:
    """A source file in which each ``#include "NAME"`` is the text of that file, which includes no other.

    Compiled code is kept under a hash of its source: so it is compiled anew when a header changes.
    """
    return _INCLUDE.sub(lambda match: (path.parent / match[1].decode()).read_bytes(), path.read_bytes())
