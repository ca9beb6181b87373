"""Clocks that a test sets wrong are found out, within the error that is stated."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_ranks import SimulatedWorld, on_ranks

from hpc_lstm.parallel.world import World
from hpc_lstm.timing import clocks
from hpc_lstm.timing.clocks import ClockComparison, compare_clocks
from hpc_lstm.timing.timeline import Timeline


class WrongTimeline(Timeline):
    """Its clock is ahead of this machine's, and faster."""

    def __init__(self, ahead_ns: int, faster: float = 0.0, **options: object) -> None:
        self.ahead_ns, self.faster = ahead_ns, faster
        super().__init__(**options)  # type: ignore[arg-type]

    def at(self, perf_counter_ns: int) -> int:
        return self.of(perf_counter_ns)

    def of(self, true_ns: int) -> int:
        return true_ns + self.ahead_ns + round((true_ns % 10**12) * self.faster)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=4))
def test_every_offset_is_found_within_its_stated_error(ahead: list[int]) -> None:
    def work(world: World) -> ClockComparison:
        return compare_clocks(world, WrongTimeline(ahead[world.rank]))

    found = on_ranks(len(ahead), work)
    assert found[0].offset_ns == found[0].error_ns == 0
    for rank, each in enumerate(found):
        assert abs(each.offset_ns - (ahead[0] - ahead[rank])) <= each.error_ns
        assert each.start_unix_ns == found[0].start_unix_ns


def test_a_slow_answer_is_within_the_error_however_lopsided_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Questions take long and answers do not: the worst case for taking the middle."""
    generator = random.Random(1)
    send = SimulatedWorld.send

    def slow(world: SimulatedWorld, array: object, to: int) -> None:
        if to == 0:
            time.sleep(generator.uniform(0.001, 0.003))
        send(world, array, to)  # type: ignore[arg-type]

    monkeypatch.setattr(SimulatedWorld, "send", slow)
    found = on_ranks(2, lambda world: compare_clocks(world, WrongTimeline(10**9 * world.rank)))
    wrong = abs(found[1].offset_ns + 10**9)
    assert 400_000 < wrong <= found[1].error_ns < 3_000_000


def test_ranks_that_only_get_slow_answers_share_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Counter[int]()
    send = SimulatedWorld.send

    def slow(world: SimulatedWorld, array: object, to: int) -> None:
        if to == 0:
            asked[world.rank] += 1
            time.sleep(0.003)
        send(world, array, to)  # type: ignore[arg-type]

    monkeypatch.setattr(SimulatedWorld, "send", slow)
    began = time.perf_counter()
    on_ranks(4, lambda world: compare_clocks(world, Timeline()))
    assert all(1 <= asked[rank] <= clocks.BUDGET_NS / 3 / 3e6 + 2 for rank in (1, 2, 3))
    assert time.perf_counter() - began < 5


def test_it_is_written_beside_the_spans(tmp_path: Path) -> None:
    def work(world: World) -> tuple[ClockComparison, ClockComparison]:
        timeline = WrongTimeline(
            5_000_000 * world.rank, path=tmp_path / f"{world.rank}.jsonl", rank=world.rank, size=world.size
        )
        both = compare_clocks(world, timeline), compare_clocks(world, timeline)
        timeline.close()
        return both

    for rank, both in enumerate(on_ranks(3, work)):
        lines = [json.loads(line) for line in (tmp_path / f"{rank}.jsonl").read_text().splitlines()]
        wrote = [line for line in lines if "clock_at_ns" in line]
        for line, each in zip(wrote, both, strict=True):
            assert line == {
                "clock_at_ns": each.at_ns,
                "clock_offset_ns": each.offset_ns,
                "clock_error_ns": each.error_ns,
                "start_unix_ns": each.start_unix_ns,
            }


def test_alone_there_is_nothing_to_compare() -> None:
    timeline = Timeline()
    found = compare_clocks(World(), timeline)
    assert (found.offset_ns, found.error_ns, found.start_unix_ns) == (0, 0, timeline.origin_unix_ns)
