"""One time axis for the ranks of a run, and for the runs of several clusters.

Within a run the axis is rank 0's clock: each rank's times are corrected by what ``clocks`` measured at the start and at
the end of the run, interpolated linearly in between. Runs of earlier versions use their nodes' wall clocks.

Clusters cannot ask each other for the time. They are aligned by the wall clocks of their ranks 0, within the limits
that causality sets: no cluster sees a round closed before another one, which took part in it, began to upload its
contribution. That is Cristian's method with the object store in place of the network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpc_lstm.text.counts import counted
from hpc_lstm.timing.spans import Timing


@dataclass(frozen=True)
class Alignment:
    """How a run's axis is shifted to match that of a reference run.

    Attributes:
        shift_ns: added to the run's times; 0: the wall clocks are used as they are.
        low_ns, high_ns: limits of ``shift_ns`` that follow from the rounds; None: they set no such limit.
        rounds: number of rounds that set limits: both runs recorded them, and one of the two took part or both did.
    """

    shift_ns: int = 0
    low_ns: int | None = None
    high_ns: int | None = None
    rounds: int = 0

    @property
    def contradictory(self) -> bool:
        """True if no shift agrees with all rounds, as when a wall clock was set during the run."""
        return self.low_ns is not None and self.high_ns is not None and self.low_ns > self.high_ns


def unix_ns(timing: Timing, part: int, ns: np.ndarray) -> np.ndarray:
    """Times of a part, ns since its origin, as ns since 1970-01-01 UTC by rank 0's clock; int64 of the same shape."""
    if timing.start_unix_ns[part] == 0:
        return timing.origin_unix_ns[part] + ns
    (first_at, first, _), (last_at, last, _) = timing.clock_ns[part].tolist()
    if last_at == first_at:
        return timing.start_unix_ns[part] + ns + first
    drift = np.interp(ns, (first_at, last_at), (0, last - first))
    return timing.start_unix_ns[part] + ns + first + np.rint(drift).astype(np.int64)


def clock_error_ns(timing: Timing) -> int | None:
    """The largest error of any rank's clock against rank 0's; None if some were never compared."""
    errors = timing.clock_ns[:, :, 2]
    return None if (errors < 0).any() else int(errors.max())


def clock_note(timing: Timing) -> str:
    """One sentence on how well the ranks' clocks agree."""
    error = clock_error_ns(timing)
    if error is None:
        return "The ranks' clocks were not compared: times are by the nodes' wall clocks, whose error is not known."
    text = (
        f"The ranks' clocks were compared over MPI: all times are by rank 0's clock, within {_length(error)}"
    )
    at, offset = timing.clock_ns[:, :, 0], timing.clock_ns[:, :, 1]
    once = int((at[:, 0] == at[:, 1]).sum())
    if once:
        text += (
            f"; {once} of {len(at)} processes ended before a second comparison, so their drift is not known"
        )
    drift = np.abs(offset[:, 1] - offset[:, 0])
    significant = drift[drift > timing.clock_ns[:, :, 2].sum(axis=1)]
    if len(significant):
        text += f", corrected for a drift of up to {_length(int(significant.max()))}"
    return f"{text}."


def align_run(timing: Timing, reference: Timing) -> Alignment:
    """Align a run with a reference run by the wall clocks and the rounds that both recorded."""
    mine, theirs = _round_times(timing), _round_times(reference)
    low: list[int] = []
    high: list[int] = []
    rounds = 0
    for number in mine.keys() & theirs.keys():
        (uploaded, seen), (their_upload, their_seen) = mine[number], theirs[number]
        if their_upload is not None:
            low.append(their_upload - seen)
        if uploaded is not None:
            high.append(their_seen - uploaded)
        rounds += uploaded is not None or their_upload is not None
    found = Alignment(0, max(low, default=None), min(high, default=None), rounds)
    if found.contradictory:
        return found

    # The smallest shift within the limits.
    shift = max(0, found.low_ns) if found.low_ns is not None else 0
    shift = min(shift, found.high_ns) if found.high_ns is not None else shift
    return Alignment(shift, found.low_ns, found.high_ns, found.rounds)


def alignment_note(name: str, reference: str, found: Alignment) -> str:
    """One sentence on how well two clusters' axes agree."""
    if not found.rounds:
        return (
            f"{name} is aligned with {reference} by their wall clocks alone, whose error is not known: both recorded "
            "no round in which one of them took part."
        )
    rounds = f"{counted(found.rounds, 'round')} that both recorded"
    if found.contradictory:
        return (
            f"{name} is aligned with {reference} by their wall clocks, which contradict {rounds} whatever the shift: "
            "a clock was set during the run, so the error is not known."
        )
    low = "" if found.low_ns is None else _seconds(found.low_ns - found.shift_ns)
    high = "" if found.high_ns is None else _seconds(found.high_ns - found.shift_ns)
    limits = f"between {low} and {high}" if low and high else f"at most {high}" if high else f"at least {low}"
    shifted = f", shifted by {_seconds(found.shift_ns)}" if found.shift_ns else ""
    return (
        f"{name} is aligned with {reference} by their wall clocks{shifted}; according to {rounds} the error is "
        f"{limits}."
    )


def _round_times(timing: Timing) -> dict[int, tuple[int | None, int]]:
    """By round: the earliest time of the run's contribution (None: it was not counted), and when it saw the end."""
    found: dict[int, tuple[int | None, int]] = {}
    for part, number, brought, seen in timing.rounds.T.tolist():
        times = unix_ns(timing, part, np.array([brought, seen])).tolist()
        before = found.get(number, (None, times[1]))
        own = None if brought < 0 else times[0] if before[0] is None else min(before[0], times[0])
        found[number] = (before[0] if own is None else own, min(before[1], times[1]))
    return found


def _length(ns: int) -> str:
    return f"{ns / 1e3:.3g} us" if ns < 1e6 else f"{ns / 1e6:.3g} ms"


def _seconds(ns: int) -> str:
    return f"{ns / 1e9:+.3f} s"
