"""Spans of one rank: what it did, when, for how long.

A ``Timeline`` is in exactly one phase at any moment, from the start of the process to ``close``, so the
phases add up to the wall time by construction. Spans nest: the inner phase's time is not the outer one's.

``rank-00000.jsonl``, one JSON object a line:

    {"format": "hpc_lstm timing", "version": 1, "rank": 0, "size": 2, "node": "n1", "origin_unix_ns": ...}
    {"clock_at_ns": 500, "clock_offset_ns": -20, "clock_error_ns": 3, "start_unix_ns": ...}
    {"phase": "compute", "start_ns": 0, "end_ns": 900, "busy_ns": 900, "count": 1}
    {"phase": "wait", "start_ns": 900, "end_ns": 990, "busy_ns": 90, "count": 1, "meeting": 0}
    {"round": 3, "brought_ns": 1000, "seen_ns": 1200}
    ...
    {"wall_ns": 123, "phases_ns": {"compute": 100, ...}}

Times are nanoseconds since the origin. A record with ``count`` above 1 stands for that many spans of one
phase between ``start_ns`` and ``end_ns``, of which ``busy_ns`` was spent in it. ``meeting`` counts the meetings
of the ranks since this start, alike on all. A clock line says what to add to this rank's times to have rank 0's
(``clocks``); ``start_unix_ns`` is rank 0's origin, which all ranks of one start share. A round line says
since when this cluster's contribution may have been at the object store, and when it saw the round closed.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO

PHASES = ("startup", "load", "preprocess", "compute", "average", "wait", "sync", "checkpoint", "evaluate")
FORMAT = "hpc_lstm timing"
VERSION = 1
# Spans kept one by one; later ones are merged per phase between flushes, so that the file stays small.
DETAILED_SPANS = 100_000


class Timeline:
    """Attributes every moment of this rank to one phase.

    Args:
        path: file to append to on ``flush``; None keeps nothing (commands other than ``train``). A resumed
            run's file has several parts, each with its header line; a part that was killed has no totals.
        rank, size, node: said in the header line.

    Attributes:
        origin_unix_ns: when the process started, by the node's wall clock, ns since 1970-01-01 UTC.
    """

    def __init__(self, path: Path | None = None, rank: int = 0, size: int = 1, node: str = "") -> None:
        age_ns = _process_age_ns()
        self._origin = time.perf_counter_ns() - age_ns
        self.origin_unix_ns = time.time_ns() - age_ns
        self._last = 0  # ns since the origin, at which the present phase began or went on
        self._stack = ["startup"]
        self._totals = dict.fromkeys(PHASES, 0)
        self._previous: tuple[str, int, int] | None = None  # the last span that ended
        self._spans_of: dict[str, AbstractContextManager[None]] = {
            phase: _Span(self, phase) for phase in PHASES
        }
        self._spans: list[tuple[str, int, int]] = []
        self._met = 0  # meetings of all ranks so far
        self._meetings: list[tuple[int, int]] = []  # place in ``_spans``, number of the meeting
        self._merged: dict[str, list[int]] = {}
        self._written = 0
        self._file: IO[str] | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a", encoding="utf-8")
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
        """Be in ``phase`` (one of ``PHASES``) inside the block."""
        return self._spans_of[phase]

    def enter(self, phase: str) -> None:
        """Be in ``phase`` from now on, wherever no span is open."""
        self._switch()
        self._stack[0] = phase

    def reassign(self, duration_ns: int, phase: str) -> None:
        """Count the first ``duration_ns`` of the last span, which has just ended, as ``phase`` instead.

        For work on a GPU: a span in which the host waited until the GPU had finished something else.
        """
        if self._previous is None or duration_ns <= 0:
            return
        was, start, end = self._previous
        duration_ns = min(duration_ns, end - start)
        self._totals[was] -= duration_ns
        self._totals[phase] += duration_ns
        self._previous = None
        if self._file is None:
            return
        middle = start + duration_ns
        if self._spans and self._spans[-1] == (was, start, end):
            self._spans[-1:] = [(phase, start, middle), (was, middle, end)]
        elif was in self._merged:
            self._merged[was][2] -= duration_ns
            moved = self._merged.setdefault(phase, [start, middle, 0, 0])
            moved[1], moved[2], moved[3] = max(moved[1], middle), moved[2] + duration_ns, moved[3] + 1

    def met(self) -> None:
        """Say that the last span, which has just ended, was this rank's part in a meeting of all ranks."""
        if self._spans and self._spans[-1] is self._previous:
            self._meetings.append((len(self._spans) - 1, self._met))
            self._previous = None  # not to be reassigned: it begins when the rank arrived
        self._met += 1

    def clock(self, at_ns: int, offset_ns: int, error_ns: int, start_unix_ns: int) -> None:
        """Write down what to add to this rank's times to have rank 0's, see ``clocks``."""
        self._write(
            clock_at_ns=at_ns,
            clock_offset_ns=offset_ns,
            clock_error_ns=error_ns,
            start_unix_ns=start_unix_ns,
        )

    def round(self, number: int, brought_ns: int, seen_ns: int) -> None:
        """Write down that this cluster saw a round of clusters closed.

        Args:
            brought_ns: its own contribution, which was counted, was at the object store no earlier; -1: none was.
            seen_ns: the round had been closed no later. Both in this timeline's time, see ``now``.
        """
        self._write(round=number, brought_ns=brought_ns, seen_ns=seen_ns)

    def now(self) -> int:
        """Nanoseconds since the origin."""
        return self.at(time.perf_counter_ns())

    def at(self, perf_counter_ns: int) -> int:
        """The time of a ``time.perf_counter_ns``, in nanoseconds since the origin."""
        return perf_counter_ns - self._origin

    def seconds(self, phase: str) -> float:
        """Time spent in ``phase`` so far."""
        running = self.now() - self._last if self._stack[-1] == phase else 0
        return (self._totals[phase] + running) / 1e9

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
            for place, meeting in self._meetings:
                lines[place] = f'{lines[place][:-2]}, "meeting": {meeting}}}\n'
            lines += [
                f'{{"phase": "{phase}", "start_ns": {start}, "end_ns": {end}, "busy_ns": {busy}, "count": {count}}}\n'
                for phase, (start, end, busy, count) in self._merged.items()
            ]
            self._file.write("".join(lines))
            self._file.flush()
        self._spans.clear()
        self._meetings.clear()
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
        finally:  # on a full disk too, so that it is not tried, and told, again when Python ends
            self._file = None
            file.close()

    def _write(self, **record: int) -> None:
        if self._file is not None:
            self._file.write(json.dumps(record) + "\n")

    def _switch(self) -> None:
        now = time.perf_counter_ns() - self._origin
        phase, start = self._stack[-1], self._last
        self._totals[phase] += now - start
        self._last = now
        self._previous = span = (phase, start, now)
        if self._file is None:
            return
        if self._written < DETAILED_SPANS:
            self._written += 1
            self._spans.append(span)
            return
        merged = self._merged.setdefault(phase, [start, now, 0, 0])
        merged[1] = now
        merged[2] += now - start
        merged[3] += 1


class _Span:
    """A block in one phase of a timeline: no state, so entered as often as one likes, also within itself.

    A class, and one object a phase: ``contextlib.contextmanager`` takes longer than the recording itself.
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

    Not psutil's ``create_time``: it counts from the boot time in whole seconds: up to a second off.
    """
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        started = int(fields[19]) / os.sysconf(
            "SC_CLK_TCK"
        )  # field 22 of proc(5): starttime, in ticks since boot
        return max(0, int((time.clock_gettime(time.CLOCK_BOOTTIME) - started) * 1e9))
    except (OSError, AttributeError):  # not Linux: the time before this module was loaded is not known
        return 0


def _ends_a_line(path: Path) -> bool:
    """True of an empty file and of one whose last line is whole."""
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
