"""The steady state of a run, from its timing files: without warm-up, start-up, validation and checkpoints.

A cycle is the time between two synchronizations of all ranks. It ends where a rank leaves the ``wait`` span of the
synchronization, which all ranks do at the same moment, up to the latency of the all-reduce in it. ``history.jsonl``
has the step of each synchronization. What is measured begins with the first one at or after the warm-up and ends with
the one ``steps`` steps later; both lie just after a ``wait``, so that it is whole cycles: average, steps, wait.

Where training takes several epochs of a store, an epoch may end between two averages, which ends a cycle early. Such
cycles are left out, so that all cycles of a measurement have the same number of steps. Where GPUs average between the
steps of a call, the hosts meet once a call, and what was measured of it is shared out over its averages.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpc_lstm.errors import InputError
from hpc_lstm.runs import directory, history
from hpc_lstm.timing.spans import Timing, load_timing
from hpc_lstm.timing.timeline import PHASES

# Phases of the steady state.
STEADY = ("preprocess", "compute", "average", "wait", "sync")
# Phases that a rank spends without the others, whose length therefore differs between ranks.
BUSY = ("preprocess", "compute", "sync")


@dataclass(frozen=True)
class Measurement:
    """The steady state of one run.

    Attributes:
        interval: number of steps in each cycle.
        calls: float64 [R, C, P], seconds of each rank in each phase (order of ``PHASES``) between two meetings.
        nodes: host name of each rank.
        averages: cycles between two meetings.
    """

    interval: int
    calls: np.ndarray
    nodes: list[str]
    averages: int = 1

    @property
    def cycles(self) -> int:
        """Number of cycles, M."""
        return self.calls.shape[1] * self.averages

    @property
    def steps(self) -> int:
        """Number of measured steps of each rank."""
        return self.interval * self.cycles

    @property
    def seconds(self) -> float:
        """Seconds of the steady state, mean over ranks."""
        return float(sum(self.phase_seconds.values()))

    @property
    def phase_seconds(self) -> dict[str, float]:
        """Seconds in each phase of the steady state, mean over ranks."""
        return {phase: float(self.of(phase).sum(axis=1).mean()) for phase in STEADY}

    def of(self, *phases: str) -> np.ndarray:
        """float64 [R, C]: seconds in these phases together."""
        return self.calls[:, :, [PHASES.index(phase) for phase in phases]].sum(axis=2)

    @property
    def busy(self) -> np.ndarray:
        """float64 [R, M]: seconds of each cycle that a rank spent without the others.

        Of several cycles between two meetings only the sum is known. They share it alike, and its deviation from the
        mean so that cycles have the variance of independent ones.
        """
        sums = self.of(*BUSY)
        means = sums.mean(axis=1, keepdims=True)
        each = means / self.averages + (sums - means) / self.averages**0.5
        return np.repeat(each, self.averages, axis=1)

    @property
    def meeting_s(self) -> float:
        """Seconds of a synchronization whose ranks all arrive together: the least wait over ranks, mean over cycles."""
        return float(self.of("wait").min(axis=0).mean()) / self.averages

    @property
    def average_s(self) -> float:
        """Seconds of one average, mean over ranks and cycles."""
        return float(self.of("average").mean()) / self.averages


def measure(
    run_dir: str | Path, warmup: int, steps: int, interval: int, *, averages: bool = True
) -> Measurement:
    """The steady state of a completed run.

    Args:
        warmup: steps before the measured ones.
        steps: steps to measure, both whole intervals.
        interval: steps between two averages, or, where they average less often, meetings; cycles of fewer are left
            out.
        averages: ranks average at each meeting; else cycles with an average, that of an epoch's end, are left out.

    Raises:
        InputError: the run is too short, was killed or resumed, or so long that its spans were merged.
    """
    run = directory.at(run_dir)
    timing = load_timing(run_dir)
    if timing.starts > 1 or not timing.complete.all():
        raise InputError(f"{run.path}: was killed or resumed; a sweep measures runs in one piece")
    meetings = [entry["step"] for entry in history.read_history(run.history) if entry["kind"] == "train"]
    inside = [i for i, step in enumerate(meetings) if warmup <= step <= warmup + steps]
    if len(inside) < 2:
        raise InputError(
            f"{run.path}: took {meetings[-1] if meetings else 0} steps, too few for {warmup} of warm-up and {steps} "
            "to measure"
        )
    first, last = inside[0], inside[-1]
    cycles = np.stack(
        [
            _cycles(*_spans(timing, part), first, last, f"{run.path}: rank {timing.rank[part]}")
            for part in range(len(timing.rank))
        ]
    )
    taken = np.diff(meetings[first : last + 1])
    whole_intervals = taken[taken % interval == 0] // interval
    several = int(np.bincount(whole_intervals).argmax()) if averages and whole_intervals.size else 1
    whole = taken == several * interval
    if not averages:
        whole &= cycles[:, :, PHASES.index("average")].max(axis=0) == 0
    if not whole.any():
        raise InputError(
            f"{run.path}: its epochs end before {interval} steps were taken between two meetings of the ranks; take a "
            "larger data.store, or more sweep.steps"
        )
    return Measurement(interval, cycles[:, whole], timing.node, several)


def _spans(timing: Timing, part: int) -> tuple[np.ndarray, np.ndarray]:
    chunks = list(timing.spans(part))
    return np.concatenate([phase for phase, _ in chunks]), np.concatenate([values for _, values in chunks], 1)


def _cycles(phase: np.ndarray, values: np.ndarray, first: int, last: int, where: str) -> np.ndarray:
    """float64 [M, P]: seconds in each phase between the ends of meetings ``first`` and ``last``."""
    _, end, busy, count, meeting = values  # rows of ``SPAN_FIELDS``
    if count.max() > 1:
        raise InputError(f"{where}: has more spans than are kept one by one; measure fewer steps")
    ends = end[meeting >= 0]
    if len(ends) <= last:
        raise InputError(f"{where}: met the others {len(ends)} times, expected more than {last}")
    edges = ends[first : last + 1]
    cycle = np.searchsorted(edges, end) - 1  # a span that ends with a meeting belongs to the cycle before it
    seconds = np.zeros((len(edges) - 1, len(PHASES)))
    inside = (cycle >= 0) & (cycle < len(edges) - 1)
    np.add.at(seconds, (cycle[inside], phase[inside]), busy[inside] / 1e9)
    return seconds
