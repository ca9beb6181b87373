"""Adam: steps scaled by running means of the gradient and of its square."""

from __future__ import annotations

from typing import Any

from hpc_lstm.model.optimizers.optimizer import Optimizer


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015, https://arxiv.org/abs/1412.6980).

    m <- b1 m + (1 - b1) g
    v <- b2 v + (1 - b2) g^2
    w <- w - rate * sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + epsilon)

    Epsilon is added before the bias correction, as at the end of the paper's section 2 and in Keras.
    """

    name = "adam"
    slots = ("mean", "square")
    kernel = device_kernel = "adam"
    BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7

    def step(
        self, xp: Any, weights: Any, slots: tuple[Any, ...], gradient: Any, rate: Any, step: Any
    ) -> tuple[Any, tuple[Any, ...]]:
        mean, square = slots
        rate = rate * xp.sqrt(1.0 - self.BETA_2**step) / (1.0 - self.BETA_1**step)
        mean = mean + (gradient - mean) * (1.0 - self.BETA_1)
        square = square + (gradient * gradient - square) * (1.0 - self.BETA_2)
        return weights - rate * mean / (xp.sqrt(square) + self.EPSILON), (mean, square)

    def kernel_constants(self, rate: float, step: int) -> tuple[float, ...]:
        """Bias-corrected rate, 1 - b1, 1 - b2, epsilon, share of the weights that decays."""
        corrected = rate * ((1 - self.BETA_2**step) ** 0.5 / (1 - self.BETA_1**step))
        return corrected, 1 - self.BETA_1, 1 - self.BETA_2, self.EPSILON, 0.0
