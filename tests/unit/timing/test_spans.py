"""timing.h5 holds what the ranks wrote, whatever crashes left of it."""

from __future__ import annotations

import json
import os
import tempfile

import h5py
import numpy as np
import pytest
from rank_files import one_by_one, write_part

from hpc_lstm.errors import InputError
from hpc_lstm.timing import spans as spans_module
from hpc_lstm.timing.spans import gather_timing, load_timing
from hpc_lstm.timing.timeline import PHASES, Timeline


def all_spans(timing, part):
    """As ``write_part`` takes them."""
    return [
        (PHASES[p], *(n if n[-1] >= 0 else n[:-1]))
        for phases, numbers in timing.spans(part)
        for p, n in zip(phases.tolist(), numbers.T.tolist(), strict=True)
    ]


def test_every_span_and_total_of_every_rank_arrives(tmp_path, monkeypatch):
    monkeypatch.setattr(spans_module, "CHUNK", 8)  # several flushes
    rng = np.random.default_rng(3)
    wrote = {}
    for rank in range(3):
        wrote[rank] = one_by_one(
            *((PHASES[rng.integers(9)], int(rng.integers(1000))) for _ in range(20 + rank))
        )
        write_part(tmp_path, wrote[rank], rank=rank, size=3, node=f"n{rank}", origin_unix_ns=10**18 + rank)
    timing = load_timing(tmp_path)
    assert timing.rank.tolist() == [0, 1, 2]
    assert timing.size.tolist() == [3, 3, 3]
    assert timing.node == ["n0", "n1", "n2"]
    assert timing.origin_unix_ns.tolist() == [10**18, 10**18 + 1, 10**18 + 2]
    assert timing.complete.all()
    assert timing.starts == 1
    for rank, expected in wrote.items():
        assert all_spans(timing, rank) == expected
    np.testing.assert_allclose(timing.rank_seconds().sum(axis=1), timing.rank_wall(), rtol=1e-12)


def test_a_timeline_is_read_back_as_it_was_recorded(tmp_path):
    timeline = Timeline(tmp_path / "timing" / "rank-00000.jsonl", node="here")
    for _ in range(50):
        with timeline.span("compute"), timeline.span("wait"):
            pass
    timeline.close()
    wall_s = timeline.wall_s
    timing = load_timing(tmp_path)
    assert timing.rank_wall()[0] == pytest.approx(wall_s, rel=0.01, abs=0.05)
    for number, phase in enumerate(PHASES[1:], 1):  # startup, the outermost, goes on after the file is closed
        assert timing.rank_seconds()[0, number] == pytest.approx(timeline.seconds(phase), abs=1e-9)


@pytest.mark.parametrize("cut", [1, 10, 40, 70, 95])
def test_a_file_cut_off_anywhere_is_read_up_to_there_and_the_resumed_part_whole(tmp_path, cut):
    path = write_part(tmp_path, one_by_one(("startup", 5), ("compute", 7), ("wait", 9)), killed=True)
    path.write_bytes(path.read_bytes()[:-cut])
    path.open("a").write("\n")
    write_part(tmp_path, one_by_one(("startup", 3), ("load", 4)), origin_unix_ns=10**18)
    timing = load_timing(tmp_path)
    assert timing.complete.tolist() == [False, True]
    assert timing.starts == 2
    kept = all_spans(timing, 0)
    assert kept == [("startup", 0, 5, 5, 1), ("compute", 5, 12, 7, 1), ("wait", 12, 21, 9, 1)][: len(kept)]
    assert 1 <= len(kept) <= 3
    assert timing.wall_ns[0] == kept[-1][2]
    assert timing.wall_ns[1] == 7


def test_merged_spans_count_by_their_busy_time(tmp_path):
    write_part(tmp_path, [("compute", 0, 1000, 400, 10), ("wait", 0, 1000, 600, 10)], killed=True)
    seconds = load_timing(tmp_path).rank_seconds()[0]
    assert seconds[PHASES.index("compute")] == pytest.approx(400e-9)
    assert seconds[PHASES.index("wait")] == pytest.approx(600e-9)


def test_it_is_gathered_anew_only_when_a_rank_has_written_since(tmp_path):
    path = write_part(tmp_path, one_by_one(("compute", 5)), killed=True)
    gathered = gather_timing(tmp_path)
    stamp = gathered.stat().st_mtime_ns
    os.utime(path, ns=(stamp - 10**9, stamp - 10**9))
    load_timing(tmp_path)
    assert gathered.stat().st_mtime_ns == stamp
    write_part(tmp_path, one_by_one(("compute", 5)))
    os.utime(path, ns=(stamp + 10**9, stamp + 10**9))
    assert load_timing(tmp_path).starts == 2


