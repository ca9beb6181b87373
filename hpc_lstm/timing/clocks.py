"""The offset of each rank's clock from rank 0's, which puts the spans of all ranks on one time axis.

Cristian's method (Distributed Computing 3, 1989): a rank asks rank 0 for its time. The answer was read at some time
between sending the question and receiving the answer, so assuming the middle is wrong by at most half of the round
trip. Of several exchanges the one with the shortest round trip counts. The clocks are compared at the start and at the
end of a run; in between the drift is taken to be linear.

Rank 0 serves one rank at a time. Ranks that wait for their turn, or for the others to finish, sleep: busy waiting on
shared cores would lengthen each other's round trips. The time needed grows with the number of ranks, for each by
``EXCHANGES`` round trips and ``LONGEST_PAUSE_S``; a rank that has found no short round trip continues until its share
of ``BUDGET_NS`` is used up.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from hpc_lstm.parallel.world import World
from hpc_lstm.timing.timeline import Timeline

EXCHANGES = 16
# With this error or less, a rank needs no further exchanges.
GOOD_ENOUGH_NS = 20_000
# Time for the exchanges of all ranks together where they are slow, and the least share of one rank.
BUDGET_NS, LEAST_BUDGET_NS = 60_000_000, 1_000_000
# Pause between two probes for a message: the first one, and the longest one, up to which it doubles.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.00002, 0.0002
# What a question says: whether the rank will ask again.
_MORE, _LAST = 1, 0


@dataclass(frozen=True)
class ClockComparison:
    """A rank's clock compared with rank 0's.

    Attributes:
        at_ns: time of the comparison by this rank's clock.
        offset_ns: rank 0's time minus this rank's.
        error_ns: largest possible error of ``offset_ns``.
        start_unix_ns: rank 0's ``Timeline.origin_unix_ns``.
    """

    at_ns: int
    offset_ns: int
    error_ns: int
    start_unix_ns: int


def compare_clocks(world: World, timeline: Timeline) -> ClockComparison:
    """Compare this rank's clock with rank 0's and record the result in the timeline; collective."""
    if world.rank == 0:
        _answer_all(world, timeline)
        found = ClockComparison(timeline.now(), 0, 0, timeline.origin_unix_ns)
    else:
        found = _ask_rank_0(world, timeline)
    timeline.record_clock(found.at_ns, found.offset_ns, found.error_ns, found.start_unix_ns)
    return found


def _answer_all(world: World, timeline: Timeline) -> None:
    """Answer the other ranks' questions, one rank at a time; on rank 0."""
    question, answer = np.empty(1, np.int64), np.empty(2, np.int64)
    answer[1] = timeline.origin_unix_ns
    for rank in range(1, world.size):
        world.send(answer, rank)  # its turn
        _sleep_until_message(world, rank)
        question[0] = _MORE
        while question[0] != _LAST:
            world.recv(question, rank)
            answer[0] = timeline.now()
            world.send(answer, rank)
    for rank in range(1, world.size):
        world.send(answer, rank)  # all are done, so that no rank runs on while others compare


def _ask_rank_0(world: World, timeline: Timeline) -> ClockComparison:
    """Ask rank 0 for its time repeatedly and keep the answer with the shortest round trip."""
    question, answer = np.full(1, _MORE, np.int64), np.empty(2, np.int64)
    _sleep_until_message(world, 0)
    world.recv(answer, 0)  # this rank's turn
    best: ClockComparison | None = None
    end = timeline.now() + max(BUDGET_NS // (world.size - 1), LEAST_BUDGET_NS)
    exchanges = 0
    while question[0] != _LAST:
        exchanges += 1
        enough = exchanges >= EXCHANGES and best is not None and best.error_ns <= GOOD_ENOUGH_NS
        if enough or timeline.now() > end:
            question[0] = _LAST
        asked = timeline.now()
        world.send(question, 0)
        world.recv(answer, 0)
        answered = timeline.now()
        # Rank 0's time and the middle are rounded to whole ns: 1 ns for both.
        error = (answered - asked + 1) // 2 + 1
        if best is None or error < best.error_ns:
            middle = (asked + answered) // 2
            best = ClockComparison(middle, int(answer[0]) - middle, error, int(answer[1]))
    _sleep_until_message(world, 0)
    world.recv(answer, 0)  # all are done
    assert best is not None
    return best


def _sleep_until_message(world: World, rank: int) -> None:
    pause = FIRST_PAUSE_S
    while not world.probe(rank):
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_S)
