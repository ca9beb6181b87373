"""What an engine on CPUs asks of the code that computes its network."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from hpc_lstm.model.optimizers.optimizer import Optimizer


class TrainBatch(NamedTuple):
    """A batch to train on.

    Attributes:
        inputs, targets: float32 [B, T, F] and [B, K].
        keys: uint32 [2] that the dropout masks depend on.
    """

    inputs: np.ndarray
    targets: np.ndarray
    keys: np.ndarray


class Vectors(NamedTuple):
    """What an optimizer's step reads and writes, float32.

    Attributes:
        weights, gradient: [P].
        moments: the optimizer's slots one after the other, [slots * P].
    """

    weights: np.ndarray
    moments: np.ndarray
    gradient: np.ndarray


class NetworkMath(Protocol):
    """Losses, gradients and forecasts of one network, for flat weights [P]."""

    def loss_and_gradient(self, flat: np.ndarray, batch: TrainBatch, gradient: np.ndarray) -> float:
        """The mean loss of a batch; its gradient goes into ``gradient`` [P]."""

    def update(self, optimizer: Optimizer, vectors: Vectors, rate: float, step: int) -> None:
        """Take an optimizer's step in place; see ``Optimizer.update``."""

    def forecast(self, flat: np.ndarray, windows: np.ndarray) -> np.ndarray:
        """Outputs float32 [n, O] of windows [n, T, F], without dropout."""
