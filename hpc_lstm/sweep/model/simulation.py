"""Ranks that compute, meet and average, simulated message by message.

Each rank has a clock. In a cycle it computes for a time drawn at random, joins the meeting of all ranks, a sum over a
few bytes by recursive doubling, and then the sum over the weights. Every message waits for its sender and its receiver,
so a straggler holds up whom it would hold up in the run; clocks are never set back to a common zero. Nothing here knows
of expected maxima: it is what the closed formulas of ``jitter`` and ``fit`` are checked against.
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
        barrier_alpha_s: latency of a message of the meeting.
        alpha_s: latency of a message of an average, what Python does around it included.
        byte_s: seconds per byte of an average, 1 / beta.
        algorithm: of the average.
    """

    barrier_alpha_s: float
    alpha_s: float
    byte_s: float
    algorithm: Algorithm = "rabenseifner"

    def cycle_s(self, ranks: int, averaged_bytes: int) -> float:
        """Seconds of a meeting and an average (none of 0 bytes) where all ranks come at once."""
        meeting, _ = collectives.terms("recursive-doubling", ranks)
        latencies, volume = collectives.terms(self.algorithm, ranks)
        average = latencies * self.alpha_s + volume * averaged_bytes * self.byte_s if averaged_bytes else 0.0
        return meeting * self.barrier_alpha_s + average


class Compute(Protocol):
    """Draws how long ranks compute."""

    def draw(self, generator: np.random.Generator, ranks: int, cycles: int) -> np.ndarray:
        """float64 [ranks, cycles], seconds."""


@dataclass(frozen=True)
class MeasuredCompute:
    """Times as they were measured: a rank's mean, plus deviations from it by their quantiles.

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
class Outcome:
    """What the simulated ranks did, mean over ranks and cycles, in seconds.

    Attributes:
        cycle_s: from one cycle's end to the next.
        busy_s, wait_s, average_s: computing; in the meeting; in the average.
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
) -> Outcome:
    """Run ``cycles`` cycles on ``ranks`` ranks that begin together."""
    busy = compute.draw(generator, ranks, cycles)
    now = np.zeros(ranks)
    wait = average = 0.0
    for cycle in range(cycles):
        come = now + busy[:, cycle]
        met = collectives.arrivals("recursive-doubling", come, network.barrier_alpha_s, 0.0)
        now = met
        if averaged_bytes:
            now = collectives.arrivals(
                network.algorithm, met, network.alpha_s, averaged_bytes * network.byte_s
            )
        wait += float((met - come).mean())
        average += float((now - met).mean())
    return Outcome(float(now.mean()) / cycles, float(busy.mean()), wait / cycles, average / cycles)
