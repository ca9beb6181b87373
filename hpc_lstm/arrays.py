"""Arrays: what NumPy does with a detour."""

from __future__ import annotations

import numpy as np


def distinct(values: np.ndarray) -> np.ndarray:
    """The distinct values, ascending: as ``np.unique``, which imports ``numpy.ma`` unless it is asked for counts."""
    return np.unique(values, return_counts=True)[0]
