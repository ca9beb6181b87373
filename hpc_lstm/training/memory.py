"""How much memory this process holds."""

from __future__ import annotations

import os
from pathlib import Path


def resident_bytes() -> int | None:
    """Bytes of memory that this process occupies now; None where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])  # proc(5): resident
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
