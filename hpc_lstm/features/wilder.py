"""Wilder's smoothing, which RSI and ATR are made of."""

from __future__ import annotations

import numpy as np

from hpc_lstm.features.trailing_mean import trailing_mean

# Rows that an average takes, as a multiple of its length: older ones weigh less than exp(-38) = 3e-17 of all, which
# float64 (1e-16) cannot tell from nothing.
LENGTHS = 38


def wilder_rows(length: int) -> int:
    """Rows that ``wilder_average`` takes."""
    return LENGTHS * length


def wilder_average(values: np.ndarray, length: int) -> np.ndarray:
    """The mean of all values so far, one that is i rows old weighing (1 - 1 / length)**i; float64 [n].

    Wilder (New Concepts in Technical Trading Systems, 1978) begins his average with the plain mean of the first
    ``length`` values. Here the weights are divided by their sum, so that there is an average from the first row on, and
    it does not depend on where a symbol begins: after k rows the two differ by no more than (1 - 1 / length)**k of the
    difference of their beginnings.

    Args:
        values: float64 [n]; NaN is left out.
    """
    return trailing_mean(values, wilder_rows(length), 1.0 - 1.0 / length)[0]
