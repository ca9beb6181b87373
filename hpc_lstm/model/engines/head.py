"""The end of a network: its outputs, and the loss that says what they are about."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpc_lstm.config import RunConfig
from hpc_lstm.model.losses.loss import Loss
from hpc_lstm.model.losses.mse import MeanSquaredError
from hpc_lstm.model.losses.registry import create_loss


@dataclass(frozen=True)
class Head:
    """Outputs for some targets.

    Attributes:
        targets: K.
        loss: of each target.
    """

    targets: int
    loss: Loss

    @classmethod
    def of(cls, config: RunConfig) -> Head:
        """The head of the run's network."""
        return cls(
            len(config.data.targets) * len(config.data.horizons),
            create_loss(config.loss, config.train.model_dump()),
        )

    @classmethod
    def to_forecast(cls, outputs: int) -> Head:
        """A head that is not trained, of which the loss does not matter."""
        return cls(outputs, MeanSquaredError())

    @property
    def outputs(self) -> int:
        """Numbers that the network gives, O."""
        return self.targets * self.loss.outputs

    def by_target(self, outputs: np.ndarray) -> np.ndarray:
        """Outputs [..., O] as float64 [..., K, m]."""
        return np.asarray(outputs, np.float64).reshape(*outputs.shape[:-1], self.targets, self.loss.outputs)

    def loss_sum(self, outputs: np.ndarray, targets: np.ndarray) -> float:
        """The sum of the losses of windows, from outputs [n, O] and scaled targets [n, K]."""
        losses = self.loss.values(np, self.by_target(outputs), targets.astype(np.float64))
        return float(losses.sum()) / self.targets
