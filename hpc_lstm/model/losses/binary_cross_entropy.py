"""The binary cross-entropy: the output is the log odds of a target of 1."""

from __future__ import annotations

from typing import Any

import numpy as np

from hpc_lstm.model.losses.functions import sigmoid, softplus
from hpc_lstm.model.losses.loss import Loss


class BinaryCrossEntropy(Loss):
    """-y log p - (1 - y) log(1 - p) with p = 1 / (1 + e^-o); the forecast is p."""

    name = "binary-cross-entropy"
    kernel = "binary_cross_entropy"

    def values(self, xp: Any, outputs: Any, targets: Any) -> Any:
        return softplus(xp, outputs[..., 0]) - targets * outputs[..., 0]

    def gradient(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return sigmoid(outputs) - targets[..., None]

    def point(self, outputs: np.ndarray) -> np.ndarray:
        """Probabilities."""
        return sigmoid(np.asarray(outputs[..., 0], np.float64))
