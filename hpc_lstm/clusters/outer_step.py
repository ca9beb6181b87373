"""The outer optimizer: from the clusters' weights after a round of local steps to their new common weights.

Pure arithmetic on vectors that gives the same bytes on every machine: sums are float64, members are added one after
the other, and no operation reduces along a vector. Whoever merges the same members so gets the same result.
"""

from __future__ import annotations

import numpy as np


class WeightedMean:
    """The mean of the members' changes, weighted by samples, with only one of them in memory at a time.

    Args:
        base: float32 [P], the weights that all members started from.
    """

    def __init__(self, base: np.ndarray) -> None:
        self._base, self._sum, self._samples = base, np.zeros(len(base)), 0

    def add(self, change: np.ndarray, samples: int) -> None:
        """Add a member's change, float64 [P], which is overwritten; in the order that all mergers use."""
        change *= samples
        self._sum += change
        self._samples += samples

    def result(self) -> np.ndarray:
        """``base`` plus the mean change, float64 [P]; ``base`` itself if nobody trained on any sample. Call it once."""
        self._sum /= max(self._samples, 1)
        self._sum += self._base
        return self._sum


def nesterov_step(
    base: np.ndarray, averaged: np.ndarray, momentum: np.ndarray, learning_rate: float, decay: float
) -> tuple[np.ndarray, np.ndarray]:
    """One step of SGD with Nesterov momentum on the pseudo-gradient ``base - averaged`` (DiLoCo, arXiv:2311.08105).

    Args:
        base: float32 [P], the weights of the round before.
        averaged: float64 [P], from ``WeightedMean``.
        momentum: float32 [P], of the round before; zeros in the first.
        learning_rate, decay: ``sync.outer_lr`` and ``sync.outer_momentum``.

    Returns:
        New weights float64 [P] and momentum float32 [P].
    """
    # In place: vectors may have hundreds of megabytes.
    pseudo_gradient = base.astype(np.float64)
    pseudo_gradient -= averaged
    step = momentum.astype(np.float64)
    step *= decay
    step += pseudo_gradient
    momentum = step.astype(np.float32)
    # The step uses the momentum as it is stored, so that the next merger, who reads it, continues from the same bits.
    step[:] = momentum
    step *= decay
    step += pseudo_gradient
    step *= learning_rate
    return np.subtract(base, step, out=step), momentum
