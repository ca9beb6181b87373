"""Traces, judged by a checker of the published Trace Event Format and by Perfetto's own trace processor."""

from __future__ import annotations

import gzip
import json
from itertools import pairwise

import numpy as np
import pytest
from rank_files import one_by_one, ranks_at_barriers, write_part

from hpc_lstm.errors import InputError
from hpc_lstm.timing.trace import write_trace

ORIGIN = 1_700_000_000_000_000_000
SPANS = {
    0: one_by_one(("startup", 1_500), ("compute", 2_001), ("wait", 0), ("compute", 999)),
    1: [
        *one_by_one(("startup", 100)),
        ("compute", 100, 900, 500, 4),
        ("wait", 150, 950, 300, 3),
        ("compute", 950, 990, 40, 2),
    ],
}
# Absolute begin and end in ns after the first origin, phase; rank 1 started 5 us later.
EXPECTED = {
    (0, "spans"): [
        (0, 1500, "startup"),
        (1500, 3501, "compute"),
        (3501, 3501, "wait"),
        (3501, 4500, "compute"),
    ],
    (1, "spans"): [(5000, 5100, "startup")],
    (1, "compute, merged"): [(5100, 5900, "compute"), (5950, 5990, "compute")],
    (1, "wait, merged"): [(5150, 5950, "wait")],
}


@pytest.fixture
def run_dir(tmp_path):
    for rank, spans in SPANS.items():
        write_part(tmp_path, spans, rank=rank, size=2, node=f"n{rank}", origin_unix_ns=ORIGIN + 5000 * rank)
    return tmp_path


@pytest.fixture(scope="module")
def judge():
    # Here: it brings Perfetto, and every process that runs tests imports this module.
    from trace_processor import TraceProcessor

    return TraceProcessor()


def test_epochs_steps_and_counters_of_rank_0(run_dir, tmp_path):
    entries = [
        {"kind": "train", "step": 16, "epoch": 0.8, "loss": 0.5, "samples_per_second": None, "elapsed_s": 2e-6},
        {"kind": "train", "step": 20, "epoch": 1.0, "loss": 0.25, "samples_per_second": 7.0, "elapsed_s": 3e-6,
         "memory_bytes": 2**21},
        {"kind": "validation", "step": 20, "epoch": 1, "loss": 0.125, "elapsed_s": 4e-6},
    ]  # fmt: skip
    (run_dir / "history.jsonl").write_text("".join(json.dumps(e) + "\n" for e in entries))
    write_trace([run_dir], tmp_path / "t.json")
    trace = json.loads((tmp_path / "t.json").read_text())
    check_trace_events(trace)
    told = [e for e in trace["traceEvents"] if e.get("cat") == "history"]
    assert [(e["name"], e["ts"], e["dur"], e["args"]["loss"]) for e in told] == [
        ("steps 17 to 20", 2.0, 1.0, 0.25),
        ("epoch 1", 2.0, 2.0, 0.125),
    ]
    counters = {(e["name"], e["ts"]): e["args"][e["name"]] for e in trace["traceEvents"] if e["ph"] == "C"}
    assert counters == {
        ("loss", 2.0): 0.5,
        ("loss", 3.0): 0.25,
        ("samples/s", 3.0): 7.0,
        ("memory of rank 0, MiB", 3.0): 2.0,
    }
    # A second start that left no entry: which start the entries are of cannot be told.
    write_part(run_dir, one_by_one(("startup", 100)), rank=0, size=2, origin_unix_ns=ORIGIN + 10**9)
    write_trace([run_dir], tmp_path / "t.json")
    assert not any(
        e.get("cat") == "history" for e in json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    )


def test_the_stages_of_each_ranks_start_up(tmp_path, judge):
    stages = [("importing", 100, 600), ("compiling kernels", 600, 1400)]
    for rank, origin in enumerate((ORIGIN, ORIGIN + 5000)):
        spans = one_by_one(("startup", 1500), ("compute", 100))
        write_part(tmp_path, spans, rank=rank, size=2, origin_unix_ns=origin, stages=stages)
    write_part(tmp_path, one_by_one(("startup", 9)), rank=0, size=2, origin_unix_ns=ORIGIN + 10_000)
    write_trace([tmp_path], tmp_path / "t.json")
    tracks = check_trace_events(json.loads((tmp_path / "t.json").read_text()))
    ends = [(100, 600, "importing"), (600, 1400, "compiling kernels")]
    later = [(5000 + start, 5000 + end, name) for start, end, name in ends]
    found = {key: track for key, track in tracks.items() if key[1] == "start-up"}
    assert found == {
        ("rank 0 (n1), start 1", "start-up"): ends,
        ("rank 1 (n1), start 1", "start-up"): later,
    }
    judge.load((tmp_path / "t.json").read_bytes())
    assert judge.query(COMPLAINTS) == []


