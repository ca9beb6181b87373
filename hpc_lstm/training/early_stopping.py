"""Early stopping: the weights of the best validation loss, and when the loss has stopped falling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class EarlyStopping:
    """The best validation loss so far and its weights.

    All ranks pass the same losses and weights, so all decide alike.

    Attributes:
        patience: epochs without a better loss after which training stops; 0: never.
        min_delta: least fall of the loss that counts as better.
        loss, step: the best validation loss and its step; infinity and 0 before the first.
        weights: float32 [P] of that step; empty before the first.
        stale: validations since then.
        last: the newest validation loss; NaN before the first.
    """

    patience: int = 0
    min_delta: float = 0.0
    loss: float = float("inf")
    step: int = 0
    stale: int = 0
    last: float = float("nan")
    weights: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))

    def update(self, loss: float, step: int, weights: np.ndarray) -> bool:
        """Keep a copy of ``weights`` if ``loss`` is better, which NaN never is; returns whether it was."""
        self.last = loss
        if loss < self.loss - self.min_delta:
            self.loss, self.step, self.stale = loss, step, 0
            self.weights = weights.copy()
            return True
        self.stale += 1
        return False

    @property
    def should_stop(self) -> bool:
        """True when the loss has not fallen for ``patience`` epochs."""
        return 0 < self.patience <= self.stale

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds, without the weights."""
        return {"loss": self.loss, "step": self.step, "stale": self.stale, "last": self.last}

    def load_state_dict(self, state: Mapping[str, Any], weights: np.ndarray) -> None:
        """Continue from what ``state_dict`` returned, and the best weights."""
        self.loss, self.step = float(state["loss"]), int(state["step"])
        self.stale, self.last = int(state["stale"]), float(state["last"])
        self.weights = weights
