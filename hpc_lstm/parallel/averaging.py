"""Averaging over the ranks of one cluster: one flat vector, weighted by the samples each rank has seen.

Full-batch gradient descent on N ranks that average every step is then exactly gradient descent on one.
(Periodic averaging with more local steps: McMahan et al. 2017, arXiv 1602.05629; Stich 2018, arXiv 1805.09767.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from hpc_lstm.parallel.device_allreduce import DeviceSum
from hpc_lstm.parallel.world import World


class Averaged(Protocol):
    """What holds the weights that are averaged: an engine, see ``model.engine``."""

    def parameters(self) -> np.ndarray: ...

    def set_parameters(self, flat: np.ndarray) -> None: ...

    def moments(self) -> np.ndarray: ...

    def set_moments(self, flat: np.ndarray) -> None: ...

    def device_vectors(self, *, moments: bool) -> list[Any]: ...


@dataclass(frozen=True)
class Agreement:
    """What all ranks know after they have met.

    Attributes:
        samples: windows that all ranks have trained on since they last met.
        loss: their mean loss, weighted by samples; NaN if there were none.
        stop: some rank was asked to stop.
    """

    samples: int
    loss: float
    stop: bool


class Averager:
    """Agrees with the other ranks on the state of the run, and averages weights (and moments) with them.

    Args:
        what: ``"weights"`` or ``"weights+moments"``.
        on_device: adds up vectors in GPU memory; None: they go through host memory.
    """

    def __init__(self, world: World, what: str, on_device: DeviceSum | None = None) -> None:
        self._world = world
        self._moments = what == "weights+moments"
        self._on_device = on_device

    def warm_up(self, engine: Averaged) -> None:
        """Add up once for nothing: NCCL joins the GPUs at its first sum, which takes as long as many averages."""
        if self._on_device is not None and self._world.size > 1:
            copy = engine.device_vectors(moments=False)[0].scaled(1.0)
            self._on_device(copy.address, copy.length)

    def agree(self, samples: int, loss_sum: float) -> Agreement:
        """Agree on the state of the run, without averaging.

        Args:
            samples: windows that this rank has trained on since the last meeting.
            loss_sum: sum of their losses.
        """
        mine = np.array([samples, loss_sum, float(self._world.stop_requested)])
        total, loss, stop = self._world.allreduce_sum(mine)
        return Agreement(int(total), loss / total if total else float("nan"), stop > 0)

    def average(self, engine: Averaged, samples: int, total: int) -> None:
        """Replace every rank's weights by their mean, weighted by ``samples`` out of ``total``.

        Where nobody has trained since the last average (``total`` 0), the ranks weigh the same.
        """
        if self._world.size == 1:
            return
        share = samples / total if total else 1 / self._world.size
        if self._on_device is not None:
            for vector in engine.device_vectors(moments=self._moments):
                copy = vector.scaled(share)
                self._on_device(copy.address, copy.length)
                vector.assign(copy)
            return
        engine.set_parameters(self._mean(engine.parameters(), share))
        if self._moments:
            engine.set_moments(self._mean(engine.moments(), share))

    def mean_of(self, vector: np.ndarray) -> np.ndarray:
        """The plain mean of ``vector`` over the ranks, as a new float32 array."""
        return self._mean(vector.copy(), 1 / self._world.size)

    def _mean(self, vector: np.ndarray, share: float) -> np.ndarray:
        vector *= np.float32(share)
        return self._world.allreduce_sum(vector)
