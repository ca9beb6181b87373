"""One time axis for the ranks of a run, and for the runs of several clusters.

Inside a run it is rank 0's clock: each rank's times are moved by what ``clocks`` measured at the start and at
the end of the run, in a straight line between the two. Runs of earlier versions stand by their nodes' wall clocks.

Clusters cannot ask each other for the time. They stand by the wall clocks of their ranks 0, within what cause and
effect leave possible: no cluster sees a round closed before another one, which took part in it, began to bring its
contribution. That is Cristian's method with the object store in the place of the network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpc_lstm.timing.spans import Timing


@dataclass(frozen=True)
class Alignment:
    """How a run's axis is moved to stand beside the first run's.

    Attributes:
        shift_ns: added to the run's times; 0: the wall clocks are taken as they are.
        low_ns, high_ns: what ``shift_ns`` must lie between by the rounds; None: they set no such bound.
        rounds: how many rounds bear on it.
    """

    shift_ns: int = 0
    low_ns: int | None = None
    high_ns: int | None = None
    rounds: int = 0

    @property
    def contradictory(self) -> bool:
        """True if no shift agrees with all rounds, as where a wall clock was set while the run was under way."""
        return self.low_ns is not None and self.high_ns is not None and self.low_ns > self.high_ns


def unix_ns(timing: Timing, part: int, ns: np.ndarray) -> np.ndarray:
    """Times of a part, ns since its origin, as ns since 1970-01-01 UTC by rank 0's clock; int64 of the same shape."""
    if timing.start_unix_ns[part] == 0:
        return timing.origin_unix_ns[part] + ns
    (first_at, first, _), (last_at, last, _) = timing.clock_ns[part].tolist()
    if last_at == first_at:
        return timing.start_unix_ns[part] + ns + first
    offset = np.interp(ns, (first_at, last_at), (0, last - first))
    return timing.start_unix_ns[part] + ns + first + np.rint(offset).astype(np.int64)


def clock_error_ns(timing: Timing) -> int | None:
    """Largest error of a rank's place on the axis against rank 0, when its clock was compared; None: never was."""
    errors = timing.clock_ns[:, :, 2]
    return None if (errors < 0).any() else int(errors.max())


def clock_note(timing: Timing) -> str:
    """How well the ranks' clocks agree."""
    error = clock_error_ns(timing)
    if error is None:
        return "The ranks' clocks were not compared: they stand by their nodes' wall clocks, whose error is not known."
    text = f"The ranks' clocks were compared over MPI: they stand on rank 0's axis within {_length(error)}"
    at, offset = timing.clock_ns[:, :, 0], timing.clock_ns[:, :, 1]
    once = int((at[:, 0] == at[:, 1]).sum())
    if once:
        text += (
            f"; {once} of {len(at)} processes ended without a second comparison, so their drift is not known"
        )
    drift = np.abs(offset[:, 1] - offset[:, 0])
    seen = drift[drift > timing.clock_ns[:, :, 2].sum(axis=1)]
    if len(seen):
        text += f", a drift of up to {_length(int(seen.max()))} taken out"
    return f"{text}."


def align(timing: Timing, first: Timing) -> Alignment:
    """Where a run stands beside the first one, by the wall clocks and the rounds that both took part in."""
    mine, theirs = _rounds(timing), _rounds(first)
    low: list[int] = []
    high: list[int] = []
    for number in mine.keys() & theirs.keys():
        (brought, seen), (their_brought, their_seen) = mine[number], theirs[number]
        if their_brought is not None:
            low.append(their_brought - seen)
        if brought is not None:
            high.append(their_seen - brought)
    found = Alignment(0, max(low, default=None), min(high, default=None), max(len(low), len(high)))
    if found.contradictory:
        return found
    shift = max(0, found.low_ns) if found.low_ns is not None else 0
    shift = min(shift, found.high_ns) if found.high_ns is not None else shift
    return Alignment(shift, found.low_ns, found.high_ns, found.rounds)


def alignment_note(name: str, first: str, found: Alignment) -> str:
    """How well two clusters' axes agree, in one sentence."""
    if not found.rounds:
        return (
            f"{name} stands beside {first} by their wall clocks alone, whose error is not known: no round that both "
            "took part in was recorded."
        )
    rounds = f"{found.rounds} round{'s' * (found.rounds > 1)} that both took part in"
    if found.contradictory:
        return (
            f"{name} stands beside {first} by their wall clocks, which {rounds} contradict whatever the shift: a "
            "clock was set during the run, so their error is not known."
        )
    low = "any" if found.low_ns is None else _seconds(found.low_ns - found.shift_ns)
    high = "any" if found.high_ns is None else _seconds(found.high_ns - found.shift_ns)
    moved = f", moved by {_seconds(found.shift_ns)}," if found.shift_ns else ""
    return f"{name} stands beside {first} by their wall clocks{moved} and {rounds} allow an error from {low} to {high}."


def _rounds(timing: Timing) -> dict[int, tuple[int | None, int]]:
    """By number, when a run's contribution may first have been there (None: was not counted), and it saw the end."""
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
