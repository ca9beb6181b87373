"""The spans of all ranks as a trace that https://ui.perfetto.dev and chrome://tracing open.

Two formats, by the file's suffix:

- ``.json``, ``.json.gz``: the Trace Event Format of Chrome, JSON object form.
- ``.pftrace``, ``.perfetto-trace``: Perfetto's own protobuf (``perfetto/trace/trace.proto``), smaller.

Both show one process per rank and start, with a thread ``spans`` of single spans and, in long runs, one
thread per phase for stretches in which spans were merged: their length is first start to last end, their
argument ``busy_ms`` (``busy_ns``) the time spent in the phase. All ranks share one axis: the clocks of their
nodes, from the first start.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hpc_lstm.errors import InputError
from hpc_lstm.report.output import whole_file
from hpc_lstm.report.spans import Timing, load_timing
from hpc_lstm.timing import PHASES

SUFFIXES = (".json", ".json.gz", ".pftrace", ".perfetto-trace")


@dataclass(frozen=True)
class Event:
    """A stretch of time on a thread; times in ns since the first rank's start; ``tid`` 0 are single spans."""

    pid: int
    tid: int
    phase: str
    start_ns: int
    end_ns: int
    count: int
    busy_ns: int


def write_trace(run_dir: str | Path, path: str | Path) -> None:
    """Write a run's trace; memory is bounded.

    Raises:
        InputError: the run has no timing, the suffix is none of ``SUFFIXES``, or ``path`` cannot be written.
    """
    path = Path(path)
    if not path.name.endswith(SUFFIXES):
        raise InputError(f"{path}: a trace is written as {', '.join(SUFFIXES)}; choose one of these suffixes")
    timing = load_timing(run_dir)
    with whole_file(path) as temporary:
        if path.name.endswith((".json", ".json.gz")):
            with _text(temporary, compressed=path.name.endswith(".gz")) as file:
                _write_json(timing, file)
        else:
            with temporary.open("wb") as binary:
                _write_perfetto(timing, binary)


def process_name(timing: Timing, part: int) -> str:
    """``rank 3 (node), start 2``: the start is said where there was more than one."""
    name = f"rank {timing.rank[part]} ({timing.node[part]})"
    earlier = int((timing.rank[:part] == timing.rank[part]).sum())
    return name if timing.starts == 1 else f"{name}, start {earlier + 1}"


def thread_name(tid: int) -> str:
    """The single spans' thread, or that of a phase's merged ones."""
    return "spans" if tid == 0 else f"{PHASES[tid - 1]}, merged"


def events(timing: Timing, part: int) -> Iterator[Event]:
    """The events of one part in order of writing: on each thread in order of time and not overlapping."""
    origin = int(timing.origin_unix_ns[part] - timing.origin_unix_ns.min())
    for phases, numbers in timing.spans(part):
        for phase, (start, end, busy, count) in zip(phases.tolist(), numbers.T.tolist(), strict=True):
            tid = 0 if count == 1 else phase + 1
            yield Event(part + 1, tid, PHASES[phase], origin + start, origin + end, count, busy)


def _write_json(timing: Timing, file: IO[str]) -> None:
    meta = {"ranks": len(timing.ranks), "origin_unix_ns": int(timing.origin_unix_ns.min())}
    file.write(f'{{"displayTimeUnit": "ms", "otherData": {json.dumps(meta)}, "traceEvents": [\n')
    separator = ""
    for part in range(len(timing.rank)):
        threads: set[int] = set()
        lines = [_metadata("process_name", part + 1, 0, {"name": process_name(timing, part)})]
        lines.append(_metadata("process_sort_index", part + 1, 0, {"sort_index": part}))
        for event in events(timing, part):
            if event.tid not in threads:
                threads.add(event.tid)
                lines.append(_metadata("thread_name", event.pid, event.tid, {"name": thread_name(event.tid)}))
            arguments = "" if event.tid == 0 else f', "args": {_arguments(event)}'
            lines.append(
                f'{{"ph": "X", "pid": {event.pid}, "tid": {event.tid}, "name": "{event.phase}", '
                '"cat": "phase", '
                f'"ts": {_us(event.start_ns)}, "dur": {_us(event.end_ns - event.start_ns)}{arguments}}}'
            )
            if len(lines) > 4096:
                file.write(separator + ",\n".join(lines))
                separator = ",\n"
                lines.clear()
        if lines:
            file.write(separator + ",\n".join(lines))
            separator = ",\n"
    file.write("\n]}\n")


def _metadata(kind: str, pid: int, tid: int, arguments: dict[str, object]) -> str:
    return json.dumps({"ph": "M", "name": kind, "pid": pid, "tid": tid, "args": arguments})


def _arguments(event: Event) -> str:
    return json.dumps({"count": event.count, "busy_ms": event.busy_ns / 1e6})


def _us(ns: int) -> str:
    """Microseconds with all three digits of the nanoseconds, so that neighbours meet without overlap."""
    return f"{ns // 1000}.{ns % 1000:03d}"


@contextmanager
def _text(path: Path, compressed: bool) -> Iterator[IO[str]]:
    with gzip.open(path, "wt", encoding="utf-8") if compressed else path.open("w", encoding="utf-8") as file:
        yield file


# -- Perfetto's protobuf: numbers of fields as in perfetto/trace/**.proto --------------------------

_SLICE_BEGIN, _SLICE_END = 1, 2
_INCREMENTAL_STATE_CLEARED = 1
# A sequence of packets has a writer of its own, and nothing interned; any number that is not 0 does.
_SEQUENCE = 1


def _write_perfetto(timing: Timing, file: IO[bytes]) -> None:
    file.write(_packet(_number(13, _INCREMENTAL_STATE_CLEARED)))
    for part in range(len(timing.rank)):
        pid, threads = part + 1, set[int]()
        process = _number(1, pid) + _text_field(6, process_name(timing, part))
        file.write(_packet(_bytes(60, _number(1, _track(pid, -1)) + _bytes(3, process))))
        for event in events(timing, part):
            track = _track(pid, event.tid)
            if event.tid not in threads:
                threads.add(event.tid)
                thread = (
                    _number(1, pid)
                    + _number(2, _track(pid, event.tid))
                    + _text_field(5, thread_name(event.tid))
                )
                descriptor = _number(1, track) + _number(5, _track(pid, -1)) + _bytes(4, thread)
                file.write(_packet(_bytes(60, descriptor)))
            begin = _number(9, _SLICE_BEGIN) + _number(11, track)
            begin += _text_field(22, "phase") + _text_field(23, event.phase)
            if event.tid:
                begin += _bytes(4, _text_field(10, "count") + _number(4, event.count))
                begin += _bytes(4, _text_field(10, "busy_ns") + _number(4, event.busy_ns))
            end = _number(9, _SLICE_END) + _number(11, track)
            file.write(_packet(_number(8, event.start_ns) + _bytes(11, begin)))
            file.write(_packet(_number(8, event.end_ns) + _bytes(11, end)))


def _track(pid: int, tid: int) -> int:
    """A number above 0 for each process (``tid`` -1) and thread."""
    return pid * (len(PHASES) + 2) + tid + 1


def _packet(content: bytes) -> bytes:
    return _bytes(1, content + _number(10, _SEQUENCE))


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _text_field(field: int, text: str) -> bytes:
    return _bytes(field, text.encode())


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _varint(value: int) -> bytes:
    """A number of 0 or more, 7 bits a byte, least first."""
    content = bytearray()
    while value > 127:
        content.append(value & 127 | 128)
        value >>= 7
    content.append(value)
    return bytes(content)
