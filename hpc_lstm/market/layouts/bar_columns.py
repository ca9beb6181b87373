"""Which columns are open, high, low and close of one symbol, by their numbers alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

_FEW_ROWS = 100
_MANY_ROWS = 10
_NEAR = 1.25  # a row's highest price is less than this times its lowest


def bar_columns(columns: Mapping[int, Sequence[str]]) -> dict[int, str]:
    """Of columns of texts, four of which one is the highest and one the lowest in every row, and what they are.

    Prices of four companies are not so near to each other. Of the two others, the open is the first one, unless it is
    much farther from the second one in the row before than the other way round.

    Returns:
        "open", "high", "low" and "close" by number of the column; nothing if there are no such columns.
    """
    values = {number: _numbers(texts[:_FEW_ROWS]) for number, texts in columns.items()}
    numbers = [number for number, column in values.items() if len(column) > 1 and not np.isnan(column).any()]
    for four in combinations(numbers[:8], 4):
        table = np.stack([values[number] for number in four])
        high, low = table.max(axis=0), table.min(axis=0)
        highest = [n for n, column in zip(four, table, strict=True) if (column == high).all()]
        lowest = [n for n, column in zip(four, table, strict=True) if (column == low).all()]
        if not highest or not lowest or highest == lowest or (low <= 0).any() or (high >= _NEAR * low).any():
            continue
        top = highest[0]
        bottom = next(n for n in lowest if n != top)
        first, second = (values[n] for n in four if n not in (top, bottom))
        if len(first) >= _MANY_ROWS and ((first < second).all() or (first > second).all()):
            continue  # funds of one index have an order, too; but opens are above closes and below
        swapped = _follows(second, first) < 0.5 * _follows(first, second)
        names = ["close", "open"] if swapped else ["open", "close"]
        others = [n for n in four if n not in (top, bottom)]
        return {top: "high", bottom: "low", **dict(zip(others, names, strict=True))}
    return {}


def _follows(opens: np.ndarray, closes: np.ndarray) -> float:
    """How far opens are from the closes of the row before."""
    return float(np.abs(opens[1:] - closes[:-1]).sum())


def _numbers(texts: Sequence[str]) -> np.ndarray:
    """The numbers of texts, NaN where one is none, or is written with thousands separated."""
    found = []
    for text in texts:
        try:
            found.append(float(text.strip().replace(",", ".")))
        except ValueError:
            found.append(np.nan)
    return np.array(found)
