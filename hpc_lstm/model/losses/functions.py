"""Functions that NumPy and TensorFlow have under different names, and their derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np

# Added to every scale, in scaled units: below it a density would grow without bound where a target repeats exactly.
LEAST_SCALE = 1e-4


def log(xp: Any, x: Any) -> Any:
    """The natural logarithm."""
    return np.log(x) if xp is np else xp.math.log(x)


def log1p(xp: Any, x: Any) -> Any:
    """log(1 + x)."""
    return np.log1p(x) if xp is np else xp.math.log1p(x)


def softplus(xp: Any, x: Any) -> Any:
    """log(1 + e^x), without overflow."""
    return xp.maximum(x, 0.0) + log1p(xp, xp.exp(-xp.abs(x)))


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-x), the derivative of ``softplus``, without overflow."""
    faded = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, faded) / (1.0 + faded)


def scale(xp: Any, x: Any) -> Any:
    """A scale above 0 from an output of the network."""
    return softplus(xp, x) + LEAST_SCALE
