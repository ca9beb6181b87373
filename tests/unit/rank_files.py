"""Timing files as ranks write them, with times that a test chooses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from hpc_lstm.timing.timeline import FORMAT, PHASES, VERSION

Span = (
    tuple[str, int, int, int, int] | tuple[str, int, int, int, int, int]
)  # phase, start, end, busy, count, barrier


def one_by_one(*durations: tuple[str, int]) -> list[Span]:
    """Spans that follow each other, from their phases and lengths in ns."""
    spans, now = [], 0
    for phase, length in durations:
        spans.append((phase, now, now + length, length, 1))
        now += length
    return spans


def ranks_at_barriers(*arrivals: Sequence[int], release: int = 10) -> list[list[Span]]:
    """The spans of each rank from its arrival at each barrier; all leave ``release`` ns after the last arrival."""
    ranks: list[list[Span]] = []
    for rank in range(len(arrivals[0])):
        spans: list[Span] = []
        now = 0
        for number, times in enumerate(arrivals):
            end = max(times) + release
            spans.append(("compute", now, times[rank], times[rank] - now, 1))
            spans.append(("wait", times[rank], end, end - times[rank], 1, number))
            now = end
        ranks.append(spans)
    return ranks


def write_part(
    run_dir: Path,
    spans: Sequence[Span],
    *,
    rank: int = 0,
    size: int = 1,
    node: str = "n1",
    origin_unix_ns: int = 1_700_000_000_000_000_000,
    killed: bool = False,
    start_unix_ns: int = 0,
    clock: Sequence[tuple[int, int, int]] = (),
    rounds: Sequence[tuple[int, int, int]] = (),
    stages: Sequence[tuple[str, int, int]] = (),
) -> Path:
    """Append one start of a rank to its file.

    Args:
        clock: comparisons with rank 0's clock, whose process started at ``start_unix_ns``: when, offset, error.
        stages: of the start-up: name, begin, end.
        rounds: number, since when this cluster's contribution was there (-1: none was), when the round was seen closed.
    """
    path = run_dir / "timing" / f"rank-{rank:05d}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {"format": FORMAT, "version": VERSION, "rank": rank, "size": size, "node": node}
    lines = [json.dumps({**header, "origin_unix_ns": origin_unix_ns})]
    totals = dict.fromkeys(PHASES, 0)
    for at, offset, error in clock:
        record = {"clock_at_ns": at, "clock_offset_ns": offset, "clock_error_ns": error}
        lines.append(json.dumps({**record, "start_unix_ns": start_unix_ns}))
    for number, brought, seen in rounds:
        lines.append(json.dumps({"round": number, "brought_ns": brought, "seen_ns": seen}))
    for name, begin, end in stages:
        lines.append(json.dumps({"stage": name, "start_ns": begin, "end_ns": end}))
    for phase, start, end, busy, count, *meeting in spans:
        totals[phase] += busy
        span = {"phase": phase, "start_ns": start, "end_ns": end, "busy_ns": busy, "count": count}
        lines.append(json.dumps(span | ({"meeting": meeting[0]} if meeting else {})))
    if not killed:
        lines.append(json.dumps({"wall_ns": max(s[2] for s in spans), "phases_ns": totals}))
    with path.open("a", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    return path
