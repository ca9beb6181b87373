"""RMSprop: steps scaled by the running mean of the gradient's square."""

from __future__ import annotations

from typing import Any

from hpc_lstm.model.optimizers.optimizer import Optimizer


class RMSprop(Optimizer):
    """RMSprop (Tieleman and Hinton 2012, COURSERA Neural Networks for Machine Learning, lecture 6.5).

    v <- rho v + (1 - rho) g^2
    w <- w - rate * g / sqrt(v + epsilon)

    Without momentum and not centred, with the constants of ``keras.optimizers.RMSprop``. Epsilon stands under the
    root, as in Keras; PyTorch adds it to the root.
    """

    name = "rmsprop"
    device_kernel = "rmsprop"
    slots = ("square",)
    RHO, EPSILON = 0.9, 1e-7

    def step(
        self, xp: Any, weights: Any, slots: tuple[Any, ...], gradient: Any, rate: Any, step: Any
    ) -> tuple[Any, tuple[Any, ...]]:
        square = self.RHO * slots[0] + (1.0 - self.RHO) * gradient * gradient
        return weights - rate * gradient / xp.sqrt(square + self.EPSILON), (square,)

    def kernel_constants(self, rate: float, step: int) -> tuple[float, ...]:
        """Rate, rho, epsilon."""
        return rate, self.RHO, self.EPSILON
