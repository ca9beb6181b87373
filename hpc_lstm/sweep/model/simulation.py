"""Ranks that compute, synchronize and average, simulated message by message.

Each rank has a clock. In a cycle it computes for a random time, enters the barrier of all ranks, an all-reduce of a few
bytes by recursive doubling, and then the all-reduce of the weights. Every message waits for its sender and its
receiver, so that a straggler delays the same ranks as in a run; the clocks are never reset to a common zero. No formula
for expected maxima is used here: the simulation is what those of ``jitter`` and ``fit`` are checked against.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hpc_lstm.sweep.model import collectives
from hpc_lstm.sweep.model.collectives import Algorithm


@dataclass(frozen=True)
class Network:
    """What messages cost.

    Attributes:
        barrier_alpha_s: latency of a message of the barrier.
        alpha_s: latency of a message of an average, including Python's overhead around it.
        byte_s: seconds per byte of an average, 1 / beta.
        algorithm: of the average.
    """

    barrier_alpha_s: float
    alpha_s: float
    byte_s: float
    algorithm: Algorithm = "rabenseifner"

    def cycle_s(self, ranks: int, averaged_bytes: int, barriers: float = 1.0) -> float:
        """Seconds of a barrier and an average (none of 0 bytes) where all ranks arrive together.

        Args:
            barriers: in a cycle; less than 1 where several averages follow each other without one.
        """
        barrier, _ = collectives.terms("recursive-doubling", ranks)
        latencies, volume = collectives.terms(self.algorithm, ranks)
        average = latencies * self.alpha_s + volume * averaged_bytes * self.byte_s if averaged_bytes else 0.0
        return barriers * barrier * self.barrier_alpha_s + average


class Compute(Protocol):
    """Draws how long ranks compute."""

    def draw(self, generator: np.random.Generator, ranks: int, cycles: int) -> np.ndarray:
        """float64 [ranks, cycles], seconds."""


@dataclass(frozen=True)
class MeasuredCompute:
    """Times drawn from measured ones: a rank's mean, plus deviations from it, given by their quantiles.

    Attributes:
        means: float64, means of ranks over a cycle, in seconds; each simulated rank takes one at random, or its own
            where there are as many ranks.
        quantiles: float64 [Q], quantiles of the deviations from them, equally spaced from 0 to 1.
    """

    means: np.ndarray
    quantiles: np.ndarray

    def draw(self, generator: np.random.Generator, ranks: int, cycles: int) -> np.ndarray:
        means = self.means if len(self.means) == ranks else generator.choice(self.means, ranks)
        places = generator.uniform(0, len(self.quantiles) - 1, (ranks, cycles))
        deviations = np.interp(places, np.arange(len(self.quantiles)), self.quantiles)
        return np.maximum(0.0, means[:, None] + deviations)


@dataclass(frozen=True)
class CycleTimes:
    """Times of the simulated ranks, means over ranks and cycles, in seconds.

    Attributes:
        cycle_s: from one cycle's end to the next.
        busy_s, wait_s, average_s: computing; in the barrier; in the average.
    """

    cycle_s: float
    busy_s: float
    wait_s: float
    average_s: float


def simulate(
    compute: Compute,
    network: Network,
    averaged_bytes: int,
    ranks: int,
    cycles: int,
    generator: np.random.Generator,
) -> CycleTimes:
    """Simulate ``cycles`` cycles of ``ranks`` ranks that start together."""
    busy = compute.draw(generator, ranks, cycles)
    now = np.zeros(ranks)
    wait = average = 0.0
    for cycle in range(cycles):
        arrived = now + busy[:, cycle]
        released = collectives.arrivals("recursive-doubling", arrived, network.barrier_alpha_s, 0.0)
        now = released
        if averaged_bytes:
            now = collectives.arrivals(
                network.algorithm, released, network.alpha_s, averaged_bytes * network.byte_s
            )
        wait += float((released - arrived).mean())
        average += float((now - released).mean())
    return CycleTimes(float(now.mean()) / cycles, float(busy.mean()), wait / cycles, average / cycles)
