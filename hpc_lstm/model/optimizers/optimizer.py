"""What an update rule is: its name, what it remembers, and its step, written once for NumPy and TensorFlow."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np


class Optimizer(ABC):
    """An update rule on one flat weight vector [P].

    The formulas and constants are those of the Keras optimizer of the same name. A rule holds no state: the engine
    keeps the slots, where its arithmetic takes place.

    Attributes:
        name: as in ``train.optimizer``.
        slots: names of the vectors [P] that the rule remembers from one step to the next; all begin as zeros. One
            after the other they are the optimizer's moments [len(slots) * P] in checkpoints and averages.
        kernel: the function that takes the step in compiled code, ``lstm_<kernel>`` in kernels/lstm.c; "": there is
            none, and NumPy takes it.
        device_kernel: the function that takes it on a GPU, in kernels/lstm_update.cu.
    """

    name: ClassVar[str]
    slots: ClassVar[tuple[str, ...]] = ()
    kernel: ClassVar[str] = ""
    device_kernel: ClassVar[str]

    @abstractmethod
    def step(
        self, xp: Any, weights: Any, slots: tuple[Any, ...], gradient: Any, rate: Any, step: Any
    ) -> tuple[Any, tuple[Any, ...]]:
        """The weights and slots after one step, as new arrays.

        Args:
            xp: the module that the arrays belong to: ``numpy``, in float32 or float64, or ``tensorflow``.
            weights, gradient: [P].
            slots: [P] each, in the order of ``self.slots``.
            rate: the learning rate.
            step: number of this step, from 1; with TensorFlow a float32 scalar.
        """

    def kernel_constants(self, rate: float, step: int) -> tuple[float, ...]:
        """What the kernels take after the vectors, for the learning rate and number of a step."""
        return ()

    def update(
        self, weights: np.ndarray, moments: np.ndarray, gradient: np.ndarray, rate: float, step: int
    ) -> None:
        """Take a step by NumPy, in place: ``weights`` [P] and ``moments`` [len(slots) * P]."""
        rows = moments.reshape(len(self.slots), len(weights))
        weights[:], slots = self.step(np, weights, tuple(rows), gradient, rate, step)
        for row, slot in zip(rows, slots, strict=True):
            row[:] = slot
