"""Huber's loss: squared where errors are small, absolute where they are large, so that outliers count less."""

from __future__ import annotations

from typing import Any

import numpy as np

from hpc_lstm.model.losses.loss import Loss


class Huber(Loss):
    """e^2 / 2 up to |e| = d, d (|e| - d / 2) beyond, e = o - y.

    (Huber 1964, "Robust estimation of a location parameter".)

    Args:
        huber_delta: d, in scaled units.
    """

    name = kernel = "huber"

    def __init__(self, huber_delta: float = 1.0) -> None:
        self._delta = huber_delta

    @property
    def constants(self) -> tuple[float, ...]:
        """The delta."""
        return (self._delta,)

    def values(self, xp: Any, outputs: Any, targets: Any) -> Any:
        size = xp.abs(outputs[..., 0] - targets)
        inside = xp.minimum(size, self._delta)
        return inside * (size - 0.5 * inside)

    def gradient(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return np.clip(outputs - targets[..., None], -self._delta, self._delta)
