"""Update rules on one flat weight vector: the mathematics of the Keras optimizers of the same name.

One vector takes a handful of operations a step where Keras takes as many for each array of weights. These are for the
Keras engine; ``FusedEngine`` takes the same steps without TensorFlow, so that a new rule goes into both.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np


class Rule(Protocol):
    """What an engine asks of an update rule."""

    def apply(self, flat: Any, gradient: Any, rate: Any, step: Any) -> None:
        """Update the variable ``flat`` [P] in place; ``step`` counts from 1."""

    def variables(self) -> tuple[Any, ...]:
        """What the rule remembers, as flat variables."""

    def moments(self) -> np.ndarray:
        """The same as one float32 vector."""

    def set_moments(self, moments: np.ndarray) -> None:
        """Put back what ``moments`` gave.

        Raises:
            ValueError: a vector of another length.
        """


class Sgd:
    """Gradient descent: w <- w - rate * gradient."""

    def apply(self, flat: Any, gradient: Any, rate: Any, step: Any) -> None:
        flat.assign_sub(rate * gradient)

    def variables(self) -> tuple[Any, ...]:
        return ()

    def moments(self) -> np.ndarray:
        return np.empty(0, np.float32)

    def set_moments(self, moments: np.ndarray) -> None:
        if np.size(moments):
            raise ValueError(f"sgd has no moments, got {np.size(moments)}")


class Adam:
    """Adam (Kingma and Ba 2015), with the constants of ``keras.optimizers.Adam``.

    Its moments are the running means of the gradients, then those of their squares: [2P].

    Args:
        length: numbers in the weight vector.
    """

    BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7

    def __init__(self, tf: Any, length: int) -> None:
        self._tf, self._length = tf, length
        self._mean = tf.Variable(tf.zeros([length]), trainable=False)
        self._square = tf.Variable(tf.zeros([length]), trainable=False)

    def apply(self, flat: Any, gradient: Any, rate: Any, step: Any) -> None:
        tf = self._tf
        step = tf.cast(step, tf.float32)
        rate = rate * tf.sqrt(1.0 - self.BETA_2**step) / (1.0 - self.BETA_1**step)
        mean = self._mean.assign_add((gradient - self._mean) * (1.0 - self.BETA_1))
        square = self._square.assign_add((gradient * gradient - self._square) * (1.0 - self.BETA_2))
        flat.assign_sub(rate * mean / (tf.sqrt(square) + self.EPSILON))

    def variables(self) -> tuple[Any, ...]:
        return self._mean, self._square

    def moments(self) -> np.ndarray:
        return np.concatenate([self._mean.numpy(), self._square.numpy()])

    def set_moments(self, moments: np.ndarray) -> None:
        if np.shape(moments) != (2 * self._length,):
            raise ValueError(f"adam's moments have shape [{2 * self._length}], got {np.shape(moments)}")
        self._mean.assign(moments[: self._length])
        self._square.assign(moments[self._length :])


def rule(tf: Any, name: str, length: int) -> Rule:
    """The rule called ``name`` in ``train.optimizer``, for a weight vector of ``length`` numbers."""
    return Adam(tf, length) if name == "adam" else Sgd()
