"""What a baseline is: a forecast from known prices alone, without a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hpc_lstm.evaluation.train_changes import TrainChanges


@dataclass(frozen=True)
class KnownPrices:
    """What is known when the targets of B windows are forecast; it holds no price after a window's last row.

    Attributes:
        horizon: rows from a window's last row to its target.
        symbol: int64 [B], indices into ``Scaler.symbols``.
        history: float64 [B, H], prices up to each window's last row, which comes last; NaN before a symbol's first
            row. H is 1 + the largest ``lookback`` of all baselines.
        train: how prices changed over ``horizon`` rows in the train windows.
    """

    horizon: int
    symbol: np.ndarray
    history: np.ndarray
    train: TrainChanges

    @property
    def last(self) -> np.ndarray:
        """float64 [B], prices of the windows' last rows."""
        return self.history[:, -1]


class Baseline(Protocol):
    """A simple forecast of the target row's price."""

    @property
    def name(self) -> str:
        """Its key in ``metrics.json`` and its name in tables."""

    def lookback(self, horizon: int) -> int:
        """Rows before a window's last row whose prices it needs."""

    def forecast(self, known: KnownPrices) -> np.ndarray:
        """Prices of the target rows, float64 [B]."""
