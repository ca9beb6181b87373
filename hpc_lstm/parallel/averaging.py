"""Averaging over the ranks of one cluster: one flat vector, weighted by the samples that each rank has trained on.

Full-batch gradient descent on N ranks that average every step is then exactly gradient descent on one.
(Periodic averaging with more local steps: McMahan et al. 2017, arXiv 1602.05629; Stich 2018, arXiv 1805.09767.)
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, Protocol

import numpy as np

from hpc_lstm.parallel.averages_within import AveragesWithin
from hpc_lstm.parallel.device_allreduce import DeviceAllreduce
from hpc_lstm.parallel.work import AllWork, Done, Work
from hpc_lstm.parallel.world import World


class Averaged(Protocol):
    """What holds the weights that are averaged: an engine."""

    averages_within_calls: ClassVar[bool]
    steps_per_call: int

    def parameters(self) -> np.ndarray: ...

    def set_parameters(self, flat: np.ndarray) -> None: ...

    def moments(self) -> np.ndarray: ...

    def set_moments(self, flat: np.ndarray) -> None: ...

    def device_vectors(self, *, moments: bool) -> list[Any]: ...


@dataclass(frozen=True)
class Agreement:
    """What all ranks agree on; the same on every rank.

    Attributes:
        samples: windows that all ranks together have trained on since they last agreed.
        loss: their mean loss, weighted by samples; NaN if there were none.
        stop: some rank was asked to stop.
    """

    samples: int
    loss: float
    stop: bool


class Averager:
    """Averages weights (and moments) over all ranks, and lets them agree on loss and stopping.

    A context manager, which closes ``on_device`` at the end.

    Args:
        what: ``"weights"`` or ``"weights+moments"``.
        on_device: sums vectors in GPU memory; None: vectors are averaged in host memory.
    """

    def __init__(self, world: World, what: str, on_device: DeviceAllreduce | None = None) -> None:
        self._world = world
        self._moments = what == "weights+moments"
        self._on_device = on_device
        self._within: dict[int, AveragesWithin] = {}  # by the steps between averages

    def __enter__(self) -> Averager:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        freed = [within.close() for within in self._within.values()]
        # Of a GPU that has failed, a graph may be left, for which it would wait for ever; the process ends now.
        if self._on_device is not None and all(freed):
            self._on_device.close(failed=error is not None)

    def warm_up(self, engine: Averaged) -> None:
        """Run one all-reduce whose result is not used: NCCL's first connects the GPUs, and takes as long as many."""
        if self._on_device is not None and self._world.size > 1:
            vector = engine.device_vectors(moments=False)[0]
            self._sum(self._on_device, vector, vector.scaled(1.0))

    def is_queued(self, engine: Averaged) -> bool:
        """Whether ``average`` is queued on the GPU, behind the engine's steps so far and ahead of those to come."""
        if self._on_device is None or not self._on_device.takes_stream or self._world.size == 1:
            return False
        return all(vector.stream is not None for vector in engine.device_vectors(moments=self._moments))

    def within_calls(self, engine: Averaged, every: int) -> AveragesWithin | None:
        """Averages that the engine takes within its calls; None: it returns for each. The same on all ranks.

        Where a single rank trains, there is nothing to average, and no reason to return.

        Args:
            every: steps between averages; 0: they do not go by steps.
        """
        if not engine.averages_within_calls or not 0 < every <= engine.steps_per_call:
            return None
        by = self._on_device
        if self._world.size > 1 and not (by is not None and by.can_be_recorded and self.is_queued(engine)):
            return None
        if every not in self._within:
            self._within[every] = AveragesWithin(every, self._world.size, self._moments, by)
        return self._within[every]

    def agree(self, samples: int, loss_sum: float) -> Agreement:
        """Agree with the other ranks on the mean loss and on stopping, by one all-reduce.

        Args:
            samples: windows that this rank has trained on since the ranks last agreed.
            loss_sum: sum of their losses.
        """
        local = np.array([samples, loss_sum, float(self._world.stop_requested)])
        total, loss, stop = self._world.allreduce_sum(local)
        return Agreement(int(total), loss / total if total else float("nan"), stop > 0)

    def average(self, engine: Averaged, samples: int, total: int) -> Work:
        """Replace every rank's weights by their mean, weighted by ``samples`` out of ``total``; collective.

        Where no rank has trained since the last average (``total`` 0), all ranks have the same weight.

        Returns:
            The averaging, which is done unless it ``is_queued``.
        """
        if self._world.size == 1:
            return Done()
        share = samples / total if total else 1 / self._world.size
        if self._on_device is not None:
            works: list[Work] = []
            for vector in engine.device_vectors(moments=self._moments):
                copy = vector.scaled(share)
                self._sum(self._on_device, vector, copy)
                works.append(vector.assign(copy))
            return AllWork(works)
        engine.set_parameters(self._mean(engine.parameters(), share))
        if self._moments:
            engine.set_moments(self._mean(engine.moments(), share))
        return Done()

    def shortest(self, duration_ns: int) -> int:
        """The shortest of all ranks' times of an averaging: that of the last one to arrive, which waits for nobody."""
        return int(self._world.allreduce_min(np.array([duration_ns], np.int64))[0])

    def mean_of(self, vector: np.ndarray) -> np.ndarray:
        """The unweighted mean of ``vector`` over the ranks, as a new float32 array; collective."""
        return self._mean(vector.copy(), 1 / self._world.size)

    @staticmethod
    def _sum(on_device: DeviceAllreduce, vector: Any, copy: Any) -> None:
        """Sum a scaled copy of a vector over the ranks, on the vector's stream if the transport takes one."""
        stream = vector.stream if on_device.takes_stream else None
        if stream is None:
            copy.wait()
        with vector.current():
            on_device.allreduce_sum(copy.address, copy.length, stream)

    def _mean(self, vector: np.ndarray, share: float) -> np.ndarray:
        vector *= np.float32(share)
        return self._world.allreduce_sum(vector)
