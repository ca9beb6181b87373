"""Which weights of a run are kept as its best, and when it has stopped getting better."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Selection:
    """The best validation loss so far and its weights.

    All ranks offer the same losses and weights, so all decide alike.

    Attributes:
        patience: epochs without a better loss after which the run is exhausted; 0 never.
        min_delta: least fall that counts as better.
        loss, step: the best validation loss and the step it was seen at; infinity and 0 before the first.
        weights: flat float32 vector of that step, empty before the first.
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

    def offer(self, loss: float, step: int, weights: np.ndarray) -> bool:
        """Take ``weights`` if ``loss`` is better; NaN never is. Returns whether they were taken."""
        self.last = loss
        if loss < self.loss - self.min_delta:
            self.loss, self.step, self.stale = loss, step, 0
            self.weights = weights.copy()
            return True
        self.stale += 1
        return False

    @property
    def exhausted(self) -> bool:
        """True when training should stop early."""
        return 0 < self.patience <= self.stale