def check_trace_events(trace: dict) -> dict[tuple[str, str], list[tuple[int, int, str]]]:
    """Check the JSON object form of the Trace Event Format; returns the complete events per thread.

    An arrow has a beginning and, later, an end, each inside an event of its thread.
    """
    assert set(trace) <= {"traceEvents", "displayTimeUnit", "otherData", "metadata", "systemTraceEvents"}
    assert trace["displayTimeUnit"] in ("ms", "ns")
    names: dict[tuple[str, int, int], str] = {}
    slices: dict[tuple[int, int], list[tuple[int, int, str]]] = {}
    flows: dict[int, dict[str, tuple[tuple[int, int], int]]] = {}
    for event in trace["traceEvents"]:
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
        assert isinstance(event["name"], str)
        assert isinstance(event.get("args", {}), dict)
        if event["ph"] == "M":
            keys = {"process_name": "name", "thread_name": "name", "process_sort_index": "sort_index"}
            assert keys[event["name"]] in event["args"]
            if event["name"] != "process_sort_index":
                tid = event["tid"] if event["name"] == "thread_name" else -1
                names[event["name"], event["pid"], tid] = event["args"]["name"]
            continue
        assert event["ts"] >= 0
        if event["ph"] == "C":
            assert all(isinstance(value, (int, float)) for value in event["args"].values())
            continue
        assert isinstance(event["cat"], str)
        thread, start = (event["pid"], event["tid"]), round(event["ts"] * 1000)
        if event["ph"] == "X":
            assert event["dur"] >= 0
            slices.setdefault(thread, []).append((start, start + round(event["dur"] * 1000), event["name"]))
        else:
            assert event["ph"] == "s" or (event["ph"] == "f" and event["bp"] == "e")
            ends = flows.setdefault(event["id"], {})
            assert event["ph"] not in ends, "an arrow begins and ends once"
            ends[event["ph"]] = thread, start
    for track in slices.values():
        assert all(a[1] <= b[0] or b[1] <= a[1] for a, b in pairwise(track)), "events overlap without nesting"
    for ends in flows.values():
        assert ends["s"][1] < ends["f"][1]
        for thread, at in ends.values():
            assert any(start < at < end for start, end, _ in slices[thread]), (
                "an arrow's end belongs to no event"
            )
    return {
        (names["process_name", pid, -1], names["thread_name", pid, tid]): track
        for (pid, tid), track in slices.items()
    }


@pytest.mark.parametrize("name", ["trace.json", "trace.json.gz"])
def test_chrome_trace(run_dir, name):
    write_trace([run_dir], run_dir / name)
    content = (run_dir / name).read_bytes()
    trace = json.loads(gzip.decompress(content) if name.endswith("gz") else content)
    assert check_trace_events(trace) == {(f"rank {r} (n{r})", t): spans for (r, t), spans in EXPECTED.items()}
    said = trace["otherData"]
    assert (said["ranks"], said["origin_unix_ns"], said["clock_error_ns"]) == (2, ORIGIN, None)
    assert "not compared" in said["axis"][0]
    merged = [e["args"] for e in trace["traceEvents"] if e["ph"] == "X" and "args" in e]
    assert {"count": 4, "busy_ms": 0.0005} in merged


def test_starts_of_a_resumed_run_share_one_axis(tmp_path):
    write_part(tmp_path, one_by_one(("startup", 1000)), origin_unix_ns=ORIGIN, killed=True)
    write_part(tmp_path, one_by_one(("startup", 1000)), origin_unix_ns=ORIGIN + 7_000_000_000)
    write_trace([tmp_path], tmp_path / "t.json")
    tracks = check_trace_events(json.loads((tmp_path / "t.json").read_text()))
    assert tracks == {
        ("rank 0 (n1), start 1", "spans"): [(0, 1000, "startup")],
        ("rank 0 (n1), start 2", "spans"): [(7_000_000_000, 7_000_001_000, "startup")],
    }


def test_an_unknown_suffix_is_refused_and_an_unwritable_folder_said(run_dir):
    for name in ("trace.txt", "trace.pftrace"):
        with pytest.raises(InputError, match=r"name it \.json or \.json\.gz"):
            write_trace([run_dir], run_dir / name)
    with pytest.raises(InputError, match="given twice"):
        write_trace([run_dir, run_dir / "timing" / ".."], run_dir / "trace.json")
    with pytest.raises(InputError, match="cannot be written"):
        write_trace([run_dir], run_dir / "none" / "trace.json")


SPANS_OF = """
    select process.name as process, slice.ts as start, slice.ts + slice.dur as end, slice.name as phase
    from slice join thread_track on slice.track_id = thread_track.id join thread using (utid)
    join process using (upid) order by slice.id"""
ARROWS = """
    select a.name as cause, pa.name as source, b.name as effect, pb.name as target, a.ts as start, b.ts as end
    from flow join slice a on flow.slice_out = a.id join slice b on flow.slice_in = b.id
    join thread_track ta on a.track_id = ta.id join thread ha on ta.utid = ha.utid
    join thread_track tb on b.track_id = tb.id join thread hb on tb.utid = hb.utid
    join process pa on ha.upid = pa.upid join process pb on hb.upid = pb.upid"""
COMPLAINTS = "select name, value from stats where severity in ('error', 'data_loss') and value > 0"


