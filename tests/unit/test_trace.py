"""Traces: Perfetto's own schema reads one format, a checker of the published Trace Event Format the other."""

from __future__ import annotations

import gzip
import json
from itertools import pairwise

import pytest
from rank_files import one_by_one, write_part

from hpc_lstm.errors import InputError
from hpc_lstm.report.trace import write_trace

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


def check_trace_events(trace: dict) -> dict[tuple[str, str], list[tuple[int, int, str]]]:
    """Check the JSON object form of the Trace Event Format; returns the complete events per thread."""
    assert set(trace) <= {"traceEvents", "displayTimeUnit", "otherData", "metadata", "systemTraceEvents"}
    assert trace["displayTimeUnit"] in ("ms", "ns")
    names: dict[tuple[str, int, int], str] = {}
    slices: dict[tuple[int, int], list[tuple[int, int, str]]] = {}
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
        else:
            assert event["ph"] == "X"
            assert isinstance(event["cat"], str)
            for key in ("ts", "dur"):
                assert isinstance(event[key], (int, float))
                assert event[key] >= 0
            start, length = round(event["ts"] * 1000), round(event["dur"] * 1000)
            slices.setdefault((event["pid"], event["tid"]), []).append((start, start + length, event["name"]))
    for track in slices.values():
        assert all(a[1] <= b[0] for a, b in pairwise(track)), "events of a thread overlap without nesting"
    return {
        (names["process_name", pid, -1], names["thread_name", pid, tid]): track
        for (pid, tid), track in slices.items()
    }


@pytest.mark.parametrize("name", ["trace.json", "trace.json.gz"])
def test_chrome_trace(run_dir, name):
    write_trace(run_dir, run_dir / name)
    content = (run_dir / name).read_bytes()
    trace = json.loads(gzip.decompress(content) if name.endswith("gz") else content)
    assert check_trace_events(trace) == {(f"rank {r} (n{r})", t): spans for (r, t), spans in EXPECTED.items()}
    assert trace["otherData"] == {"ranks": 2, "origin_unix_ns": ORIGIN}
    merged = [e["args"] for e in trace["traceEvents"] if e["ph"] == "X" and "args" in e]
    assert {"count": 4, "busy_ms": 0.0005} in merged


def test_perfettos_schema_reads_the_native_trace_without_a_field_left_over(run_dir):
    from google.protobuf.unknown_fields import UnknownFieldSet
    from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb

    write_trace(run_dir, run_dir / "trace.pftrace")
    content = (run_dir / "trace.pftrace").read_bytes()
    trace = pb.Trace.FromString(content)
    assert trace.IsInitialized()
    assert trace.SerializeToString() is not None

    def no_unknown(message):
        assert len(UnknownFieldSet(message)) == 0
        for field, value in message.ListFields():
            if field.message_type is not None:
                for child in value if hasattr(value, "__len__") else [value]:
                    no_unknown(child)

    no_unknown(trace)
    names, parents, tracks = {}, {}, {}
    assert trace.packet[0].sequence_flags == pb.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
    for packet in trace.packet:
        assert packet.trusted_packet_sequence_id != 0
        if packet.HasField("track_descriptor"):
            descriptor = packet.track_descriptor
            assert descriptor.uuid not in names
            if descriptor.HasField("process"):
                names[descriptor.uuid] = descriptor.process.process_name
            else:
                assert descriptor.parent_uuid in names  # a track is described before it is used
                names[descriptor.uuid] = descriptor.thread.thread_name
                parents[descriptor.uuid] = descriptor.parent_uuid
        elif packet.HasField("track_event"):
            event = packet.track_event
            track = tracks.setdefault(event.track_uuid, [])
            if event.type == pb.TrackEvent.TYPE_SLICE_BEGIN:
                assert not track or track[-1][1] is not None
                assert list(event.categories) == ["phase"]
                track.append([packet.timestamp, None, event.name])
            else:
                assert event.type == pb.TrackEvent.TYPE_SLICE_END
                track[-1][1] = packet.timestamp
    found = {(names[parents[u]], names[u]): [tuple(s) for s in t] for u, t in tracks.items()}
    assert found == {(f"rank {r} (n{r})", t): spans for (r, t), spans in EXPECTED.items()}
    begins = [p.track_event for p in trace.packet if p.track_event.debug_annotations]
    assert {a.name: a.int_value for a in begins[0].debug_annotations} == {"count": 4, "busy_ns": 500}


def test_starts_of_a_resumed_run_stand_on_one_axis(tmp_path):
    write_part(tmp_path, one_by_one(("startup", 1000)), origin_unix_ns=ORIGIN, killed=True)
    write_part(tmp_path, one_by_one(("startup", 1000)), origin_unix_ns=ORIGIN + 7_000_000_000)
    write_trace(tmp_path, tmp_path / "t.json")
    tracks = check_trace_events(json.loads((tmp_path / "t.json").read_text()))
    assert tracks == {
        ("rank 0 (n1), start 1", "spans"): [(0, 1000, "startup")],
        ("rank 0 (n1), start 2", "spans"): [(7_000_000_000, 7_000_001_000, "startup")],
    }


def test_an_unknown_suffix_is_refused_and_an_unwritable_folder_said(run_dir):
    with pytest.raises(InputError, match="suffixes"):
        write_trace(run_dir, run_dir / "trace.txt")
    with pytest.raises(InputError, match="cannot be written"):
        write_trace(run_dir, run_dir / "none" / "trace.json")
