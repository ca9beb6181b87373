"""Where does a training step on a GPU spend its time? The median of each kernel, from a trace of whole calls.

    python benchmarks/gpu_steps.py [--units 64,128] [--batches 64,1024] [--precisions bfloat16,float32] [--steps 160]

2 x LSTM, 60 rows of 5 features, dropout 0.1, Adam, on batches that lie ready on the GPU, as in ``engines.py --gpu``.
CUPTI records the kernels while the CUDA graph runs, with the clocks and caches of training, where a profiler that
repeats single kernels has neither. It needs torch, whose profiler reads CUPTI. Kernels may run beside each other, so
their times can add up to more than the step; the results also say when each begins.

Kernels that begin before the one in front has ended wait for it, and their time would be that of both. So there are two
traces of each case: one of kernels that do not begin early, for their times and "step", and one of steps as they are
trained, of which only "step, overlapped" is told. Each is taken in a process of its own.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import json
import multiprocessing
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from gpu_engines import ours
from machine import describe, write_results

# The kernel that ends a step.
LAST = "adam"
WARM_UP = 64


def kernels_of(trace: dict[str, Any]) -> list[dict[str, Any]]:
    """The kernels of a trace in the order in which they began."""
    return sorted((e for e in trace["traceEvents"] if e.get("cat") == "kernel"), key=lambda e: float(e["ts"]))


def steps_of(kernels: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The kernels of each step that follows another within a call, with the last one of the step before."""
    ends = [number for number, one in enumerate(kernels) if one["name"].startswith(LAST)]
    steps = [kernels[begin : end + 1] for begin, end in itertools.pairwise(ends)]
    return [step for step in steps if not any(one["name"].startswith("mean_loss") for one in step)]


def medians(kernels: list[dict[str, Any]]) -> dict[str, float]:
    """Microseconds of each kernel of a step, and of the step; a kernel that runs again is counted on."""
    found: dict[str, list[float]] = collections.defaultdict(list)
    for before, *step in steps_of(kernels):
        for name, one in numbered(step):
            found[name].append(one["dur"])
        found["step"].append(step[-1]["ts"] + step[-1]["dur"] - before["ts"] - before["dur"])
    return {name: round(statistics.median(durations), 2) for name, durations in found.items()}


def beginnings(kernels: list[dict[str, Any]]) -> dict[str, float]:
    """When each kernel of a step begins, in microseconds from the end of the step before; names as of ``medians``."""
    found: dict[str, list[float]] = collections.defaultdict(list)
    for before, *step in steps_of(kernels):
        for name, one in numbered(step):
            found[name].append(one["ts"] - before["ts"] - before["dur"])
    return {name: round(statistics.median(begins), 2) for name, begins in found.items()}


def numbered(step: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """A step's kernels with their names, from the second launch on with a number."""
    seen: collections.Counter[str] = collections.Counter()
    for one in step:
        name = one["name"].split("(")[0]
        seen[name] += 1
        yield name if seen[name] == 1 else f"{name} {seen[name]}", one


def traced(run: Any, steps: int) -> list[dict[str, Any]]:
    """The kernels of so many steps."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    run(WARM_UP)
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        run(steps)
        torch.cuda.synchronize()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        return kernels_of(json.loads(path.read_text()))


def measured(precision: str, units: int, batch: int, steps: int, early: bool) -> dict[str, dict[str, float]]:
    """``medians`` and ``beginnings`` of a case."""
    from hpc_lstm.cuda import graph

    if not early:
        graph.overlap = lambda recorded, kernels: 0
    kernels = traced(ours("fused", units, batch, precision), steps)
    return {"microseconds": medians(kernels), "begin": beginnings(kernels)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--units", default="64,128")
    parser.add_argument("--batches", default="64,1024")
    parser.add_argument("--precisions", default="bfloat16,float32")
    parser.add_argument("--steps", type=int, default=160)
    options = parser.parse_args()
    import torch

    results: dict[str, Any] = {
        "machine": {**describe(), "gpu": torch.cuda.get_device_name()},
        "steps": options.steps,
        "cases": [],
    }
    cases = itertools.product(
        options.precisions.split(","),
        map(int, options.units.split(",")),
        map(int, options.batches.split(",")),
    )
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for precision, units, batch in cases:
            case = (precision, units, batch, options.steps)
            times = pool.apply(measured, (*case, False))
            overlapped = pool.apply(measured, (*case, True))["microseconds"]
            microseconds = times["microseconds"] | {"step, overlapped": overlapped["step"]}
            found = (
                {"precision": precision, "units": units, "batch": batch}
                | times
                | {"microseconds": microseconds}
            )
            results["cases"].append(found)
            print(f"{precision} {units} units, batch {batch:,}: " + json.dumps(microseconds), flush=True)
    write_results("gpu_steps", results)


if __name__ == "__main__":
    main()