@pytest.mark.parametrize("suffix", ["json", "json.gz"])
def test_perfettos_trace_processor_sees_every_span(run_dir, judge, suffix):
    write_trace([run_dir], run_dir / f"trace.{suffix}")
    judge.load((run_dir / f"trace.{suffix}").read_bytes())
    assert judge.query(COMPLAINTS) == []
    found = [tuple(row.values()) for row in judge.query(SPANS_OF)]
    expected = [(f"rank {r} (n{r})", *span) for (r, _), spans in EXPECTED.items() for span in spans]
    assert sorted(found) == sorted(expected)


def write_barriers(folder, arrivals, *, offsets=None, error=0, **options):
    """A run whose ranks arrive so on rank 0's clock; rank r's own clock is ``offsets[r]`` behind it."""
    for rank, spans in enumerate(ranks_at_barriers(*arrivals, **options)):
        behind = (offsets or [0] * len(arrivals[0]))[rank]
        moved = [
            (p, max(0, a - behind), b - behind, b - max(a, behind), *more) for p, a, b, _, *more in spans
        ]
        clock = [(0, behind, error), (10**6, behind, error)]
        place = {
            "rank": rank,
            "size": len(arrivals[0]),
            "node": f"n{rank}",
            "origin_unix_ns": ORIGIN + 10**7 * rank,
        }
        write_part(folder, moved, start_unix_ns=ORIGIN, clock=clock, **place)
    return folder


def test_arrows_lead_from_the_last_arrival_to_those_who_waited_for_it(tmp_path, judge):
    """Ranks' clocks differ by more than they wait; rank 1 of the second barrier comes too close to the last to tell."""
    run = write_barriers(
        tmp_path, [(200, 300, 900), (5000, 4995, 2000), (6000, 6000, 6000)], offsets=[0, -70_000, 90], error=3
    )
    write_trace([run], run / "t.json")
    judge.load((run / "t.json").read_bytes())
    assert judge.query(COMPLAINTS) == []
    rank = [f"rank {r} (n{r})" for r in range(3)]
    arrows = sorted(tuple(row.values()) for row in judge.query(ARROWS))
    # In the trace all begins with rank 1's process, which by rank 0's clock began 70 us before.
    assert arrows == [
        ("wait", rank[0], "rank 0 arrived", rank[2], 75_000, 75_001),
        ("wait", rank[2], "rank 2 arrived", rank[0], 70_900, 70_901),
        ("wait", rank[2], "rank 2 arrived", rank[1], 70_900, 70_901),
    ]
    check_trace_events(json.loads((run / "t.json").read_text()))


def test_random_barriers_have_an_arrow_for_every_wait(tmp_path, judge):
    rng = np.random.default_rng(5)
    now, arrivals = 0, []
    for _ in range(200):
        arrivals.append((now + rng.permutation(np.arange(5) * 100) + rng.integers(100, 200, 5)).tolist())
        now = max(arrivals[-1]) + 10
    run = write_barriers(tmp_path, arrivals, offsets=rng.integers(-(10**6), 0, 5).tolist())
    write_trace([run], run / "t.json")
    judge.load((run / "t.json").read_bytes())
    assert judge.query(COMPLAINTS) == []
    arrows = judge.query(ARROWS)
    assert len(arrows) == sum(sum(t < max(times) for t in times) for times in arrivals)
    last = [f"rank {int(np.argmax(times))} " for times in arrivals for t in times if t < max(times)]
    assert sorted(arrow["source"].split("(")[0] for arrow in arrows) == sorted(last)
    assert all(arrow["end"] == arrow["start"] + 1 and arrow["source"] != arrow["target"] for arrow in arrows)
    check_trace_events(json.loads((run / "t.json").read_text()))


def test_clusters_share_one_axis_by_name(tmp_path, judge):
    for name, later, rounds in (("alpha", 0, [(1, 10, 400), (2, -1, 900)]), ("beta", 10**6, [(1, 5, 700)])):
        folder = tmp_path / name
        spans = one_by_one(("startup", 100), ("sync", 900))
        options = {"start_unix_ns": ORIGIN + later, "clock": [(0, 0, 0)], "rounds": rounds}
        write_part(folder, spans, origin_unix_ns=ORIGIN + later, **options)
    write_trace([tmp_path / "alpha", tmp_path / "beta"], tmp_path / "t.json")
    judge.load((tmp_path / "t.json").read_bytes())
    assert judge.query(COMPLAINTS) == []
    # alpha saw round 1 closed at 400, so beta uploaded its part before then, not at 1,000,005 as its wrong clock says.
    found = sorted(tuple(row.values()) for row in judge.query(SPANS_OF))
    assert found == [
        ("alpha: rank 0 (n1)", 0, 100, "startup"),
        ("alpha: rank 0 (n1)", 100, 1000, "sync"),
        ("beta: rank 0 (n1)", 395, 495, "startup"),
        ("beta: rank 0 (n1)", 495, 1395, "sync"),
    ]
    said = json.loads((tmp_path / "t.json").read_text())["otherData"]["axis"]
    assert said[-1].startswith("beta is aligned with alpha by their wall clocks, shifted by")
