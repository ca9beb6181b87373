"""An update rule with its slots as TensorFlow variables."""

from __future__ import annotations

from typing import Any

import numpy as np

from hpc_lstm.model.optimizers.optimizer import Optimizer


class VariableOptimizer:
    """Takes an optimizer's steps on a flat variable, in few operations where Keras takes as many for each array.

    Args:
        tf: the module ``tensorflow``, started.
        optimizer: the rule.
        length: numbers in the weight vector.

    Attributes:
        slots: what the rule remembers: variables [length].
    """

    def __init__(self, tf: Any, optimizer: Optimizer, length: int) -> None:
        self._tf, self._optimizer, self._length = tf, optimizer, length
        self.slots = tuple(tf.Variable(tf.zeros([length]), trainable=False) for _ in optimizer.slots)

    def apply(self, weights: Any, gradient: Any, rate: Any, step: Any) -> None:
        """Update the variable ``weights`` [length] and the slots in place; ``step`` counts from 1."""
        slots = tuple(slot.read_value() for slot in self.slots)
        step = self._tf.cast(step, self._tf.float32)
        new, new_slots = self._optimizer.step(self._tf, weights.read_value(), slots, gradient, rate, step)
        weights.assign(new)
        for slot, value in zip(self.slots, new_slots, strict=True):
            slot.assign(value)

    def moments(self) -> np.ndarray:
        """The slots one after the other, float32 [len(slots) * length]."""
        return np.concatenate([np.empty(0, np.float32), *(slot.numpy() for slot in self.slots)])

    def set_moments(self, moments: np.ndarray) -> None:
        """Copy in what ``moments`` returned.

        Raises:
            ValueError: a vector of another length.
        """
        length = len(self.slots) * self._length
        if np.shape(moments) != (length,):
            raise ValueError(
                f"{self._optimizer.name} has moments of shape [{length}], got {np.shape(moments)}"
            )
        for number, slot in enumerate(self.slots):
            slot.assign(moments[number * self._length : (number + 1) * self._length])
