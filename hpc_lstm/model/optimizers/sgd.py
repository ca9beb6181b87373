"""Stochastic gradient descent, without momentum."""

from __future__ import annotations

from typing import Any

from hpc_lstm.model.optimizers.optimizer import Optimizer


class SGD(Optimizer):
    """w <- w - rate * g."""

    name = "sgd"
    device_kernel = "sgd"

    def step(
        self, xp: Any, weights: Any, slots: tuple[Any, ...], gradient: Any, rate: Any, step: Any
    ) -> tuple[Any, tuple[Any, ...]]:
        return weights - rate * gradient, ()

    def kernel_constants(self, rate: float, step: int) -> tuple[float, ...]:
        """Rate."""
        return (rate,)
