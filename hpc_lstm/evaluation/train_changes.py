"""How prices changed in training: what drift adds and what MASE divides by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpc_lstm.parallel.world import World


@dataclass(frozen=True)
class TrainChanges:
    """How each symbol's price changed over ``horizon`` rows in its train windows, in price units.

    Attributes:
        mean: float64 [S], mean change. NaN without a train window.
        mean_absolute: float64 [S], mean absolute change: the error of persistence in training.
    """

    mean: np.ndarray
    mean_absolute: np.ndarray


class TrainChangeSums:
    """Collects train windows for ``TrainChanges``.

    Args:
        symbols: number of symbols, S.
    """

    def __init__(self, symbols: int) -> None:
        self._sums = np.zeros((3, symbols))

    def add(self, symbol: np.ndarray, last: np.ndarray, actual: np.ndarray) -> None:
        """Add windows: symbol int [B] below S, last known and actual prices float64 [B]."""
        change = np.asarray(actual, np.float64) - last
        for row, weights in zip(self._sums, (None, change, np.abs(change)), strict=True):
            row += np.bincount(symbol, weights, row.size)

    def reduce(self, world: World) -> TrainChanges:
        """The means over all ranks; collective."""
        windows, change, absolute = world.allreduce_sum(self._sums.copy())
        with np.errstate(invalid="ignore"):
            return TrainChanges(change / windows, absolute / windows)
