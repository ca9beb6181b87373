"""Which rank, or which node, the others wait for, and whether that is more than chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpc_lstm.timing.barriers import Meetings
from hpc_lstm.timing.spans import Timing
from hpc_lstm.timing.timeline import PHASES

# Phases after start-up: they grow with the length of a run.
RUNNING = tuple(phase for phase in PHASES if phase not in ("startup", "load"))
# A rank is named if it is last this many standard deviations more often than by chance, ...
DEVIATIONS = 4.0
# ... this many times as often, ...
TIMES = 1.5
# ... and the others wait for it this share of all ranks' time after start-up.
SHARE = 0.01
# A node is named instead of a rank of it that has less than this share of the node's last arrivals.
WITHIN_NODE = 0.6
# What a rank does by itself between two meetings.
_OWN = ("preprocess", "compute", "average", "sync", "checkpoint", "evaluate")


@dataclass(frozen=True)
class Arrivals:
    """Who came last; R ranks.

    Attributes:
        meetings: those that every rank has recorded.
        later: those that came afterwards, which were merged.
        decided: those of them in which it can be told who came last.
        last: int64 [R], how often each rank did.
        caused_s: float64 [R], how long the others waited for it then, all together.
        lead_s: float64 [R], by how much it was later than the last but one, in all.
        error_ns: a meeting whose last two arrivals lay closer is not decided.
    """

    meetings: int
    later: int
    decided: int
    last: np.ndarray
    caused_s: np.ndarray
    lead_s: np.ndarray
    error_ns: int


@dataclass(frozen=True)
class Straggler:
    """One rank, or the ranks of one node.

    Attributes:
        name: such as ``rank 3 (node n2)``.
        places: int64 [n], of its ranks among all.
        last: how often it arrived last.
    """

    name: str
    places: np.ndarray
    last: int


def arrivals(timing: Timing, starts: Sequence[Meetings]) -> Arrivals:
    """Add up the meetings of all starts of a run."""
    ranks = len(timing.ranks)
    last, caused, lead = np.zeros(ranks, np.int64), np.zeros(ranks), np.zeros(ranks)
    for each in starts:
        chosen = each.decided
        place = np.searchsorted(timing.ranks, timing.rank[each.last[chosen]])
        np.add.at(last, place, 1)
        np.add.at(caused, place, each.caused_ns[chosen] / 1e9)
        np.add.at(lead, place, each.lead_ns[chosen] / 1e9)
    return Arrivals(
        meetings=sum(int(each.whole.sum()) for each in starts),
        later=sum(each.later for each in starts),
        decided=int(last.sum()),
        last=last,
        caused_s=caused,
        lead_s=lead,
        error_ns=max((each.error_ns for each in starts), default=0),
    )


def running_seconds(timing: Timing) -> np.ndarray:
    """float64 [R, P]: ``Timing.rank_seconds`` without start-up."""
    seconds = timing.rank_seconds()
    for phase in set(PHASES) - set(RUNNING):
        seconds[:, PHASES.index(phase)] = 0
    return seconds


def find_straggler(timing: Timing, found: Arrivals) -> Straggler | None:
    """The rank or node that holds the others up, if that is more than chance and worth a word."""
    ranks = len(timing.ranks)
    if not found.decided:
        return None
    nodes = np.array([timing.node[np.flatnonzero(timing.rank == rank)[-1]] for rank in timing.ranks])
    rank = int(np.argmax(found.last))
    candidates = [(f"rank {timing.ranks[rank]} (node {nodes[rank]})", np.array([rank]))]
    names = list(dict.fromkeys(nodes.tolist()))
    if len(names) > 1:
        node = max(names, key=lambda name: int(found.last[nodes == name].sum()))
        places = np.flatnonzero(nodes == node)
        if len(places) > 1 and found.last[rank] < WITHIN_NODE * found.last[places].sum():
            candidates.insert(0, (f"node {node} (ranks {_listed(timing.ranks[places])})", places))
    total = running_seconds(timing).sum()
    for name, places in candidates:
        count, chance = int(found.last[places].sum()), len(places) / ranks
        deviation = math.sqrt(found.decided * chance * (1 - chance))
        more = count - chance * found.decided
        often = more > DEVIATIONS * deviation and more >= (TIMES - 1) * chance * found.decided
        if often and found.caused_s[places].sum() >= SHARE * total:
            return Straggler(name, places, count)
    return None


def arrivals_note(timing: Timing, found: Arrivals, straggler: Straggler | None) -> str:
    """Who came last and what that cost, in one sentence; empty where ranks did not meet."""
    if not found.meetings:
        return ""
    met = f"{found.meetings:,} meeting{'s' * (found.meetings > 1)}"
    if found.later:
        met = f"the first {found.meetings:,} of {found.meetings + found.later:,} meetings"
    if not found.decided:
        return f"At none of {met} can it be told which rank arrived last: they came closer than the clocks' error."
    told = (
        met if found.decided == found.meetings else f"the {found.decided:,} where that can be told of {met}"
    )
    total = running_seconds(timing).sum()
    if straggler is None:
        most = int(np.argmax(found.last))
        return (
            f"No rank stands out as the one that others wait for: rank {timing.ranks[most]} arrived last most often, "
            f"at {found.last[most]:,} of {told} ({1 / len(timing.ranks):.0%} by chance), and the others waited for it "
            f"{found.caused_s[most] / total:.1%} of all ranks' time after start-up."
        )
    caused = found.caused_s[straggler.places].sum()
    return (
        f"{straggler.name[0].upper()}{straggler.name[1:]} arrived last at {straggler.last / found.decided:.0%} of "
        f"{told} and caused {_duration(caused)} of waiting, {caused / total:.0%} of all ranks' time after start-up; "
        f"{_why(timing, straggler)}."
    )


def _why(timing: Timing, straggler: Straggler) -> str:
    """In which phase it takes longer than the others, who take as many steps."""
    seconds = running_seconds(timing)
    others = np.delete(seconds, straggler.places, axis=0)
    more = seconds[straggler.places].mean(axis=0) - np.median(others, axis=0)
    phase = max(_OWN, key=lambda name: more[PHASES.index(name)])
    usual = float(np.median(others[:, PHASES.index(phase)]))
    extra = float(more[PHASES.index(phase)])
    if extra <= 0.05 * usual:
        return "it takes no longer than the others in any phase, so look at when it is late in the trace"
    if usual == 0:
        return f"it alone spends time in {phase}, {_duration(extra)}"
    step = "compute per step" if phase == "compute" else phase
    return f"its {step} is {1 + extra / usual:.2g} times the others' median"


def _listed(ranks: np.ndarray) -> str:
    few = ", ".join(str(rank) for rank in ranks[:4])
    return (
        few
        if len(ranks) <= 4
        else f"{ranks[0]} to {ranks[-1]}"
        if np.ptp(ranks) == len(ranks) - 1
        else f"{few}, ..."
    )


def _duration(seconds: float) -> str:
    return f"{seconds:,.0f} s" if seconds >= 10 else f"{seconds:.2g} s"
