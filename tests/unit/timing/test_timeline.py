"""The timeline: its phases add up to the wall time, and its file says the same."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpc_lstm.timing import timeline as timing
from hpc_lstm.timing.timeline import PHASES, Timeline


def records(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PHASES), st.integers(0, 3), st.booleans()), max_size=30))
def test_phases_add_up_to_the_wall_time_whatever_the_nesting(tmp_path_factory, steps):
    path = tmp_path_factory.mktemp("t") / "rank-00000.jsonl"
    timeline = Timeline(path)

    def visit(remaining):
        if not remaining:
            return
        (phase, depth, raises), *rest = remaining
        try:
            with timeline.span(phase):
                visit(rest[:depth])
                if raises:
                    raise KeyError
        except KeyError:
            pass
        visit(rest[depth:])

    visit(steps)
    timeline.close()
    header, *spans, footer = records(path)
    assert header["format"] == timing.FORMAT
    assert sum(footer["phases_ns"].values()) == footer["wall_ns"]
    assert sum(span["busy_ns"] for span in spans) == footer["wall_ns"]
    assert spans[0]["start_ns"] == 0
    assert spans[-1]["end_ns"] == footer["wall_ns"]
    assert all(a["end_ns"] == b["start_ns"] for a, b in pairwise(spans))


@pytest.mark.parametrize("before", [None, '{"format": "hpc_lstm timing"}\n{"phase": "compu'])
def test_a_part_that_is_discarded_was_never_there(tmp_path, before):
    path = tmp_path / "rank-00000.jsonl"
    if before is not None:
        path.write_text(before)
    timeline = Timeline(path)
    with timeline.span("load"):
        timeline.flush()
    timeline.discard()
    with timeline.span("wait"):
        timeline.close()
    assert (path.read_text() if path.exists() else None) == before


def test_an_inner_span_is_not_the_outer_ones_time(tmp_path):
    timeline = Timeline(tmp_path / "t.jsonl")
    began = time.perf_counter()
    with timeline.span("compute"):
        time.sleep(0.02)
        with timeline.span("wait"):
            time.sleep(0.05)
        time.sleep(0.02)
    elapsed = time.perf_counter() - began
    assert timeline.seconds("compute") >= 0.04
    assert timeline.seconds("wait") >= 0.05
    assert timeline.seconds("compute") + timeline.seconds("wait") <= elapsed
    timeline.close()
    assert [r["phase"] for r in records(tmp_path / "t.jsonl")[1:-1]] == [
        "startup",
        "compute",
        "wait",
        "compute",
        "startup",
    ]


def test_an_exception_ends_its_spans(tmp_path):
    timeline = Timeline(tmp_path / "t.jsonl")
    with pytest.raises(ZeroDivisionError), timeline.span("load"), timeline.span("preprocess"):
        _ = 1 / 0
    before = timeline.seconds("preprocess"), timeline.seconds("load")
    time.sleep(0.01)
    assert (timeline.seconds("preprocess"), timeline.seconds("load")) == before


def test_enter_changes_the_phase_outside_all_spans():
    timeline = Timeline()
    timeline.enter("compute")
    with timeline.span("average"):
        pass
    time.sleep(0.01)
    assert timeline.seconds("compute") >= 0.01


def test_the_wall_time_is_that_of_the_process(tmp_path):
    """An outer clock started before the process and stopped after it agrees within 1% or 50 ms."""
    path = tmp_path / "t.jsonl"
    program = (
        "import sys, time; from pathlib import Path; from hpc_lstm.timing.timeline import Timeline; "
        "t = Timeline(Path(sys.argv[1])); s = t.span('compute'); s.__enter__(); time.sleep(0.3); "
        "s.__exit__(None, None, None); t.close(); print(time.time_ns())"
    )
    started = time.time_ns()
    ended = int(subprocess.run([sys.executable, "-c", program, path], check=True, capture_output=True).stdout)
    header, *_, footer = records(path)
    assert sum(footer["phases_ns"].values()) == footer["wall_ns"]
    assert footer["wall_ns"] == pytest.approx(ended - started, rel=0.01, abs=50e6)
    assert header["origin_unix_ns"] == pytest.approx(started, abs=50e6)
    assert footer["phases_ns"]["compute"] >= 0.3e9


def test_many_spans_are_merged_between_flushes(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "DETAILED_SPANS", 10)
    timeline = Timeline(tmp_path / "t.jsonl")
    for _ in range(3):
        for _ in range(100):
            with timeline.span("compute"):
                pass
            with timeline.span("average"):
                pass
        timeline.flush()
    timeline.close()
    _, *spans, footer = records(tmp_path / "t.jsonl")
    assert len(spans) < 30
    for phase, total in footer["phases_ns"].items():
        assert sum(s["busy_ns"] for s in spans if s["phase"] == phase) == total
    assert sum(s["count"] for s in spans if s["phase"] == "compute") == 300
    assert all(s["busy_ns"] <= s["end_ns"] - s["start_ns"] for s in spans)


def test_a_resumed_run_appends_a_part_even_after_a_line_cut_off_by_a_kill(tmp_path):
    path = tmp_path / "timing" / "rank-00001.jsonl"
    Timeline(path, rank=1, size=2, node="n").close()
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"phase": "comp')
    Timeline(path, rank=1, size=2, node="n").close()
    headers = [json.loads(line) for line in path.read_text().splitlines() if '"format"' in line]
    assert [(h["rank"], h["size"], h["node"]) for h in headers] == [(1, 2, "n")] * 2


def test_close_is_idempotent_also_inside_a_span(tmp_path):
    timeline = Timeline(tmp_path / "t.jsonl")
    with timeline.span("compute"):
        timeline.close()
        timeline.close()
    assert sum(1 for r in records(tmp_path / "t.jsonl") if "wall_ns" in r) == 1


def test_without_a_file_nothing_is_kept():
    timeline = Timeline()
    for _ in range(1000):
        with timeline.span("compute"):
            pass
    timeline.flush()
    timeline.close()
    assert timeline._spans == []
    assert timeline.seconds("compute") > 0


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(PHASES), st.integers(0, 10**7)), max_size=20),
    st.sampled_from([0, 5, 10**5]),
)
def test_time_moved_to_another_phase_still_adds_up(tmp_path_factory, steps, detailed):
    path = tmp_path_factory.mktemp("t") / "rank-00000.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing, "DETAILED_SPANS", detailed)
        timeline = Timeline(path)
        for phase, moved in steps:
            with timeline.span(phase):
                pass
            timeline.reassign(moved, "compute")
        timeline.close()
    _, *spans, footer = records(path)
    assert sum(footer["phases_ns"].values()) == footer["wall_ns"]
    assert min(footer["phases_ns"].values()) >= 0
    for phase in PHASES:
        assert sum(span["busy_ns"] for span in spans if span["phase"] == phase) == footer["phases_ns"][phase]


def test_what_waited_for_the_gpu_is_the_beginning_of_a_span(tmp_path):
    path = tmp_path / "rank-00000.jsonl"
    timeline = Timeline(path)
    with timeline.span("preprocess"):
        time.sleep(0.02)
    timeline.reassign(15_000_000, "compute")
    timeline.reassign(15_000_000, "compute")  # only once
    timeline.close()
    _, *spans, footer = records(path)
    assert [span["phase"] for span in spans] == ["startup", "compute", "preprocess", "startup"]
    assert footer["phases_ns"]["compute"] == 15_000_000
    assert spans[1]["end_ns"] == spans[2]["start_ns"]


def test_a_barrier_is_recorded_with_its_span(tmp_path):
    path = tmp_path / "rank-00000.jsonl"
    timeline = Timeline(path)
    for number in range(6):
        with timeline.span("compute"):
            pass
        with timeline.span("wait"):
            pass
        timeline.record_barrier()
        timeline.reassign(10, "compute")  # a wait at a barrier stays whole
        if number == 2:
            timeline.flush()
            timeline.enter("evaluate")  # one more span, which moves the later ones
    timeline.close()
    _, *spans, _ = records(path)
    assert [span["meeting"] for span in spans if span["phase"] == "wait"] == list(range(6))
    assert not any("meeting" in span for span in spans if span["phase"] != "wait")


def test_the_end_of_a_wait_may_be_an_average(tmp_path):
    path = tmp_path / "rank-00000.jsonl"
    timeline = Timeline(path)
    for averaged_ns in (5_000_000, 10**10):
        with timeline.span("wait"):
            time.sleep(0.01)
        timeline.record_barrier(averaged_ns)
    timeline.close()
    _, *spans, footer = records(path)
    assert [span["phase"] for span in spans if span["phase"] != "startup"] == ["wait", "average"] * 2
    waits = [span for span in spans if span["phase"] == "wait"]
    averages = [span for span in spans if span["phase"] == "average"]
    assert [span["meeting"] for span in waits] == [0, 1]
    assert averages[0]["busy_ns"] == 5_000_000
    assert averages[1]["busy_ns"] >= 10_000_000
    assert waits[0]["end_ns"] == averages[0]["start_ns"]
    assert waits[1]["busy_ns"] == 0, "no more than all of it"
    for phase, found in (("wait", waits), ("average", averages)):
        assert footer["phases_ns"][phase] == sum(span["busy_ns"] for span in found)


def test_the_end_of_a_computation_may_be_averages_and_waits(tmp_path):
    path = tmp_path / "rank-00000.jsonl"
    timeline = Timeline(path)
    timeline.enter("compute")
    for own_ns, averaged_ns in ((6_000_000, 2_000_000), (10**10, 3_000_000), (4_000_000, 4_000_000)):
        time.sleep(0.01)
        with timeline.span("wait"):
            pass
        timeline.record_barrier_within(own_ns, averaged_ns)
        timeline.reassign(10**9, "evaluate")  # is recorded
    timeline.close()
    _, *spans, footer = records(path)
    spans = [span for span in spans if span["phase"] != "startup"]
    assert [span["phase"] for span in spans] == [*["compute", "wait", "average", "wait"] * 3, "compute"]
    for before, after in pairwise(spans):
        assert before["end_ns"] <= after["start_ns"]
    waits, averages = spans[1:-1:4], spans[2::4]
    assert [span["meeting"] for span in waits] == [0, 1, 2]
    assert not any("meeting" in span for span in spans if span not in waits)
    assert [span["busy_ns"] for span in averages] == [2_000_000, 3_000_000, 4_000_000]
    assert [waits[0]["busy_ns"], waits[2]["busy_ns"]] == [4_000_000, 0]
    assert waits[1]["busy_ns"] + averages[1]["busy_ns"] >= 10_000_000
    assert spans[4]["busy_ns"] == 0, "no more than all of it"
    assert sum(footer["phases_ns"].values()) == footer["wall_ns"]


@pytest.mark.parametrize("detailed", range(9))
def test_averages_within_merged_spans_add_up(tmp_path, monkeypatch, detailed):
    monkeypatch.setattr(timing, "DETAILED_SPANS", detailed)
    timeline = Timeline(tmp_path / "t.jsonl")
    timeline.enter("compute")
    for number in range(3):
        time.sleep(0.001)
        with timeline.span("wait"):
            pass
        timeline.record_barrier_within(600_000, 200_000)
        if number == 1:
            timeline.flush()
    timeline.close()
    _, *spans, footer = records(tmp_path / "t.jsonl")
    assert footer["phases_ns"]["average"] == 600_000
    for phase in PHASES:
        assert sum(span["busy_ns"] for span in spans if span["phase"] == phase) == footer["phases_ns"][phase]


def test_merged_spans_have_no_barriers(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "DETAILED_SPANS", 4)
    timeline = Timeline(tmp_path / "t.jsonl")
    for _ in range(9):
        with timeline.span("wait"):
            pass
        timeline.record_barrier()
    timeline.close()
    numbers = [r.get("meeting") for r in records(tmp_path / "t.jsonl") if r.get("phase") == "wait"]
    assert numbers == [0, 1, None]


def test_clocks_and_rounds_are_written_in_the_timelines_time(tmp_path):
    timeline = Timeline(tmp_path / "t.jsonl")
    before, then, after = timeline.now(), timeline.at(time.perf_counter_ns()), timeline.now()
    assert before <= then <= after
    timeline.record_clock(4, -3, 2, 10**18)
    timeline.record_round(7, -1, 5)
    timeline.close()
    _, clock, seen, *_ = records(tmp_path / "t.jsonl")
    assert clock == {
        "clock_at_ns": 4,
        "clock_offset_ns": -3,
        "clock_error_ns": 2,
        "start_unix_ns": 10**18,
    }
    assert seen == {"round": 7, "brought_ns": -1, "seen_ns": 5}
