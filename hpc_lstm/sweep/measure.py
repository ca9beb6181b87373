"""The steady state of a run, from its timing files: without warm-up, start-up, validation and checkpoints.

A cycle is the time between two averages of all ranks, or between two of their meetings where they average less often.
Where they meet at each average, it ends with the average that follows the ``wait`` of the meeting, which all ranks
leave at the same moment, up to the latency of what they exchange. ``history.jsonl`` has the step of each meeting. What
is measured begins with the first one at or after the warm-up and ends with the last one of the steps to measure.

Where GPUs average between the steps of a call, ranks meet at the end of a call alone. What was measured of it is that
of several cycles together. Where training takes several epochs of a store, an epoch may end between two averages, which
ends a cycle early. Such cycles are left out, so that all cycles of a measurement have the same number of steps.
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
        calls: float64 [R, C, P], seconds of each rank in each phase (order of ``PHASES``) from meeting to meeting.
        nodes: host name of each rank.
        lengths: int [C], cycles from meeting to meeting.
    """

    interval: int
    calls: np.ndarray
    nodes: list[str]
    lengths: np.ndarray

    @property
    def cycles(self) -> int:
        """Number of cycles."""
        return int(self.lengths.sum())

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
        """float64 [R, C]: seconds that a rank spent without the others, from meeting to meeting."""
        return self.of(*BUSY)

    @property
    def meeting_s(self) -> float:
        """Seconds of a synchronization whose ranks all arrive together, per cycle: the least wait over ranks."""
        return float(self.of("wait").min(axis=0).sum()) / self.cycles

    @property
    def average_s(self) -> float:
        """Seconds of one average, mean over ranks and cycles."""
        return float(self.of("average").mean(axis=0).sum()) / self.cycles


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
        took = meetings[-1] if meetings else 0
        if took < warmup + steps:
            raise InputError(
                f"{run.path}: took {took} steps, too few for {warmup} of warm-up and {steps} to measure"
            )
        raise InputError(
            f"{run.path}: its ranks met less than twice between steps {warmup} and {warmup + steps}; take more "
            "sweep.steps"
        )
    first, last = inside[0], inside[-1]
    calls = np.stack(
        [
            _calls(*_spans(timing, part), first, last, f"{run.path}: rank {timing.rank[part]}")
            for part in range(len(timing.rank))
        ]
    )
    taken = np.diff(meetings[first : last + 1])
    if averages:
        whole = taken % interval == 0
    else:
        whole = (taken == interval) & (calls[:, :, PHASES.index("average")].max(axis=0) == 0)
    if not whole.any():
        raise InputError(
            f"{run.path}: its epochs end before {interval} steps were taken between two meetings of the ranks; take a "
            "larger data.store, or more sweep.steps"
        )
    return Measurement(interval, calls[:, whole], timing.node, taken[whole] // interval)


def _spans(timing: Timing, part: int) -> tuple[np.ndarray, np.ndarray]:
    chunks = list(timing.spans(part))
    return np.concatenate([phase for phase, _ in chunks]), np.concatenate([values for _, values in chunks], 1)


def _calls(phase: np.ndarray, values: np.ndarray, first: int, last: int, where: str) -> np.ndarray:
    """float64 [C, P]: seconds in each phase between the ends of meetings ``first`` and ``last``."""
    _, end, busy, count, meeting = values  # rows of ``SPAN_FIELDS``
    if count.max() > 1:
        raise InputError(f"{where}: has more spans than are kept one by one; measure fewer steps")
    met = np.flatnonzero(meeting >= 0)
    if len(met) <= last:
        raise InputError(f"{where}: met the others {len(met)} times, expected more than {last}")
    ends = [_end_of_meeting(phase, span) for span in met[first : last + 1]]
    edges = end[ends]
    call = np.searchsorted(edges, end) - 1  # a span that ends with a meeting belongs to the call before it
    seconds = np.zeros((len(edges) - 1, len(PHASES)))
    inside = (call >= 0) & (call < len(edges) - 1)
    np.add.at(seconds, (call[inside], phase[inside]), busy[inside] / 1e9)
    return seconds


def _end_of_meeting(phase: np.ndarray, wait: int) -> int:
    """The last span of a meeting: its average, which follows the wait at once or behind a moment of the host's."""
    for span in range(wait + 1, min(wait + 3, len(phase))):
        if PHASES[phase[span]] == "average":
            return span
    return wait
