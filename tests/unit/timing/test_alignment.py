"""One axis: clocks that differ and drift are put right, and clusters are moved no further than cause and effect say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rank_files import one_by_one, write_part

from hpc_lstm.timing.alignment import align_run, alignment_note, clock_error_ns, clock_note, unix_ns
from hpc_lstm.timing.spans import load_timing

ORIGIN = 1_700_000_000_000_000_000
S = 10**9


@settings(max_examples=30, deadline=None)
@given(
    st.integers(-(10**12), 10**12),
    st.floats(-1e-4, 1e-4),
    st.lists(st.integers(0, 3600 * S), min_size=2, max_size=9),
)
def test_a_clock_that_is_wrong_and_drifts_is_put_right(tmp_path_factory, behind, drift, times):
    """In between the comparisons; the rank's clock is slower by ``drift``, as 0.1 ms a second is a very bad one."""

    def own(true):
        return true - behind - round(drift * true)

    folder = tmp_path_factory.mktemp("run")
    clock = [(own(at), at - own(at), 50) for at in (0, 3600 * S)]
    write_part(folder, one_by_one(("compute", 5)), start_unix_ns=ORIGIN, clock=clock)
    timing = load_timing(folder)
    found = unix_ns(timing, 0, np.array([own(true) for true in times]))
    assert np.abs(found - ORIGIN - np.array(times)).max() <= 100  # 1e-4 of 1e-4 of an hour, and roundings
    in_order = unix_ns(timing, 0, np.sort([own(true) for true in times]))
    assert (np.diff(in_order) >= 0).all()
    assert clock_error_ns(timing) == 50


def test_ranks_whose_clocks_were_not_compared_stand_by_the_wall_clock(tmp_path):
    for rank in range(2):
        write_part(tmp_path, one_by_one(("compute", 5)), rank=rank, size=2, origin_unix_ns=ORIGIN + rank)
    timing = load_timing(tmp_path)
    assert unix_ns(timing, 1, np.array([3])).tolist() == [ORIGIN + 4]
    assert clock_error_ns(timing) is None
    assert "not compared" in clock_note(timing)


def test_the_error_and_the_drift_are_said(tmp_path):
    for rank, clock in enumerate([[(0, 0, 0), (9 * S, 0, 0)], [(0, 70, 2000), (9 * S, 30_070, 1500)]]):
        write_part(tmp_path, one_by_one(("compute", 5)), rank=rank, size=2, start_unix_ns=ORIGIN, clock=clock)
    assert "by rank 0's clock, within 2 us, corrected for a drift of up to 30 us" in clock_note(
        load_timing(tmp_path)
    )
    for rank in range(2):  # a drift that the error may have made
        clock = [(0, 70 * rank, 2000 * rank), (9 * S, 3500 * rank, 1500 * rank)]
        write_part(
            tmp_path / "n", one_by_one(("compute", 5)), rank=rank, size=2, start_unix_ns=ORIGIN, clock=clock
        )
    assert clock_note(load_timing(tmp_path / "n")).endswith("by rank 0's clock, within 2 us.")
    for rank, clock in enumerate([[(0, 0, 0)], [(0, 70, 2000)]]):
        write_part(
            tmp_path, one_by_one(("compute", 5)), rank=rank, size=2, start_unix_ns=ORIGIN + 5, clock=clock
        )
    assert "2 of 4 processes ended before a second comparison" in clock_note(load_timing(tmp_path))


def cluster(folder, rounds, ahead=0):
    """A run of one rank whose wall clock is ``ahead``."""
    clock = [(0, 0, 0), (10**6 * S, 0, 0)]
    write_part(
        folder,
        one_by_one(("sync", 5)),
        origin_unix_ns=ORIGIN,
        start_unix_ns=ORIGIN + ahead,
        clock=clock,
        rounds=rounds,
    )
    return load_timing(folder)


@settings(max_examples=40, deadline=None)
@given(st.integers(-60 * S, 60 * S), st.randoms(use_true_random=False), st.integers(1, 8))
def test_the_bounds_hold_the_truth_and_the_shift_lies_in_them(tmp_path_factory, ahead, random, count):
    """Two clusters bring, one merges, both see it; whatever the delays, and however wrong a wall clock."""
    folder, rounds, now = tmp_path_factory.mktemp("runs"), ([], []), 0
    for number in range(1, count + 1):
        brought = [now + random.randrange(5 * S) for _ in range(2)]
        merged = max(brought) + random.randrange(S)
        seen = [merged + random.randrange(S) for _ in range(2)]
        for mine, start, end in zip(rounds, brought, seen, strict=True):
            mine.append((number, start if random.random() < 0.8 else -1, end))
        now = max(seen)
    first, second = cluster(folder / "a", rounds[0]), cluster(folder / "b", rounds[1], ahead)
    found = align_run(second, first)
    assert not found.contradictory
    if found.low_ns is not None:
        assert found.low_ns <= -ahead
        assert found.low_ns <= found.shift_ns
    if found.high_ns is not None:
        assert -ahead <= found.high_ns
        assert found.shift_ns <= found.high_ns
    if ahead == 0:
        assert found.shift_ns == 0
    assert alignment_note("b", "a", found)


def test_a_wall_clock_that_agrees_with_the_rounds_is_left_as_it_is(tmp_path):
    first = cluster(tmp_path / "a", [(1, 100, 3 * S), (2, 5 * S, 7 * S)])
    found = align_run(cluster(tmp_path / "b", [(1, 50, 2 * S), (2, 6 * S, 8 * S)]), first)
    assert (found.shift_ns, found.low_ns, found.high_ns, found.rounds) == (0, 100 - 2 * S, S, 2)
    note = alignment_note("b", "a", found)
    assert note.endswith("2 rounds that both recorded the error is between -2.000 s and +1.000 s.")
    assert "shifted" not in note


def test_every_round_that_sets_a_limit_is_counted_once(tmp_path):
    """In 1 both took part, in 2 and 3 one alone; 4 has no part of either, and 5 one record."""
    one = [(1, 0, S), (2, 20 * S, 22 * S), (3, -1, 32 * S), (4, -1, 42 * S), (5, 50 * S, 52 * S)]
    other = [(1, 0, S), (2, -1, 22 * S), (3, 30 * S, 32 * S), (4, -1, 42 * S)]
    found = align_run(cluster(tmp_path / "b", other), cluster(tmp_path / "a", one))
    assert found.rounds == 3
    assert "according to 3 rounds that both recorded the error is between" in alignment_note("b", "a", found)


def test_a_clock_that_was_set_during_the_run_is_said(tmp_path):
    first = cluster(tmp_path / "a", [(1, 0, S), (2, 100 * S, 101 * S)])
    found = align_run(cluster(tmp_path / "b", [(1, 50 * S, 51 * S), (2, 60 * S, 61 * S)]), first)
    assert found.contradictory
    assert found.shift_ns == 0
    assert "contradict" in alignment_note("b", "a", found)


@pytest.mark.parametrize("rounds", [[], [(7, 1, 2)]])
def test_without_a_common_round_nothing_is_known(tmp_path, rounds):
    found = align_run(cluster(tmp_path / "b", rounds), cluster(tmp_path / "a", [(1, 1, 2)]))
    assert (found.shift_ns, found.rounds) == (0, 0)
    assert "wall clocks alone" in alignment_note("b", "a", found)
