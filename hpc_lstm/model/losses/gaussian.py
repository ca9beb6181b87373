"""The negative log likelihood of a normal distribution: the outputs are its mean and its scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from hpc_lstm.model.losses.functions import log, scale, sigmoid
from hpc_lstm.model.losses.loss import Loss

HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


class Gaussian(Loss):
    """log s + z^2 / 2 + log(2 pi) / 2 with z = (y - m) / s, from outputs m and, by softplus, s.

    (Salinas, Flunkert, Gasthaus and Januschowski 2020, "DeepAR".)
    """

    name = kernel = "gaussian"
    outputs = 2

    def values(self, xp: Any, outputs: Any, targets: Any) -> Any:
        spread = scale(xp, outputs[..., 1])
        z = (targets - outputs[..., 0]) / spread
        return log(xp, spread) + 0.5 * z * z + HALF_LOG_TWO_PI

    def gradient(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        spread = scale(np, outputs[..., 1])
        z = (targets - outputs[..., 0]) / spread
        return np.stack([-z / spread, (1 - z * z) / spread * sigmoid(outputs[..., 1])], -1)

    def quantiles(self, outputs: np.ndarray, levels: Sequence[float]) -> np.ndarray:
        """Of the normal distribution."""
        from statistics import NormalDist

        given = np.asarray(outputs, np.float64)
        standard = np.array([NormalDist().inv_cdf(level) for level in levels])
        return given[..., :1] + scale(np, given[..., 1:]) * standard
