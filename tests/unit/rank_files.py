"""Timing files as ranks write them, with times that a test chooses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from hpc_lstm.timing import FORMAT, PHASES, VERSION

Span = tuple[str, int, int, int, int]  # phase, start, end, busy, count


def one_by_one(*durations: tuple[str, int]) -> list[Span]:
    """Spans that follow each other, from their phases and lengths in ns."""
    spans, now = [], 0
    for phase, length in durations:
        spans.append((phase, now, now + length, length, 1))
        now += length
    return spans


def write_part(
    run_dir: Path,
    spans: Sequence[Span],
    *,
    rank: int = 0,
    size: int = 1,
    node: str = "n1",
    origin_unix_ns: int = 1_700_000_000_000_000_000,
    killed: bool = False,
) -> Path:
    """Append one start of a rank to its file."""
    path = run_dir / "timing" / f"rank-{rank:05d}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {"format": FORMAT, "version": VERSION, "rank": rank, "size": size, "node": node}
    lines = [json.dumps({**header, "origin_unix_ns": origin_unix_ns})]
    totals = dict.fromkeys(PHASES, 0)
    for phase, start, end, busy, count in spans:
        totals[phase] += busy
        record = {"phase": phase, "start_ns": start, "end_ns": end, "busy_ns": busy, "count": count}
        lines.append(json.dumps(record))
    if not killed:
        lines.append(json.dumps({"wall_ns": max(s[2] for s in spans), "phases_ns": totals}))
    with path.open("a", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    return path