def test_the_timing_of_a_run_that_may_only_be_read_is_shown(tmp_path, monkeypatch):
    """Somebody else's, while it trains or after it was stopped."""
    run, scratch = tmp_path / "run", tmp_path / "scratch"
    scratch.mkdir()
    wrote = one_by_one(("compute", 5), ("wait", 7))
    write_part(run, wrote)
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.setattr(os, "access", lambda path, mode: not (mode & os.W_OK and path == run))
    timing = load_timing(run)
    assert all_spans(timing, 0) == wrote
    assert not (run / "timing.h5").exists()
    assert list(scratch.iterdir())
    del timing
    assert not list(scratch.iterdir())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(InputError, match=r"timing\.h5: cannot be written, and neither can a temporary file"):
        load_timing(run)


def test_a_damaged_timing_h5_is_made_again(tmp_path):
    write_part(tmp_path, one_by_one(("compute", 5)))
    gathered = gather_timing(tmp_path)
    gathered.write_bytes(gathered.read_bytes()[:1000])
    assert load_timing(tmp_path).wall_ns.tolist() == [5]


def test_the_layout_is_the_documented_one(tmp_path):
    write_part(tmp_path, one_by_one(("compute", 5), ("wait", 6)))
    with h5py.File(gather_timing(tmp_path)) as file:
        assert list(file.attrs["phases"]) == list(PHASES)
        assert file["parts/phases_ns"].shape == (1, len(PHASES))
        assert file["parts/offsets"][:].tolist() == [0, 2]
        assert file["spans/busy_ns"][:].tolist() == [5, 6]


def test_clocks_rounds_and_barriers_arrive(tmp_path):
    spans = [("compute", 0, 5, 5, 1), ("wait", 5, 7, 2, 1, 0), ("wait", 7, 9, 2, 1, 1), ("wait", 9, 20, 5, 3)]
    for rank, clock in enumerate([[(1, 0, 0), (9, 0, 0)], [(2, -7, 3), (4, -8, 9), (8, -6, 2)]]):
        rounds = [(3, 4, 8), (5, -1, 9)] if rank == 0 else []
        write_part(tmp_path, spans, rank=rank, size=2, start_unix_ns=10**18, clock=clock, rounds=rounds)
    write_part(tmp_path, one_by_one(("compute", 5)), rank=1, size=2)  # a start that was killed before
    timing = load_timing(tmp_path)
    assert timing.start_unix_ns.tolist() == [10**18, 10**18, 0]
    none = [[-1, -1, -1]] * 2
    assert timing.clock_ns.tolist() == [[[1, 0, 0], [9, 0, 0]], [[2, -7, 3], [8, -6, 2]], none]
    assert timing.rounds.T.tolist() == [[0, 3, 4, 8], [0, 5, -1, 9]]
    assert all_spans(timing, 1) == spans


def test_a_file_gathered_by_an_earlier_version_is_read(tmp_path):
    write_part(tmp_path, one_by_one(("compute", 5), ("wait", 6)), rank=1, size=2)
    with h5py.File(gather_timing(tmp_path), "r+") as file:
        for name in ("rounds", "spans/meeting", "parts/start_unix_ns", "parts/clock_ns"):
            del file[name]
    timing = load_timing(tmp_path)
    assert all_spans(timing, 0) == one_by_one(("compute", 5), ("wait", 6))
    assert (timing.start_unix_ns == 0).all()
    assert (timing.clock_ns == -1).all()
    assert timing.rounds.shape == (4, 0)


def test_no_timing_is_one_clear_line(tmp_path):
    with pytest.raises(InputError, match=r"no timing/rank-\*\.jsonl"):
        load_timing(tmp_path)


def test_another_version_is_refused_and_leaves_no_file(tmp_path):
    path = write_part(tmp_path, one_by_one(("compute", 5)))
    lines = path.read_text().splitlines()
    lines[0] = json.dumps({**json.loads(lines[0]), "version": 9})
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match="version 9"):
        load_timing(tmp_path)
    assert os.listdir(tmp_path) == ["timing"]


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b"])
def test_names_that_hdf5_cannot_hold_cost_no_span(tmp_path, name):
    path = write_part(tmp_path, one_by_one(("compute", 5)), node=name)
    with path.open("a") as file:
        file.write(json.dumps({"stage": name, "start_ns": 0, "end_ns": 1}) + "\n")
    timing = load_timing(tmp_path)
    assert all_spans(timing, 0) == [("compute", 0, 5, 5, 1)]
    (found,) = timing.node
    assert found[0] + found[-1] == "ab"
    assert len(found) == 3
