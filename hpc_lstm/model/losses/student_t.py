"""The negative log likelihood of Student's t distribution, which has heavy tails: outputs are location and scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np

from hpc_lstm.model.losses.functions import log, log1p, scale, sigmoid
from hpc_lstm.model.losses.loss import Loss

# Nodes of Gauss and Legendre: the integrand is smooth, and more change nothing in float64.
NODES = 200
# Halvings of an interval of angles: to the resolution of float64.
HALVINGS = 60


class StudentT(Loss):
    """log s + (n + 1) / 2 log(1 + z^2 / n) + c with z = (y - m) / s, from outputs m and, by softplus, s.

    c = log(n pi) / 2 + log gamma(n / 2) - log gamma((n + 1) / 2).

    Args:
        degrees_of_freedom: n, fixed; 2 or less is a distribution without a variance.
    """

    name = "student-t"
    kernel = "student_t"
    outputs = 2

    def __init__(self, degrees_of_freedom: float = 4.0) -> None:
        n = self._freedom = degrees_of_freedom
        self._constant = 0.5 * math.log(n * math.pi) + math.lgamma(n / 2) - math.lgamma((n + 1) / 2)

    @property
    def constants(self) -> tuple[float, ...]:
        """Degrees of freedom, and what does not depend on the outputs."""
        return self._freedom, self._constant

    def values(self, xp: Any, outputs: Any, targets: Any) -> Any:
        n, spread = self._freedom, scale(xp, outputs[..., 1])
        z = (targets - outputs[..., 0]) / spread
        return log(xp, spread) + 0.5 * (n + 1) * log1p(xp, z * z / n) + self._constant

    def gradient(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        n, spread = self._freedom, scale(np, outputs[..., 1])
        z = (targets - outputs[..., 0]) / spread
        weight = (n + 1) / (n + z * z)
        return np.stack([-weight * z / spread, (1 - weight * z * z) / spread * sigmoid(outputs[..., 1])], -1)

    def quantiles(self, outputs: np.ndarray, levels: Sequence[float]) -> np.ndarray:
        """Of the t distribution."""
        given = np.asarray(outputs, np.float64)
        standard = np.array([standard_quantile(float(level), self._freedom) for level in levels])
        return given[..., :1] + scale(np, given[..., 1:]) * standard


@lru_cache(maxsize=1024)
def standard_quantile(level: float, freedom: float) -> float:
    """The quantile of Student's t distribution.

    With x = sqrt(n) tan a, the distribution function is 1/2 plus the integral of cos^(n-1) from 0 to a, over twice that
    to pi/2. The angle is found by bisection.
    """
    nodes, weights = _quadrature()

    def integral(angle: float) -> float:
        half = angle / 2
        return half * float(weights @ np.cos(half * (nodes + 1)) ** (freedom - 1))

    whole = math.sqrt(math.pi) * math.exp(math.lgamma(freedom / 2) - math.lgamma((freedom + 1) / 2))
    share = abs(level - 0.5) * whole
    low, high = 0.0, math.pi / 2
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if integral(middle) < share else (low, middle)
    return math.copysign(math.sqrt(freedom) * math.tan((low + high) / 2), level - 0.5)


@cache
def _quadrature() -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of Gauss and Legendre on [-1, 1], which take longer to find than a quantile with them."""
    return np.polynomial.legendre.leggauss(NODES)
