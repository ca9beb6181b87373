"""The pinball loss: the outputs are quantiles of the forecast distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hpc_lstm.model.losses.loss import Loss


class Quantile(Loss):
    """The mean over the levels q of max(q e, (q - 1) e), e = y - o (Koenker and Bassett 1978, "Regression quantiles").

    Forecasts never cross: the outputs of a target are put in ascending order, which brings them no further from the
    true quantiles (Chernozhukov, Fernandez-Val and Galichon 2010, "Quantile and probability curves without crossing").

    Args:
        quantiles: the levels q, ascending.
    """

    name = kernel = "quantile"

    def __init__(self, quantiles: Sequence[float] = (0.05, 0.5, 0.95)) -> None:
        self.known = tuple(quantiles)
        self.outputs = len(self.known)

    @property
    def constants(self) -> tuple[float, ...]:
        """The levels."""
        return self.known

    def values(self, xp: Any, outputs: Any, targets: Any) -> Any:
        total = 0.0
        for number, level in enumerate(self.known):
            error = targets - outputs[..., number]
            total = total + xp.maximum(level * error, (level - 1.0) * error)
        return total / len(self.known)

    def gradient(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        error = targets[..., None] - outputs
        levels = np.array(self.known)
        return np.where(error > 0, -levels, np.where(error < 0, 1 - levels, 0.0)) / len(levels)

    def point(self, outputs: np.ndarray) -> np.ndarray:
        """The median, between the levels around it where it is none of them."""
        found = self.quantiles(outputs, [0.5])
        return found[..., 0]

    def quantiles(self, outputs: np.ndarray, levels: Sequence[float]) -> np.ndarray:
        """Quantiles at any levels: between those that the network gives by linear interpolation, not beyond them."""
        ordered = np.sort(np.asarray(outputs, np.float64), axis=-1)
        place = np.interp(levels, self.known, np.arange(len(self.known), dtype=np.float64))
        below = np.floor(place).astype(np.int64)
        above = np.minimum(below + 1, len(self.known) - 1)
        share = place - below
        return ordered[..., below] * (1 - share) + ordered[..., above] * share

    def levels(self, coverage: float) -> tuple[float, float]:
        """The outermost levels, whatever coverage is asked for."""
        return self.known[0], self.known[-1]
