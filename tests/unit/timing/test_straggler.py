"""Who is waited for: recomputed by hand from arrivals that a test chooses; chance is not taken for a culprit."""

from __future__ import annotations

import numpy as np
import pytest
from rank_files import ranks_at_barriers, write_part

from hpc_lstm.timing.barriers import collect_barriers
from hpc_lstm.timing.spans import load_timing
from hpc_lstm.timing.straggler import arrivals_note, count_arrivals, find_straggler

ORIGIN = 1_700_000_000_000_000_000
MS = 10**6


def write_run(folder, times, *, nodes=None, error=0, offsets=None, started=0, skip=None):
    """A run of ranks that arrive at their barriers at ``times`` [M, R], ns on rank 0's clock."""
    for rank, spans in enumerate(ranks_at_barriers(*times.tolist(), release=MS)):
        behind = 0 if offsets is None else int(offsets[rank])
        moved = [(phase, a - behind, b - behind, busy, *more) for phase, a, b, busy, *more in spans]
        if skip is not None and rank == skip[0]:
            moved = [span for span in moved if span[5:] != (skip[1],)]
        write_part(
            folder,
            moved,
            rank=rank,
            size=times.shape[1],
            node=nodes[rank] if nodes else f"n{rank}",
            start_unix_ns=ORIGIN + started,
            clock=[(0, behind, error), (10**15, behind, error)],
        )
    return folder


def steps(rng, count, usual_ms):
    """Arrivals of ranks whose steps take about ``usual_ms`` [R] each, at ``count`` barriers."""
    usual = np.array(usual_ms) * MS
    took = (usual * rng.uniform(0.9, 1.1, (count, len(usual)))).astype(np.int64)
    times, now = [], 0
    for row in took:
        times.append(now + row)
        now = int(times[-1].max()) + MS
    return np.array(times)


def note_of(folder):
    timing = load_timing(folder)
    found = count_arrivals(timing, collect_barriers(timing))
    straggler = find_straggler(timing, found)
    return found, straggler, arrivals_note(timing, found, straggler)


def test_a_slow_rank_is_named_with_what_it_costs(tmp_path):
    times = steps(np.random.default_rng(1), 300, [100, 100, 100, 140])
    found, straggler, note = note_of(write_run(tmp_path, times, offsets=[0, 5, -7 * MS, 10**9]))
    last = times.max(axis=1)
    assert found.barriers == found.decided == 300
    assert found.last.tolist() == np.bincount(times.argmax(axis=1), minlength=4).tolist()
    np.testing.assert_allclose(found.caused_s.sum(), (last[:, None] - times).sum() / 1e9)
    np.testing.assert_allclose(found.lead_s.sum(), (last - np.sort(times)[:, -2]).sum() / 1e9)
    assert straggler is not None
    assert straggler.places.tolist() == [3]
    assert note.startswith("Rank 3 (node n3) arrived last at 100% of 300 barriers and caused 37 s of waiting")
    assert note.endswith("its compute per step is 1.4 times the others' median.")


def test_ranks_that_are_late_by_turns_are_not_named(tmp_path):
    for seed in range(10):
        times = steps(np.random.default_rng(seed), 200, [100, 100, 100])
        found, straggler, note = note_of(write_run(tmp_path / str(seed), times))
        assert straggler is None
        assert note.startswith("No rank stands out")
        assert f"at {found.last.max()} of 200 barriers (33% by chance)" in note


def test_few_barriers_name_nobody(tmp_path):
    times = np.arange(1, 5)[:, None] * 100 * MS + np.array([0, 50 * MS])
    found, straggler, _ = note_of(write_run(tmp_path, times))
    assert found.last.tolist() == [0, 4]
    assert straggler is None


def test_a_rank_that_is_last_only_a_little_more_often_is_not_named(tmp_path):
    last = np.random.default_rng(6).random(2000) < 0.6
    late = np.stack([~last, last], axis=1) * 50 * MS
    found, straggler, _ = note_of(write_run(tmp_path, np.arange(1, 2001)[:, None] * 100 * MS + late))
    assert found.last[1] > 1100  # no chance: 4 standard deviations are 89
    assert straggler is None


def test_a_rank_that_is_always_last_but_hardly_so_is_not_named(tmp_path):
    times = np.arange(1, 101)[:, None] * 100 * MS + np.array([0, 0, 0, 1000])
    assert note_of(write_run(tmp_path, times))[1] is None


def test_a_slow_node_is_named_rather_than_one_of_its_ranks(tmp_path):
    times = steps(np.random.default_rng(2), 400, [100] * 4 + [130] * 4)
    _, straggler, note = note_of(write_run(tmp_path, times, nodes=["a"] * 4 + ["b"] * 4))
    assert straggler is not None
    assert straggler.places.tolist() == [4, 5, 6, 7]
    assert note.startswith("Node b (ranks 4, 5, 6, 7) arrived last at 100% of 400 barriers")


def test_arrivals_closer_than_the_clocks_error_decide_nothing(tmp_path):
    times = np.array([[100, 200], [1000 + MS, 1000 + 2 * MS], [9 * MS, 7 * MS]])
    found, _, note = note_of(write_run(tmp_path, times, error=MS // 2))
    assert (found.barriers, found.decided, found.last.tolist()) == (3, 1, [1, 0])
    assert "of the 1 of 3 barriers with a certain last arrival" in note
    found, _, note = note_of(write_run(tmp_path / "worse", times, error=10 * MS))
    assert found.decided == 0
    assert "Which rank arrived last is uncertain at all of 3 barriers" in note


def test_a_barrier_that_one_rank_has_not_recorded_does_not_count(tmp_path):
    times = steps(np.random.default_rng(3), 20, [100, 100])
    found, _, _ = note_of(write_run(tmp_path, times, skip=(1, 7)))
    assert found.barriers == 19


def test_barriers_that_were_merged_are_said(tmp_path):
    merged = [("wait", 10**15, 2 * 10**15, 9, 480)]
    for rank, spans in enumerate(
        ranks_at_barriers(*steps(np.random.default_rng(3), 20, [100, 150]).tolist())
    ):
        clock = [(0, 0, 0), (10**15, 0, 0)]
        write_part(tmp_path, spans + merged, rank=rank, size=2, start_unix_ns=ORIGIN, clock=clock)
    assert "last at 100% of the first 20 of 500 barriers" in note_of(tmp_path)[2]


def test_starts_of_a_resumed_run_are_added_up(tmp_path):
    rng = np.random.default_rng(4)
    write_run(tmp_path, steps(rng, 30, [100, 150]))
    write_run(tmp_path, steps(rng, 50, [100, 150, 100]), started=10**12)
    found, straggler, _ = note_of(tmp_path)
    assert found.barriers == 80
    assert found.last.tolist() == [0, 80, 0]
    assert straggler is not None


def test_chance_is_that_of_the_ranks_that_a_resumed_run_still_had(tmp_path):
    rng = np.random.default_rng(3)
    write_run(tmp_path, steps(rng, 20, [100] * 4))
    write_run(tmp_path, steps(rng, 400, [100] * 2), started=10**12)
    found, straggler, note = note_of(tmp_path)
    assert found.decided == 420
    assert straggler is None
    # 20 of 4 ranks and 400 of 2.
    assert "of 420 barriers (49% by chance)" in note


@pytest.mark.parametrize("size", [1, 2])
def test_ranks_without_a_barrier_have_nothing_to_tell(tmp_path, size):
    for rank in range(size):
        write_part(tmp_path, [("compute", 0, 5, 5, 1)], rank=rank, size=size)
    assert note_of(tmp_path)[2] == ""
