"""The straggler: the rank or node that the others wait for more often than chance explains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpc_lstm.text.counts import counted
from hpc_lstm.timing.barriers import Barriers
from hpc_lstm.timing.spans import Timing
from hpc_lstm.timing.timeline import PHASES

# Phases after start-up, which grow with the length of a run.
RUNNING = tuple(phase for phase in PHASES if phase not in ("startup", "load"))
# A rank is a straggler if it arrives last this many standard deviations more often than by chance, ...
DEVIATIONS = 4.0
# ... this many times as often, ...
TIMES = 1.5
# ... and the others wait for it this share of all ranks' time after start-up.
SHARE = 0.01
# A node is named instead of one of its ranks that has less than this share of the node's last arrivals.
WITHIN_NODE = 0.6
# Phases in which a rank works by itself between two barriers.
_OWN = ("preprocess", "compute", "average", "sync", "checkpoint", "evaluate")


@dataclass(frozen=True)
class Arrivals:
    """Who arrived last at the barriers of a run; R ranks.

    Attributes:
        barriers: number that every rank has recorded.
        merged: number of later ones, whose spans were merged.
        decided: number of ``barriers`` at which it is certain who arrived last.
        last: int64 [R], how often each rank did.
        caused_s: float64 [R], how long the others waited for it then, summed over them.
        lead_s: float64 [R], by how much it was later than the last but one, summed over barriers.
        error_ns: a barrier whose last two arrivals are closer than this is not decided.
        starts: of each start of the run, how many barriers were decided, and bool [R], which ranks took part: a resumed
            run may have another number of them.
    """

    barriers: int
    merged: int
    decided: int
    last: np.ndarray
    caused_s: np.ndarray
    lead_s: np.ndarray
    error_ns: int
    starts: list[tuple[int, np.ndarray]]

    def by_chance(self, places: np.ndarray) -> tuple[float, float]:
        """How often one of these ranks would arrive last by chance: mean and standard deviation of that number."""
        shares = [(decided, taking[places].sum() / taking.sum()) for decided, taking in self.starts]
        mean = sum(decided * share for decided, share in shares)
        variance = sum(decided * share * (1 - share) for decided, share in shares)
        return float(mean), math.sqrt(variance)


@dataclass(frozen=True)
class Straggler:
    """One rank, or the ranks of one node.

    Attributes:
        name: such as ``rank 3 (node n2)``.
        places: int64 [n], its ranks' places among all ranks.
        last: how often it arrived last.
    """

    name: str
    places: np.ndarray
    last: int


def count_arrivals(timing: Timing, starts: Sequence[Barriers]) -> Arrivals:
    """Add up who arrived last over the barriers of all starts of a run."""
    ranks = len(timing.ranks)
    last, caused, lead = np.zeros(ranks, np.int64), np.zeros(ranks), np.zeros(ranks)
    for each in starts:
        chosen = each.decided
        place = np.searchsorted(timing.ranks, timing.rank[each.last[chosen]])
        np.add.at(last, place, 1)
        np.add.at(caused, place, each.caused_ns[chosen] / 1e9)
        np.add.at(lead, place, each.lead_ns[chosen] / 1e9)
    return Arrivals(
        barriers=sum(int(each.complete.sum()) for each in starts),
        merged=sum(each.merged for each in starts),
        decided=int(last.sum()),
        last=last,
        caused_s=caused,
        lead_s=lead,
        error_ns=max((each.error_ns for each in starts), default=0),
        starts=[(int(each.decided.sum()), np.isin(timing.ranks, timing.rank[each.parts])) for each in starts],
    )


def running_seconds(timing: Timing) -> np.ndarray:
    """float64 [R, P]: ``Timing.rank_seconds`` without start-up."""
    seconds = timing.rank_seconds()
    for phase in set(PHASES) - set(RUNNING):
        seconds[:, PHASES.index(phase)] = 0
    return seconds


def find_straggler(timing: Timing, found: Arrivals) -> Straggler | None:
    """The rank or node that delays the others, if that is more than chance and costs enough to mention."""
    if not found.decided:
        return None

    # Candidates: the node that was last most often, if its ranks take turns at it; then the rank.
    nodes = np.array([timing.node[np.flatnonzero(timing.rank == rank)[-1]] for rank in timing.ranks])
    rank = int(np.argmax(found.last))
    candidates = [(f"rank {timing.ranks[rank]} (node {nodes[rank]})", np.array([rank]))]
    names = list(dict.fromkeys(nodes.tolist()))
    if len(names) > 1:
        node = max(names, key=lambda name: int(found.last[nodes == name].sum()))
        places = np.flatnonzero(nodes == node)
        if len(places) > 1 and found.last[rank] < WITHIN_NODE * found.last[places].sum():
            candidates.insert(0, (f"node {node} (ranks {_listed(timing.ranks[places])})", places))

    # By chance, the count of last arrivals is a sum of binomial ones, one of each start.
    total = running_seconds(timing).sum()
    for name, places in candidates:
        count = int(found.last[places].sum())
        chance, deviation = found.by_chance(places)
        more = count - chance
        often = more > DEVIATIONS * deviation and more >= (TIMES - 1) * chance
        if often and found.caused_s[places].sum() >= SHARE * total:
            return Straggler(name, places, count)
    return None


def arrivals_note(timing: Timing, found: Arrivals, straggler: Straggler | None) -> str:
    """One sentence on who arrived last and what that cost; empty if the ranks passed no barriers."""
    if not found.barriers:
        return ""
    barriers = counted(found.barriers, "barrier")
    if found.merged:
        barriers = f"the first {found.barriers:,} of {found.barriers + found.merged:,} barriers"
    if not found.decided:
        return (
            f"Which rank arrived last is uncertain at all of {barriers}: the arrivals are closer together than the "
            "clocks' error."
        )
    if found.decided < found.barriers:
        barriers = f"the {found.decided:,} of {barriers} with a certain last arrival"
    total = running_seconds(timing).sum()
    if straggler is None:
        most = int(np.argmax(found.last))
        chance, _ = found.by_chance(np.array([most]))
        return (
            f"No rank stands out as a straggler: rank {timing.ranks[most]} arrived last most often, at "
            f"{found.last[most]:,} of {barriers} ({chance / found.decided:.0%} by chance), and the others waited for "
            f"it {found.caused_s[most] / total:.1%} of all ranks' time after start-up."
        )
    caused = found.caused_s[straggler.places].sum()
    return (
        f"{straggler.name[0].upper()}{straggler.name[1:]} arrived last at {straggler.last / found.decided:.0%} of "
        f"{barriers} and caused {_duration(caused)} of waiting, {caused / total:.0%} of all ranks' time after "
        f"start-up; {_cause(timing, straggler)}."
    )


def _cause(timing: Timing, straggler: Straggler) -> str:
    """The phase in which it takes longer than the others, which take as many steps."""
    seconds = running_seconds(timing)
    others = np.delete(seconds, straggler.places, axis=0)
    more = seconds[straggler.places].mean(axis=0) - np.median(others, axis=0)
    phase = max(_OWN, key=lambda name: more[PHASES.index(name)])
    usual = float(np.median(others[:, PHASES.index(phase)]))
    extra = float(more[PHASES.index(phase)])
    if extra <= 0.05 * usual:
        return "it takes no longer than the others in any phase; the trace shows when it is late"
    if usual == 0:
        return f"it spends {_duration(extra)} in {phase}, where the others spend none"
    step = "compute per step" if phase == "compute" else phase
    return f"its {step} is {1 + extra / usual:.2g} times the others' median"


def _listed(ranks: np.ndarray) -> str:
    few = ", ".join(str(rank) for rank in ranks[:4])
    if len(ranks) <= 4:
        return few
    consecutive = np.ptp(ranks) == len(ranks) - 1
    return f"{ranks[0]} to {ranks[-1]}" if consecutive else f"{few}, ..."


def _duration(seconds: float) -> str:
    return f"{seconds:,.0f} s" if seconds >= 10 else f"{seconds:.2g} s"
