"""The spans of all ranks as a trace that https://ui.perfetto.dev and chrome://tracing open.

Two formats, by the file's suffix:

- ``.json``, ``.json.gz``: the Trace Event Format of Chrome, JSON object form.
- ``.pftrace``, ``.perfetto-trace``: Perfetto's own protobuf (``perfetto/trace/trace.proto``), smaller.

Both show one process per rank and start, with a thread ``spans`` of single spans and, in long runs, one
thread per phase for stretches in which spans were merged: their length is first start to last end, their
argument ``busy_ms`` (``busy_ns``) the time spent in the phase. All ranks of all clusters share one axis, from
the first start (``hpc_lstm.timing.alignment``).

Where ranks met, an arrow leads from the span of the rank that arrived last into each span that verifiably waited
for it: to an inner span, ``rank 3 arrived``, that begins then. Perfetto turns an arrow round that would lead to a
span which began earlier, as the wait itself did.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from hpc_lstm.errors import InputError
from hpc_lstm.files import whole_file
from hpc_lstm.timing.alignment import clock_error_ns, unix_ns
from hpc_lstm.timing.barriers import Meetings, meetings
from hpc_lstm.timing.side_by_side import ClusterRun, axis_notes, open_runs
from hpc_lstm.timing.spans import Timing
from hpc_lstm.timing.timeline import PHASES

SUFFIXES = (".json", ".json.gz", ".pftrace", ".perfetto-trace")


@dataclass(frozen=True)
class Arrow:
    """From the last arrival at a meeting into a wait that it caused.

    Attributes:
        pid: the process that arrived last; the arrow begins in its single spans.
        at_ns: 1 ns after it arrived, as times of ``Event``.
    """

    number: int
    pid: int
    at_ns: int


@dataclass(frozen=True)
class Event:
    """A stretch of time on a thread; times in ns since the first rank's start; ``tid`` 0 are single spans.

    Attributes:
        last: the rank that arrived last at the meeting that the span was part of, -1 where it was of none.
        causes: numbers of the arrows that begin here.
        caused_by: the arrow that ends here.
    """

    pid: int
    tid: int
    phase: str
    start_ns: int
    end_ns: int
    count: int
    busy_ns: int
    meeting: int = -1
    last: int = -1
    causes: tuple[int, ...] = ()
    caused_by: Arrow | None = None


@dataclass(frozen=True)
class Process:
    """One start of one rank: a part of a run's timing.

    Attributes:
        pid: its number in the trace; those of a run follow each other in order of its parts.
        shift_ns: added to its unix times to have times of the trace.
        met: the meetings of its start, None where there were none.
        first_arrow: what the numbers of its start's arrows begin with.
    """

    pid: int
    name: str
    timing: Timing
    part: int
    shift_ns: int
    met: Meetings | None
    first_arrow: int

    def events(self) -> Iterator[Event]:
        """In order of writing: on each thread in order of time and not overlapping."""
        for phases, numbers in self.timing.spans(self.part):
            starts, ends = (unix_ns(self.timing, self.part, column) + self.shift_ns for column in numbers[:2])
            rows = zip(phases.tolist(), starts.tolist(), ends.tolist(), *numbers[2:].tolist(), strict=True)
            for phase, start, end, busy, count, meeting in rows:
                tid = 0 if count == 1 else phase + 1
                event = Event(self.pid, tid, PHASES[phase], start, end, count, busy)
                yield (
                    event if meeting < 0 or self.met is None else self._with_meeting(event, meeting, self.met)
                )

    def _with_meeting(self, event: Event, meeting: int, met: Meetings) -> Event:
        if not met.whole[meeting]:
            return event
        last = int(met.last[meeting])
        row = int(np.searchsorted(met.parts, self.part))
        causes: tuple[int, ...] = ()
        caused_by = None
        number = self.first_arrow + meeting * len(met.parts)
        if last == self.part:
            causes = tuple((number + met.waiters(meeting)).tolist())
        elif met.arrows[row, meeting >> 3] >> (7 - (meeting & 7)) & 1:
            arrival = int(met.arrival_ns[meeting]) + self.shift_ns
            caused_by = Arrow(number + row, self.pid + last - self.part, arrival + 1)
        rank = int(self.timing.rank[last])
        return Event(
            **{**event.__dict__, "meeting": meeting, "last": rank, "causes": causes, "caused_by": caused_by}
        )


def write_trace(run_dirs: Sequence[str | Path], path: str | Path) -> None:
    """Write the trace of a run, or of the runs of several clusters; memory is bounded.

    Raises:
        InputError: a run has no timing, the suffix is none of ``SUFFIXES``, or ``path`` cannot be written.
    """
    path = Path(path)
    if not path.name.endswith(SUFFIXES):
        raise InputError(f"{path}: a trace is written as {', '.join(SUFFIXES)}; choose one of these suffixes")
    runs = open_runs(run_dirs)
    with whole_file(path) as temporary:
        if path.name.endswith((".json", ".json.gz")):
            with _text(temporary, compressed=path.name.endswith(".gz")) as file:
                _write_json(runs, file)
        else:
            with temporary.open("wb") as binary:
                _write_perfetto(runs, binary)


def processes(runs: Sequence[ClusterRun]) -> Iterator[Process]:
    """The starts of all ranks of all runs."""
    zero, pid, arrow = origin_unix_ns(runs), 1, 1
    for run in runs:
        timing = run.timing
        met: dict[int, tuple[Meetings, int]] = {}
        for each in meetings(timing):
            met |= dict.fromkeys(each.parts.tolist(), (each, arrow))
            arrow += len(each.parts) * len(each.whole)
        for part in range(len(timing.rank)):
            found, first = met.get(part, (None, 0))
            shift = run.alignment.shift_ns - zero
            yield Process(pid, process_name(run, part), timing, part, shift, found, first)
            pid += 1


def origin_unix_ns(runs: Sequence[ClusterRun]) -> int:
    """Where the axis begins: the first start of all, ns since 1970-01-01 UTC."""
    start = np.zeros(1, np.int64)
    return min(
        int(unix_ns(run.timing, part, start)[0]) + run.alignment.shift_ns
        for run in runs
        for part in range(len(run.timing.rank))
    )


def process_name(run: ClusterRun, part: int) -> str:
    """``alpha: rank 3 (node), start 2``: the cluster and the start are said where there may be several."""
    timing = run.timing
    name = f"rank {timing.rank[part]} ({timing.node[part]})"
    if run.name:
        name = f"{run.name}: {name}"
    earlier = int((timing.rank[:part] == timing.rank[part]).sum())
    return name if timing.starts == 1 else f"{name}, start {earlier + 1}"


def thread_name(tid: int) -> str:
    """The single spans' thread, or that of a phase's merged ones."""
    return "spans" if tid == 0 else f"{PHASES[tid - 1]}, merged"


def metadata(runs: Sequence[ClusterRun]) -> dict[str, object]:
    """What a reader of the trace must know of its axis."""
    errors = [clock_error_ns(run.timing) for run in runs]
    return {
        "ranks": sum(len(run.timing.ranks) for run in runs),
        "origin_unix_ns": origin_unix_ns(runs),
        "clock_error_ns": None if None in errors else max(error for error in errors if error is not None),
        "axis": axis_notes(runs),
    }


def _write_json(runs: Sequence[ClusterRun], file: IO[str]) -> None:
    file.write(f'{{"displayTimeUnit": "ms", "otherData": {json.dumps(metadata(runs))}, "traceEvents": [\n')
    separator = ""
    for process in processes(runs):
        threads: set[int] = set()
        lines = [_metadata("process_name", process.pid, 0, {"name": process.name})]
        lines.append(_metadata("process_sort_index", process.pid, 0, {"sort_index": process.pid}))
        for event in process.events():
            if event.tid not in threads:
                threads.add(event.tid)
                lines.append(_metadata("thread_name", event.pid, event.tid, {"name": thread_name(event.tid)}))
            arguments = _arguments(event)
            lines.append(
                f'{{"ph": "X", "pid": {event.pid}, "tid": {event.tid}, "name": "{event.phase}", '
                '"cat": "phase", '
                f'"ts": {_us(event.start_ns)}, "dur": {_us(event.end_ns - event.start_ns)}{arguments}}}'
            )
            if event.caused_by is not None:
                lines += _release(event, event.caused_by)
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
    if event.tid:
        return f', "args": {json.dumps({"count": event.count, "busy_ms": event.busy_ns / 1e6})}'
    if event.meeting >= 0:
        return f', "args": {{"meeting": {event.meeting}, "last_rank": {event.last}}}'
    return ""


def _release(event: Event, arrow: Arrow) -> list[str]:
    """The inner span of a wait, and the arrow to it; its ends belong to the spans that are open at their times."""
    flow = f'"tid": 0, "cat": "meeting", "name": "last arrival", "id": {arrow.number}'
    return [
        f'{{"ph": "X", "pid": {event.pid}, "tid": 0, "name": "{_arrived(event)}", "cat": "meeting", '
        f'"ts": {_us(arrow.at_ns)}, "dur": {_us(event.end_ns - arrow.at_ns)}}}',
        f'{{"ph": "s", "pid": {arrow.pid}, "ts": {_us(arrow.at_ns)}, {flow}}}',
        f'{{"ph": "f", "bp": "e", "pid": {event.pid}, "ts": {_us(arrow.at_ns + 1)}, {flow}}}',
    ]


def _arrived(event: Event) -> str:
    return f"rank {event.last} arrived"


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


def _write_perfetto(runs: Sequence[ClusterRun], file: IO[bytes]) -> None:
    file.write(_packet(_number(13, _INCREMENTAL_STATE_CLEARED)))
    said = [
        _text_field(1, name) + _text_field(2, json.dumps(value)) for name, value in metadata(runs).items()
    ]
    file.write(_packet(_bytes(5, b"".join(_bytes(2, pair) for pair in said))))
    for process in processes(runs):
        pid, threads = process.pid, set[int]()
        described = _number(1, pid) + _text_field(6, process.name)
        file.write(_packet(_bytes(60, _number(1, _track(pid, -1)) + _bytes(3, described))))
        for event in process.events():
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
                begin += _annotation("count", event.count) + _annotation("busy_ns", event.busy_ns)
            elif event.meeting >= 0:
                begin += _annotation("meeting", event.meeting) + _annotation("last_rank", event.last)
            begin += b"".join(_fixed64(47, number) for number in event.causes)
            file.write(_packet(_number(8, event.start_ns) + _bytes(11, begin)))
            end = _packet(_number(8, event.end_ns) + _bytes(11, _number(9, _SLICE_END) + _number(11, track)))
            if event.caused_by is not None:
                inner = _number(9, _SLICE_BEGIN) + _number(11, track)
                inner += _text_field(22, "meeting") + _text_field(23, _arrived(event))
                inner += _fixed64(48, event.caused_by.number)
                file.write(_packet(_number(8, event.caused_by.at_ns) + _bytes(11, inner)) + end)
            file.write(end)


def _annotation(name: str, value: int) -> bytes:
    return _bytes(4, _text_field(10, name) + _number(4, value))


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


def _fixed64(field: int, value: int) -> bytes:
    return _varint(field << 3 | 1) + value.to_bytes(8, "little")


def _varint(value: int) -> bytes:
    """A number of 0 or more, 7 bits a byte, least first."""
    content = bytearray()
    while value > 127:
        content.append(value & 127 | 128)
        value >>= 7
    content.append(value)
    return bytes(content)
