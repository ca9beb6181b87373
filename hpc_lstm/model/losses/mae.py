"""The absolute error: the point forecast is the median."""

from __future__ import annotations

from typing import Any

import numpy as np

from hpc_lstm.model.losses.loss import Loss


class MeanAbsoluteError(Loss):
    """|o - y|."""

    name = kernel = "mae"

    def values(self, xp: Any, outputs: Any, targets: Any) -> Any:
        return xp.abs(outputs[..., 0] - targets)

    def gradient(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return np.sign(outputs - targets[..., None])
