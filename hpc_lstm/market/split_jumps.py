"""Steps in a price that look like splits that were not taken out of it."""

from __future__ import annotations

import numpy as np

# New shares for an old one; their inverses are reverse splits.
RATIOS = np.array([1.5, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40, 50, 100])
# How far the price may move on the day besides, as a log return.
MOVE = 0.06
# The smallest step that is looked at, as a ratio.
LEAST = float(RATIOS[0] * np.exp(-MOVE))
# A step must be so many times the symbol's median move: volatile prices double without a split.
TYPICAL_MOVES = 15.0
# Fewer rows say too little about typical moves.
FEWEST_ROWS = 30


def find_split_jumps(prices: np.ndarray) -> np.ndarray:
    """Numbers of the rows on which a price steps as in a split, int64, ascending.

    Args:
        prices: float64 [n], of one symbol in order of date.
    """
    if len(prices) < FEWEST_ROWS or prices.min() <= 0:
        return np.empty(0, np.int64)
    ratios = prices[1:] / prices[:-1]
    if ratios.max() < LEAST and ratios.min() > 1 / LEAST:  # of nearly all symbols
        return np.empty(0, np.int64)
    moves = np.abs(np.log(ratios))
    rows = np.flatnonzero(moves > max(np.log(LEAST), TYPICAL_MOVES * float(np.median(moves))))
    near = np.abs(moves[rows][:, None] - np.log(RATIOS)).min(axis=1) <= MOVE
    return rows[near] + 1
