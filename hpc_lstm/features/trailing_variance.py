"""Mean and variance over the last rows, by joining blocks: see ``trailing_mean`` for why."""

from __future__ import annotations

import numpy as np

Moments = tuple[np.ndarray, np.ndarray, np.ndarray]


def trailing_variance(values: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and population variance of each row and the ``length - 1`` rows before it, or of those there are.

    Args:
        values: float64 [n], finite or NaN, which is left out.
        length: at least 1.

    Returns:
        Two float64 [n]; NaN where every value is NaN. The variance of equal values is exactly 0.
    """
    known = ~np.isnan(values)
    block: Moments = np.where(known, values, 0.0), known.astype(np.float64), np.zeros(len(values))
    span, covered, whole = 1, 0, block
    while span <= length:
        if length & span:
            whole = _join(whole, block, covered) if covered else block
            covered += span
        block = _join(block, block, span)
        span *= 2
    mean, count, squares = whole
    some = count > 0
    variance = np.divide(squares, count, out=np.full(len(values), np.nan), where=some)
    return np.where(some, mean, np.nan), variance


def _join(newer: Moments, older: Moments, age: int) -> Moments:
    """Mean, count and squares about the mean of two blocks, of which ``older`` ends ``age`` rows earlier.

    Chan, Golub and LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample variances".
    """
    if age >= len(newer[0]):
        return newer
    mean, count, squares = (part.copy() for part in newer)
    old_mean, old_count, old_squares = (part[:-age] for part in older)
    total = count[age:] + old_count
    share = np.divide(old_count, total, out=np.zeros(len(total)), where=total > 0)
    apart = old_mean - mean[age:]
    squares[age:] += old_squares + apart * apart * count[age:] * share
    mean[age:] += share * apart
    count[age:] = total
    return mean, count, squares
