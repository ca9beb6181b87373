"""What a loss is: how wrong the network's outputs are about a target, and which forecast they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np


class Loss(ABC):
    """The loss of one window is the mean of this over its K targets; the network has ``outputs`` numbers for each.

    Targets are scaled values, and so are forecasts. Its formulas are written once for NumPy and TensorFlow
    (``values``), and once in kernels/lstm_losses.h for C and CUDA.

    Attributes:
        name: as in ``train.loss``.
        kernel: the function ``loss_<kernel>`` in kernels/lstm_losses.h.
        outputs: numbers of the network for each target, m.
    """

    name: ClassVar[str]
    kernel: ClassVar[str]
    outputs: int = 1

    @property
    def constants(self) -> tuple[float, ...]:
        """What the kernel takes besides outputs and target."""
        return ()

    @abstractmethod
    def values(self, xp: Any, outputs: Any, targets: Any) -> Any:
        """The loss of each target, [..., K].

        Args:
            xp: the module that the arrays belong to: ``numpy``, in float32 or float64, or ``tensorflow``.
            outputs: [..., K, m].
            targets: [..., K].
        """

    @abstractmethod
    def gradient(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """The derivative of ``values`` with respect to the outputs, [..., K, m], in NumPy."""

    def point(self, outputs: np.ndarray) -> np.ndarray:
        """The point forecasts [...] of outputs [..., m]."""
        return outputs[..., 0]

    def quantiles(self, outputs: np.ndarray, levels: Sequence[float]) -> np.ndarray | None:
        """Quantiles of the forecast distribution, ascending with their levels; None: the loss gives a point alone.

        Args:
            outputs: [..., m].
            levels: L numbers between 0 and 1, ascending.

        Returns:
            float64 [..., L].
        """
        return None

    def levels(self, coverage: float) -> tuple[float, float]:
        """The levels of the central interval of this coverage that ``quantiles`` knows."""
        return (1 - coverage) / 2, (1 + coverage) / 2
