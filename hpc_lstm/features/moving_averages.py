"""Moving averages of a series, as charts show them."""

from __future__ import annotations

import numpy as np


def sma(values: np.ndarray, length: int) -> np.ndarray:
    """Simple moving average: the mean of the last ``length`` values.

    Args:
        values: float64 [n].
        length: at least 1.

    Returns:
        float64 [n]; NaN for the first ``length - 1`` rows, and wherever one of the last ``length`` is NaN.
    """
    values = np.asarray(values, np.float64)
    found = np.full(len(values), np.nan)
    if length > len(values):
        return found
    gaps = np.isnan(values)
    # Sums are taken around the mean, so that little is lost where they are subtracted.
    middle = float(values[~gaps].mean()) if not gaps.all() else 0.0
    sums = np.concatenate([[0.0], np.cumsum(np.where(gaps, 0.0, values - middle))])
    holes = np.concatenate([[0], np.cumsum(gaps)])
    whole = holes[length:] == holes[:-length]
    found[length - 1 :][whole] = middle + (sums[length:] - sums[:-length])[whole] / length
    return found


def ema(values: np.ndarray, length: int) -> np.ndarray:
    """Exponential moving average: ``a * value + (1 - a) * before``, with ``a = 2 / (length + 1)``.

    Args:
        values: float64 [n].
        length: at least 1; the span, as charts name it.

    Returns:
        float64 [n]; it begins with the first value that is no NaN, and stays as it is over a later NaN.
    """
    share = 2.0 / (length + 1.0)
    found = np.full(len(values), np.nan)
    before = np.nan
    for row, value in enumerate(np.asarray(values, np.float64).tolist()):
        if value == value:
            before = value if before != before else before + share * (value - before)
        found[row] = before
    return found
