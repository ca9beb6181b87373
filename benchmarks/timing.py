"""What does recording the timeline cost?

    python benchmarks/timing.py [--repeats 5]

Writes benchmarks/results/timing.json: the time per span (recorded one by one, and merged after the first ones), and
the share of wall time that the timeline takes in a loop like training: steps of 1 ms, 4 spans per step, a flush every
second. The share is the CPU time of spans and flushes alone, minus that of reading the CPU clock, divided by the loop's
wall time, so that the noise of other programs is excluded. Goal: below 1%.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from machine import describe, write_results

from hpc_lstm.timing import timeline as timing
from hpc_lstm.timing.timeline import Timeline

STEP_S = 0.001
STEPS = 3000
PHASES = ("compute", "average", "wait", "compute")


def span_ns(folder: Path, spans: int, merged: bool) -> float:
    """Nanoseconds a span, its share of the flush included."""
    timeline = Timeline(folder / f"spans-{time.time_ns()}.jsonl")
    if merged:
        timeline._written = timing.DETAILED_SPANS
    start = time.perf_counter_ns()
    for _ in range(spans):
        with timeline.span("compute"):
            pass
    timeline.flush()
    took = time.perf_counter_ns() - start
    timeline.close()
    return took / spans


def share_of_wall(folder: Path) -> float:
    """CPU time that the timeline takes over the wall time of ``STEPS`` steps."""
    timeline = Timeline(folder / f"loop-{time.time_ns()}.jsonl")
    cost: float = -STEPS * _clock_ns()
    began = time.perf_counter_ns()
    for step in range(STEPS):
        end = time.perf_counter_ns() + int(STEP_S * 1e9)
        start = time.thread_time_ns()
        for phase in PHASES:
            with timeline.span(phase):
                pass
            if phase == "wait":
                timeline.record_barrier()
        if step % int(1 / STEP_S) == 0:
            timeline.flush()
        cost += time.thread_time_ns() - start
        while time.perf_counter_ns() < end:
            pass
    wall = time.perf_counter_ns() - began
    start = time.thread_time_ns()
    timeline.close()
    return (cost + time.thread_time_ns() - start) / wall


def _clock_ns() -> float:
    """What reading the CPU clock adds to an interval that it measures."""
    empty = []
    for _ in range(2000):
        start = time.thread_time_ns()
        empty.append(time.thread_time_ns() - start)
    return statistics.median(empty)


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rounds = [
            (span_ns(folder, 40_000, False), span_ns(folder, 40_000, True), share_of_wall(folder))
            for _ in range(repeats)
        ]
    detailed, merged, share = (
        {"median": statistics.median(c), "min": min(c), "max": max(c)} for c in zip(*rounds, strict=True)
    )
    result = {
        "machine": describe(),
        "repeats": repeats,
        "span_ns": detailed,
        "merged_span_ns": merged,
        "spans_per_second": 1e9 / detailed["median"],
        "loop": {"step_s": STEP_S, "spans_per_step": len(PHASES), "steps": STEPS},
        "share_of_wall": share,
        "below_1_percent": share["max"] < 0.01,
    }
    print(json.dumps(result, indent=2))
    write_results("timing", result)


if __name__ == "__main__":
    main()
