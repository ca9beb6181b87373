"""The spans of all ranks as a trace for https://ui.perfetto.dev and chrome://tracing.

The format is Chrome's Trace Event Format in its JSON object form, gzipped if the file is named ``.json.gz``
(https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU).

There is one process per rank and start. Its thread ``spans`` has the spans that were recorded one by one. In long runs
there is also one thread per phase for merged spans: their length runs from the first start to the last end, and their
argument ``busy_ms`` is the time spent in the phase. All ranks of all clusters share one axis that begins at the first
start (``hpc_lstm.timing.alignment``).

Each rank has a thread for the stages of its start-up (``trace_stages``). Rank 0 also has threads for epochs and steps,
and counters of loss, speed and memory (``trace_history``).

Where ranks waited at a barrier, an arrow leads from the span of the rank that arrived last to each span that verifiably
waited for it. It ends at an inner span, ``rank 3 arrived``, that begins at that moment: Perfetto reverses an arrow to
a span that began earlier than the arrow, as the wait itself did.
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
from hpc_lstm.files import require_replaceable_text, whole_file
from hpc_lstm.timing.alignment import clock_error_ns, unix_ns
from hpc_lstm.timing.barriers import Barriers, collect_barriers
from hpc_lstm.timing.cluster_runs import ClusterRun, axis_notes, open_cluster_runs
from hpc_lstm.timing.spans import Timing
from hpc_lstm.timing.timeline import PHASES
from hpc_lstm.timing.trace_history import history_lines, starts_of_history
from hpc_lstm.timing.trace_lines import name_line
from hpc_lstm.timing.trace_stages import stage_lines

SUFFIXES = (".json", ".json.gz")
# Of every trace.
BEGINNING = '{"displayTimeUnit":'
# Lines held in memory before they are written.
_LINES = 4096


@dataclass(frozen=True)
class Arrow:
    """From the last arrival at a barrier to a wait that it caused.

    Attributes:
        number: unique in the trace.
        pid: the process that arrived last; the arrow begins in its thread of single spans.
        at_ns: 1 ns after its arrival, in the time of ``Event``.
    """

    number: int
    pid: int
    at_ns: int


@dataclass(frozen=True)
class Event:
    """A stretch of time on a thread; times in ns since the first start; ``tid`` 0 has the single spans.

    Attributes:
        barrier: the number of the barrier that the span was part of, -1 if of none.
        last: the rank that arrived last at that barrier, -1 if of none.
        caused_by: the arrow that ends here.
    """

    pid: int
    tid: int
    phase: str
    start_ns: int
    end_ns: int
    count: int
    busy_ns: int
    barrier: int = -1
    last: int = -1
    caused_by: Arrow | None = None


@dataclass(frozen=True)
class Process:
    """One start of one rank: a part of a run's timing.

    Attributes:
        pid: its number in the trace; a run's processes are numbered consecutively in the order of its parts.
        shift_ns: added to its unix times to get times of the trace.
        barriers: those of its start, None if there were none.
        first_arrow: the first number for arrows of its start.
    """

    pid: int
    name: str
    timing: Timing
    part: int
    shift_ns: int
    barriers: Barriers | None
    first_arrow: int

    def events(self) -> Iterator[Event]:
        """The events in order of writing: on each thread by time and without overlap."""
        for phases, numbers in self.timing.spans(self.part):
            starts, ends = (unix_ns(self.timing, self.part, column) + self.shift_ns for column in numbers[:2])
            rows = zip(phases.tolist(), starts.tolist(), ends.tolist(), *numbers[2:].tolist(), strict=True)
            for phase, start, end, busy, count, barrier in rows:
                tid = 0 if count == 1 else phase + 1
                last, arrow = self._barrier_of_span(barrier)
                number = barrier if last >= 0 else -1
                yield Event(self.pid, tid, PHASES[phase], start, end, count, busy, number, last, arrow)

    def _barrier_of_span(self, number: int) -> tuple[int, Arrow | None]:
        """The rank that was last at a barrier, -1 if that is not known, and the arrow from it to this process."""
        if number < 0 or self.barriers is None or not self.barriers.complete[number]:
            return -1, None
        barriers = self.barriers
        last = int(barriers.last[number])
        place = int(np.searchsorted(barriers.parts, self.part))
        arrow = None
        if barriers.was_delayed(place, number):
            arrival = int(barriers.arrival_ns[number]) + self.shift_ns
            arrow_number = self.first_arrow + number * len(barriers.parts) + place
            arrow = Arrow(arrow_number, self.pid + last - self.part, arrival + 1)
        return int(self.timing.rank[last]), arrow


def write_trace(run_dirs: Sequence[str | Path], path: str | Path) -> None:
    """Write the trace of a run, or of the runs of several clusters; memory is bounded.

    Raises:
        InputError: a run has no timing, the suffix is none of ``SUFFIXES``, or ``path`` cannot be written.
    """
    path = Path(path)
    if not path.name.endswith(SUFFIXES):
        raise InputError(f"{path}: a trace is JSON; name it .json or .json.gz (gzipped)")
    require_replaceable_text(path, BEGINNING, "a trace")
    runs = open_cluster_runs(run_dirs)
    with whole_file(path) as temporary, _open_text(temporary, path.name.endswith(".gz")) as file:
        _write_events(runs, file)


def trace_processes(runs: Sequence[ClusterRun]) -> Iterator[Process]:
    """The starts of all ranks of all runs."""
    origin, pid, arrow = origin_unix_ns(runs), 1, 1
    for run in runs:
        timing = run.timing
        barriers_of: dict[int, tuple[Barriers, int]] = {}
        for barriers in collect_barriers(timing):
            barriers_of |= dict.fromkeys(barriers.parts.tolist(), (barriers, arrow))
            arrow += len(barriers.parts) * len(barriers.complete)
        for part in range(len(timing.rank)):
            found, first_arrow = barriers_of.get(part, (None, 0))
            shift = run.alignment.shift_ns - origin
            yield Process(pid, process_name(run, part), timing, part, shift, found, first_arrow)
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
    """``alpha: rank 3 (node), start 2``; cluster and start only where there may be several."""
    timing = run.timing
    name = f"rank {timing.rank[part]} ({timing.node[part]})"
    if run.name:
        name = f"{run.name}: {name}"
    earlier = int((timing.rank[:part] == timing.rank[part]).sum())
    return name if timing.starts == 1 else f"{name}, start {earlier + 1}"


def thread_name(tid: int) -> str:
    """The thread of single spans, or that of a phase's merged ones."""
    return "spans" if tid == 0 else f"{PHASES[tid - 1]}, merged"


