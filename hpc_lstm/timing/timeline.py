"""The timeline of one rank: what it did, when, and for how long.

A ``Timeline`` is in exactly one phase at any moment, from the start of the process to ``close``, so that the phases add
up to the wall time by construction. Spans nest: an inner phase's time is not counted for the outer one.

``rank-00000.jsonl`` has one JSON object per line:

    {"format": "hpc_lstm timing", "version": 1, "rank": 0, "size": 2, "node": "n1", "origin_unix_ns": ...}
    {"clock_at_ns": 500, "clock_offset_ns": -20, "clock_error_ns": 3, "start_unix_ns": ...}
    {"phase": "compute", "start_ns": 0, "end_ns": 900, "busy_ns": 900, "count": 1}
    {"phase": "wait", "start_ns": 900, "end_ns": 990, "busy_ns": 90, "count": 1, "meeting": 0}
    {"stage": "compiling kernels", "start_ns": 100, "end_ns": 700}
    {"round": 3, "brought_ns": 1000, "seen_ns": 1200}
    ...
    {"wall_ns": 123, "phases_ns": {"compute": 100, ...}}

Times are nanoseconds since the origin. A record with ``count`` above 1 stands for that many spans of one phase between
``start_ns`` and ``end_ns``, of which ``busy_ns`` was spent in it. ``meeting`` numbers the barriers of all ranks since
this start, alike on all ranks. A clock line says what to add to this rank's times to get rank 0's (``clocks``);
``start_unix_ns`` is rank 0's origin, which all ranks of one start share. A stage line names a part of the
start-up, which may lie in several phases. A round line says since when this cluster's contribution may have been in the
object store, and when the cluster saw the round closed.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO

from hpc_lstm.files import append_text

PHASES = ("startup", "load", "preprocess", "compute", "average", "wait", "sync", "checkpoint", "evaluate")
FORMAT = "hpc_lstm timing"
VERSION = 1
# Spans recorded one by one; later ones are merged per phase between flushes, so that the file stays small.
DETAILED_SPANS = 100_000


class Timeline:
    """Attributes every moment of this rank to one phase.

    Args:
        path: file to append to on ``flush``; None records nothing (commands other than ``train``). A resumed
            run's file has several parts, each with a header line; a part that was killed has no totals.
        rank, size, node: written to the header line.

    Attributes:
        origin_unix_ns: start of the process by the node's wall clock, ns since 1970-01-01 UTC.
    """

    def __init__(self, path: Path | None = None, rank: int = 0, size: int = 1, node: str = "") -> None:
        age_ns = _process_age_ns()
        self._origin = time.perf_counter_ns() - age_ns
        self.origin_unix_ns = time.time_ns() - age_ns
        self._last = 0  # when the current phase began or continued, ns since the origin
        self._stack = ["startup"]
        self._totals = dict.fromkeys(PHASES, 0)
        self._previous: tuple[str, int, int] | None = None  # the last span that ended
        self._earlier: tuple[str, int, int] | None = None  # the one in front of it
        self._spans_of: dict[str, AbstractContextManager[None]] = {
            phase: _Span(self, phase) for phase in PHASES
        }
        self._spans: list[tuple[str, int, int]] = []
        self._passed = 0  # barriers of all ranks so far
        self._barriers: list[tuple[int, int]] = []  # index in ``_spans``, number of the barrier
        self._merged: dict[str, list[int]] = {}
        self._written = 0
        self._file: IO[str] | None = None
        self._path = path
        self._begun = 0  # bytes of the file before this part
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = append_text(path, path.parent.parent)
            self._begun = path.stat().st_size
            if not _ends_a_line(path):
                self._file.write("\n")  # a killed run's last line must not swallow the header
            header = {
                "format": FORMAT,
                "version": VERSION,
                "rank": rank,
                "size": size,
                "node": node,
                "origin_unix_ns": self.origin_unix_ns,
            }
            self._file.write(json.dumps(header) + "\n")

    def span(self, phase: str) -> AbstractContextManager[None]:
        """Spend the block in ``phase``, one of ``PHASES``."""
        return self._spans_of[phase]

    def enter(self, phase: str) -> None:
        """Make ``phase`` the one that time is counted for while no span is open."""
        self._switch()
        self._stack[0] = phase

    def reassign(self, duration_ns: int, phase: str) -> None:
        """Count the first ``duration_ns`` of the last span, which has just ended, for ``phase`` instead.

        For work on a GPU: during a span the host may have waited for the GPU to finish something else.
        """
        if self._previous is None or duration_ns <= 0:
            return
        self._move(phase, duration_ns, first=True)

    def record_barrier(self, averaged_ns: int = 0) -> None:
        """Record that the last span, which has just ended, was this rank's wait at a barrier of all ranks.

        Args:
            averaged_ns: its last part, in which all ranks had arrived, and weights were averaged.
        """
        if self._previous is not None:
            place = len(self._spans) - 1 if self._spans and self._spans[-1] is self._previous else None
            if averaged_ns > 0:
                self._move("average", averaged_ns, first=False)
            if place is not None:
                self._barriers.append((place, self._passed))
                self._previous = None  # not to be reassigned: its start is when the rank arrived
        self._passed += 1

    def record_barrier_within(self, own_ns: int, averaged_ns: int) -> None:
        """Record that a GPU has passed barriers of all ranks in a span of computing, which is the one before the last.

        The last span is the wait for the other ranks' hosts. What several averages took counts as the end of the
        computing, as if there were one of them.

        Args:
            own_ns: what the averages took on this rank's GPU, with its waits for others.
            averaged_ns: what they took without.
        """
        if self._earlier is not None:
            was, start, end = self._earlier
            own_ns = min(own_ns, end - start)
            averaged_ns = min(averaged_ns, own_ns)
            arrived, begun = end - own_ns, end - averaged_ns
            parts = [(was, start, arrived), ("wait", arrived, begun), ("average", begun, end)]
            for phase, ns in ((was, -own_ns), ("wait", own_ns - averaged_ns), ("average", averaged_ns)):
                self._totals[phase] += ns
            places = range(max(0, len(self._spans) - 2), len(self._spans))
            if place := [number for number in places if self._spans[number] is self._earlier]:
                self._spans[place[0] : place[0] + 1] = parts
                self._barriers.append((place[0] + 1, self._passed))
            elif was in self._merged:
                self._merged[was][2] -= own_ns
                for part in parts[1:]:
                    self._merge(*part)
            self._earlier = self._previous = None
        self._passed += 1

    def record_clock(self, at_ns: int, offset_ns: int, error_ns: int, start_unix_ns: int) -> None:
        """Record what to add to this rank's times to get rank 0's, see ``clocks``."""
        self._write_record(
            clock_at_ns=at_ns,
            clock_offset_ns=offset_ns,
            clock_error_ns=error_ns,
            start_unix_ns=start_unix_ns,
        )

    def record_stage(self, name: str, start_ns: int, end_ns: int) -> None:
        """Record a part of the start-up, between two times of ``time.perf_counter_ns``."""
        self._write_record(stage=name, start_ns=self.at(start_ns), end_ns=self.at(end_ns))

    def record_round(self, number: int, brought_ns: int, seen_ns: int) -> None:
        """Record that this cluster has seen a round of clusters closed.

        Args:
            brought_ns: its own contribution was in the object store no earlier; -1: it had none that was counted.
            seen_ns: the round was closed no later. Both in this timeline's time, see ``now``.
        """
        self._write_record(round=number, brought_ns=brought_ns, seen_ns=seen_ns)

    def now(self) -> int:
        """Nanoseconds since the origin."""
        return self.at(time.perf_counter_ns())

    def at(self, perf_counter_ns: int) -> int:
        """A time of ``time.perf_counter_ns`` as nanoseconds since the origin."""
        return perf_counter_ns - self._origin

    def seconds(self, phase: str) -> float:
        """Time spent in ``phase`` so far."""
        running = self.now() - self._last if self._stack[-1] == phase else 0
        return (self._totals[phase] + running) / 1e9

    def seconds_by_phase(self) -> dict[str, float]:
        """``seconds`` of every phase."""
        return {phase: self.seconds(phase) for phase in PHASES}

    @property
    def wall_s(self) -> float:
        """Time since the process started."""
        return self.now() / 1e9

    def flush(self) -> None:
        """Write the spans recorded since the last flush."""
        if self._file is not None:
            lines = [
                f'{{"phase": "{phase}", "start_ns": {start}, "end_ns": {end}, "busy_ns": {end - start}, "count": 1}}\n'
                for phase, start, end in self._spans
            ]
            for index, barrier in self._barriers:
                lines[index] = f'{lines[index][:-2]}, "meeting": {barrier}}}\n'
            lines += [
                f'{{"phase": "{phase}", "start_ns": {start}, "end_ns": {end}, "busy_ns": {busy}, "count": {count}}}\n'
                for phase, (start, end, busy, count) in self._merged.items()
            ]
            self._file.write("".join(lines))
            self._file.flush()
        self._spans.clear()
        self._barriers.clear()
        self._merged.clear()

    def close(self) -> None:
        """End the last phase and write the totals; idempotent."""
        if self._file is None:
            return
        file = self._file
        try:
            self._switch()
            self.flush()
            file.write(json.dumps({"wall_ns": self._last, "phases_ns": self._totals}) + "\n")
        finally:  # on a full disk, too: otherwise Python would try to write, and fail, again on exit
            self._file = None
            file.close()

    def discard(self) -> None:
        """Leave the file as it was before this start, which had nothing to do; instead of ``close``."""
        if self._file is not None:
            with self._file as file:
                self._file = None
                file.truncate(self._begun)
            if self._path is not None and not self._begun:
                self._path.unlink()

    def _move(self, phase: str, duration_ns: int, *, first: bool) -> None:
        """Count the first part of the last span, which has just ended, or its last part, for another phase."""
        assert self._previous is not None
        was, start, end = self._previous
        moved_ns = min(duration_ns, end - start)
        self._totals[was] -= moved_ns
        self._totals[phase] += moved_ns
        self._previous = None
        if self._file is None:
            return
        middle = start + moved_ns if first else end - moved_ns
        if self._spans and self._spans[-1] == (was, start, end):
            phases = (phase, was) if first else (was, phase)
            self._spans[-1:] = [(phases[0], start, middle), (phases[1], middle, end)]
        elif was in self._merged:
            self._merged[was][2] -= moved_ns
            self._merge(phase, *((start, middle) if first else (middle, end)))

    def _merge(self, phase: str, start: int, end: int) -> None:
        """Count a span with those that are not recorded one by one."""
        known = self._merged.setdefault(phase, [start, end, 0, 0])
        known[1], known[2], known[3] = max(known[1], end), known[2] + end - start, known[3] + 1

    def _write_record(self, **record: int | str) -> None:
        if self._file is not None:
            self._file.write(json.dumps(record) + "\n")

    def _switch(self) -> None:
        now = time.perf_counter_ns() - self._origin
        phase, start = self._stack[-1], self._last
        self._totals[phase] += now - start
        self._last = now
        self._earlier, self._previous = self._previous, (span := (phase, start, now))
        if self._file is None:
            return
        if self._written < DETAILED_SPANS:
            self._written += 1
            self._spans.append(span)
            return
        self._merge(*span)


class _Span:
    """A block in one phase of a timeline; stateless, so that it can be entered repeatedly and nested in itself.

    A class with one object per phase: ``contextlib.contextmanager`` takes longer than the recording itself.
    """

    __slots__ = ("_phase", "_timeline")

    def __init__(self, timeline: Timeline, phase: str) -> None:
        self._timeline = timeline
        self._phase = phase

    def __enter__(self) -> None:
        self._timeline._switch()
        self._timeline._stack.append(self._phase)

    def __exit__(self, *error: object) -> None:
        self._timeline._switch()
        self._timeline._stack.pop()


def _process_age_ns() -> int:
    """How long ago this process was started, within a clock tick (10 ms).

    Not psutil's ``create_time``: it counts from the boot time in whole seconds, up to a second off.
    """
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[19])  # field 22 of proc(5): starttime, in clock ticks since boot
        started = ticks / os.sysconf("SC_CLK_TCK")
        return max(0, int((time.clock_gettime(time.CLOCK_BOOTTIME) - started) * 1e9))
    except (OSError, AttributeError):  # not Linux: the time before this module was loaded is not known
        return 0


def _ends_a_line(path: Path) -> bool:
    """True if the file is empty or its last line is complete."""
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
