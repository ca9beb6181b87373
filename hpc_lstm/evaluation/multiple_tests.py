"""Many tests at once: of a thousand symbols, fifty have p < 0.05 by chance alone."""

from __future__ import annotations

import numpy as np


def holm(p_values: np.ndarray) -> np.ndarray:
    """p-values adjusted so that a level bounds the chance of even one wrong finding.

    Holm, Scandinavian J. Statistics 6, 1979.

    Args:
        p_values: float64 [n]; NaN where there was no test.

    Returns:
        float64 [n], NaN at the same places.
    """
    order, ascending = _ascending(p_values)
    factors = np.arange(len(order), 0, -1)
    return _at(order, np.maximum.accumulate(np.minimum(1.0, ascending * factors)), p_values)


def benjamini_hochberg(p_values: np.ndarray) -> np.ndarray:
    """p-values adjusted so that a level bounds the share of wrong findings (Benjamini and Hochberg, JRSS B, 1995).

    Args:
        p_values: float64 [n]; NaN where there was no test.

    Returns:
        float64 [n], NaN at the same places.
    """
    order, ascending = _ascending(p_values)
    ratios = np.minimum(1.0, ascending * len(order) / np.arange(1, len(order) + 1))
    return _at(order, np.minimum.accumulate(ratios[::-1])[::-1], p_values)


def _ascending(p_values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = np.flatnonzero(~np.isnan(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    return order, p_values[order]


def _at(order: np.ndarray, adjusted: np.ndarray, p_values: np.ndarray) -> np.ndarray:
    found = np.full(len(p_values), np.nan)
    found[order] = adjusted
    return found
