"""The steady state of a run, from its timing files: without warm-up, start-up, validation and checkpoints.

A cycle is the time between two synchronizations of all ranks. It ends where a rank leaves the ``wait`` span of the
synchronization, which all ranks do at the same moment, up to the latency of the all-reduce in it. ``history.jsonl``
has the step of each synchronization. What is measured begins with the first one at or after the warm-up and ends with
the one ``steps`` steps later; both lie just after a ``wait``, so that it is whole cycles: average, steps, wait.

Where training takes several epochs of a store, an epoch may end between two averages, which ends a cycle early. Such
cycles are left out, so that all cycles of a measurement have the same number of steps.
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
        cycles: float64 [R, M, P], seconds of each rank in each phase (order of ``PHASES``) in each cycle.
        nodes: host name of each rank.
    """

    interval: int
    cycles: np.ndarray
    nodes: list[str]

    @property
    def steps(self) -> int:
        """Number of measured steps of each rank."""
        return self.interval * self.cycles.shape[1]

    @property
    def seconds(self) -> float:
        """Seconds of the steady state, mean over ranks."""
        return float(sum(self.phase_seconds.values()))

    @property
    def phase_seconds(self) -> dict[str, float]:
        """Seconds in each phase of the steady state, mean over ranks."""
        return {phase: float(self.of(phase).sum(axis=1).mean()) for phase in STEADY}

    def of(self, *phases: str) -> np.ndarray:
        """float64 [R, M]: seconds in these phases together."""
        return self.cycles[:, :, [PHASES.index(phase) for phase in phases]].sum(axis=2)

    @property
    def busy(self) -> np.ndarray:
        """float64 [R, M]: seconds of each cycle that a rank spent without the others."""
        return self.of(*BUSY)

    @property
    def meeting_s(self) -> float:
        """Seconds of a synchronization whose ranks all arrive together: the least wait over ranks, mean over cycles."""
        return float(self.of("wait").min(axis=0).mean())

    @property
    def average_s(self) -> float:
        """Seconds of one average, mean over ranks and cycles."""
        return float(self.of("average").mean())


def measure(
    run_dir: str | Path, warmup: int, steps: int, interval: int, *, averages: bool = True
) -> Measurement:
    """The steady state of a completed run.

    Args:
        warmup: steps before the measured ones.
        steps: steps to measure, both whole intervals.
        interval: steps between two meetings of all ranks; cycles of fewer are left out.
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
    whole = np.diff(meetings[first : last + 1]) == interval
    if not averages:
        whole &= cycles[:, :, PHASES.index("average")].max(axis=0) == 0
    if not whole.any():
        raise InputError(
            f"{run.path}: its epochs end before {interval} steps were taken between two meetings of the ranks; take a "
            "larger data.store, or more sweep.steps"
        )
    return Measurement(interval, cycles[:, whole], timing.node)


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
