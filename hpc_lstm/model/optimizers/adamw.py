"""AdamW: Adam with weight decay that is not scaled by the gradient's moments."""

from __future__ import annotations

from typing import Any

from hpc_lstm.model.optimizers.adam import Adam


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101).

    w <- w - rate * weight_decay * w, then Adam's step. All weights decay, biases too, as in Keras and PyTorch.

    Args:
        weight_decay: ``train.weight_decay``.
    """

    name = "adamw"

    def __init__(self, weight_decay: float) -> None:
        self.weight_decay = weight_decay

    def step(
        self, xp: Any, weights: Any, slots: tuple[Any, ...], gradient: Any, rate: Any, step: Any
    ) -> tuple[Any, tuple[Any, ...]]:
        decayed = weights - rate * self.weight_decay * weights
        return super().step(xp, decayed, slots, gradient, rate, step)

    def kernel_constants(self, rate: float, step: int) -> tuple[float, ...]:
        return (*super().kernel_constants(rate, step)[:-1], rate * self.weight_decay)
