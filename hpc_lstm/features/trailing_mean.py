"""The mean over the last rows, all rows alike or the older ones with less weight: what moving averages are."""

from __future__ import annotations

import numpy as np


def trailing_mean(values: np.ndarray, length: int, decay: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean of each row and the ``length - 1`` rows before it; a row that is i rows older weighs decay**i.

    NaN is left out, and so are rows before the first: the mean is over the values there are.

    A running sum or recursion would carry rounding along from wherever it began, so that a value would depend on
    where a slice was cut. Here blocks of 1, 2, 4, ... rows are joined instead: log2(length) vector operations, a row's
    value always comes from the same rows by the same operations, and the mean of equal values is exactly that value.

    Args:
        values: float64 [n], finite or NaN.
        length: at least 1.
        decay: at most 1, at least 0.

    Returns:
        Mean and sum of the weights, float64 [n] each; NaN and 0 where every value is NaN.
    """
    known = ~np.isnan(values)
    block = (
        np.where(known, values, 0.0),
        known.astype(np.float64),
    )  # mean and weight of the last ``span`` rows
    span, covered = 1, 0
    whole = block
    # The binary digits of length say which blocks it is made of, the newest rows first.
    while span <= length:
        if length & span:
            whole = _join(whole, block, covered, decay) if covered else block
            covered += span
        block = _join(block, block, span, decay)
        span *= 2
    mean, weight = whole
    return np.where(weight > 0, mean, np.nan), weight


def _join(
    newer: tuple[np.ndarray, np.ndarray], older: tuple[np.ndarray, np.ndarray], age: int, decay: float
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and weight over both of two blocks, of which ``older`` ends ``age`` rows earlier."""
    if age >= len(newer[0]):
        return newer
    mean, weight = newer[0].copy(), newer[1].copy()
    faded = decay**age * older[1][:-age]
    weight[age:] += faded
    share = np.divide(faded, weight[age:], out=np.zeros_like(faded), where=weight[age:] > 0)
    mean[age:] += share * (older[0][:-age] - mean[age:])
    return mean, weight