def trace_metadata(runs: Sequence[ClusterRun]) -> dict[str, object]:
    """What a reader of the trace must know about its axis."""
    errors = [clock_error_ns(run.timing) for run in runs]
    return {
        "ranks": sum(len(run.timing.ranks) for run in runs),
        "origin_unix_ns": origin_unix_ns(runs),
        "clock_error_ns": None if None in errors else max(error for error in errors if error is not None),
        "axis": axis_notes(runs),
    }


def _write_events(runs: Sequence[ClusterRun], file: IO[str]) -> None:
    """Write the JSON object piece by piece: a trace may be larger than memory."""
    file.write(f'{BEGINNING} "ms", "otherData": {json.dumps(trace_metadata(runs))}, "traceEvents": [\n')
    separator = ""
    histories = {id(run.timing): (run, starts_of_history(run)) for run in runs}
    for process in trace_processes(runs):
        threads: set[int] = set()
        lines = [
            name_line("process_name", process.pid, 0, {"name": process.name}),
            name_line("process_sort_index", process.pid, 0, {"sort_index": process.pid}),
        ]
        for event in process.events():
            if event.tid not in threads:
                threads.add(event.tid)
                lines.append(name_line("thread_name", event.pid, event.tid, {"name": thread_name(event.tid)}))
            lines += _event_lines(event)
            if len(lines) > _LINES:
                file.write(separator + ",\n".join(lines))
                separator = ",\n"
                lines.clear()
        lines += stage_lines(process.timing, process.part, process.pid, process.shift_ns)
        run, starts = histories[id(process.timing)]
        if process.part in starts:
            lines += history_lines(run, process.part, process.pid, process.shift_ns, starts[process.part])
        if lines:
            file.write(separator + ",\n".join(lines))
            separator = ",\n"
    file.write("\n]}\n")


def _event_lines(event: Event) -> list[str]:
    """A span; if another rank caused it, also its inner span and the arrow to that one.

    By hand, as ``json`` takes several times as long. An arrow's ends belong to the spans that are open at their times.
    """
    arguments = ""
    if event.tid:
        arguments = f', "args": {{"count": {event.count}, "busy_ms": {event.busy_ns / 1e6}}}'
    elif event.barrier >= 0:
        arguments = f', "args": {{"barrier": {event.barrier}, "last_rank": {event.last}}}'
    lines = [
        f'{{"ph": "X", "pid": {event.pid}, "tid": {event.tid}, "name": "{event.phase}", "cat": "phase", '
        f'"ts": {_us(event.start_ns)}, "dur": {_us(event.end_ns - event.start_ns)}{arguments}}}'
    ]
    if event.caused_by is not None:
        arrow = event.caused_by
        flow = f'"tid": 0, "cat": "barrier", "name": "last arrival", "id": {arrow.number}'
        lines += [
            f'{{"ph": "X", "pid": {event.pid}, "tid": 0, "name": "rank {event.last} arrived", "cat": "barrier", '
            f'"ts": {_us(arrow.at_ns)}, "dur": {_us(event.end_ns - arrow.at_ns)}}}',
            f'{{"ph": "s", "pid": {arrow.pid}, "ts": {_us(arrow.at_ns)}, {flow}}}',
            f'{{"ph": "f", "bp": "e", "pid": {event.pid}, "ts": {_us(arrow.at_ns + 1)}, {flow}}}',
        ]
    return lines


def _us(ns: int) -> str:
    """Microseconds with all three digits of the nanoseconds, so that neighbours touch without overlapping."""
    return f"{ns // 1000}.{ns % 1000:03d}"


@contextmanager
def _open_text(path: Path, compressed: bool) -> Iterator[IO[str]]:
    with gzip.open(path, "wt", encoding="utf-8") if compressed else path.open("w", encoding="utf-8") as file:
        yield file
