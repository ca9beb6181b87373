"""How far each rank's clock is from rank 0's, so that the spans of all ranks can stand on one axis.

Cristian's method (Distributed Computing 3, 1989): a rank asks rank 0 for its time; the answer was given somewhere
between question and arrival, so taking the middle is wrong by at most half of the round trip. Of several exchanges
the one with the shortest round trip counts. Compared at the start of a run and again at its end, between which a
drift is then a straight line.

Rank 0 serves one rank after the other; whoever waits for its turn, or for the others', sleeps: ranks that share cores
would otherwise lengthen each other's round trips. So the time that it takes grows with the number of ranks, for each
by ``EXCHANGES`` round trips and ``LONGEST_LOOK_S``; a rank whose best is not good goes on for its share of
``BUDGET_NS``.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from hpc_lstm.parallel.world import World
from hpc_lstm.timing.timeline import Timeline

EXCHANGES = 16
# An error that needs no further exchanges.
GOOD_NS = 20_000
# What all ranks' exchanges may take together where they are slow, and the least share of it.
BUDGET_NS, LEAST_BUDGET_NS = 60_000_000, 1_000_000
# How often a rank looks whether it is its turn, or rank 0 whether the next rank has come: at first, and in the end.
FIRST_LOOK_S, LONGEST_LOOK_S = 0.00002, 0.0002
_MORE, _LAST = 1, 0


@dataclass(frozen=True)
class Comparison:
    """A rank's clock against rank 0's.

    Attributes:
        at_ns: when, by this rank's clock.
        offset_ns: rank 0's time less this rank's.
        error_ns: largest error of ``offset_ns``.
        start_unix_ns: rank 0's ``Timeline.origin_unix_ns``.
    """

    at_ns: int
    offset_ns: int
    error_ns: int
    start_unix_ns: int


def compare(world: World, timeline: Timeline) -> Comparison:
    """Compare this rank's clock with rank 0's, and write it into the timeline; collective."""
    if world.rank == 0:
        _serve(world, timeline)
        found = Comparison(timeline.now(), 0, 0, timeline.origin_unix_ns)
    else:
        found = _ask(world, timeline)
    timeline.clock(found.at_ns, found.offset_ns, found.error_ns, found.start_unix_ns)
    return found


def _serve(world: World, timeline: Timeline) -> None:
    """Answer every other rank's questions, one rank after the other."""
    question, answer = np.empty(1, np.int64), np.empty(2, np.int64)
    answer[1] = timeline.origin_unix_ns
    for rank in range(1, world.size):
        world.send(answer, rank)  # its turn
        _sleep_until_sent(world, rank)
        question[0] = _MORE
        while question[0] != _LAST:
            world.recv(question, rank)
            answer[0] = timeline.now()
            world.send(answer, rank)
    for rank in range(1, world.size):
        world.send(answer, rank)  # all are done


def _ask(world: World, timeline: Timeline) -> Comparison:
    """Ask rank 0 for its time, some times, and keep the best answer."""
    question, answer = np.full(1, _MORE, np.int64), np.empty(2, np.int64)
    _sleep_until_sent(world, 0)
    world.recv(answer, 0)
    best: Comparison | None = None
    end = timeline.now() + max(BUDGET_NS // (world.size - 1), LEAST_BUDGET_NS)
    exchanges = 0
    while question[0] != _LAST:
        exchanges += 1
        enough = exchanges >= EXCHANGES and best is not None and best.error_ns <= GOOD_NS
        if enough or timeline.now() > end:
            question[0] = _LAST
        asked = timeline.now()
        world.send(question, 0)
        world.recv(answer, 0)
        answered = timeline.now()
        # The answer's clock stood at a whole number of ns, and so does the middle: 1 ns for both roundings.
        error = (answered - asked + 1) // 2 + 1
        if best is None or error < best.error_ns:
            middle = (asked + answered) // 2
            best = Comparison(middle, int(answer[0]) - middle, error, int(answer[1]))
    _sleep_until_sent(world, 0)
    world.recv(answer, 0)
    assert best is not None
    return best


def _sleep_until_sent(world: World, rank: int) -> None:
    pause = FIRST_LOOK_S
    while not world.probe(rank):
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_LOOK_S)
