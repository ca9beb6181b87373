"""The run's history in a trace: epochs and steps by name on rank 0, and counters of loss, speed and memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from hpc_lstm.runs.history import read_history
from hpc_lstm.timing.alignment import unix_ns
from hpc_lstm.timing.cluster_runs import ClusterRun
from hpc_lstm.timing.timeline import PHASES
from hpc_lstm.timing.trace_lines import line, name_line, span_line

# Threads of rank 0 after those of merged spans.
EPOCHS, STEPS = len(PHASES) + 1, len(PHASES) + 2
THREADS = {EPOCHS: "epochs", STEPS: "steps"}
# Counters by the name of the history's value: what Perfetto calls them, and the factor to its unit.
COUNTERS = {
    "loss": ("loss", 1.0),
    "samples_per_second": ("samples/s", 1.0),
    "memory_bytes": ("memory of rank 0, MiB", 2.0**-20),
}


def starts_of_history(run: ClusterRun) -> dict[int, list[dict[str, Any]]]:
    """The entries of each start of the run, by the number of rank 0's part.

    Empty where that cannot be told: some start has left no entry, or the history is of an older version.
    """
    entries = [e for e in read_history(run.timing.path.parent / "history.jsonl") if "elapsed_s" in e]
    starts: list[list[dict[str, Any]]] = []
    for entry in entries:
        if not starts or entry["elapsed_s"] < starts[-1][-1]["elapsed_s"]:
            starts.append([])
        starts[-1].append(entry)
    parts = np.flatnonzero(run.timing.rank == 0).tolist()
    return dict(zip(parts, starts, strict=True)) if len(parts) == len(starts) else {}


def history_lines(
    run: ClusterRun, part: int, pid: int, shift_ns: int, entries: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """The trace's lines for one start: the spans of epochs and steps, and the counters.

    Args:
        part: rank 0's part of the run's timing, which is the trace's process ``pid``.
        shift_ns: added to its unix times to get times of the trace.
    """
    elapsed = np.array([round(entry["elapsed_s"] * 1e9) for entry in entries], np.int64)
    times = (unix_ns(run.timing, part, elapsed) + shift_ns).tolist()
    for tid, name in THREADS.items():
        yield name_line("thread_name", pid, tid, {"name": name})
    before: tuple[int, int] | None = None  # time and step of the training entry before
    epoch_began: int | None = None
    for time, entry in zip(times, entries, strict=True):
        if entry["kind"] == "validation":
            if epoch_began is not None:
                name = f"epoch {entry['epoch']}"
                yield span_line("history", pid, EPOCHS, name, epoch_began, time, loss=entry.get("loss"))
            epoch_began = time
            continue
        epoch_began = time if epoch_began is None else epoch_began
        for value, (name, factor) in COUNTERS.items():
            if entry.get(value) is not None:
                yield line(
                    ph="C", name=name, pid=pid, tid=0, ts=time / 1e3, args={name: factor * entry[value]}
                )
        if before is not None:
            name = f"steps {before[1] + 1} to {entry['step']}"
            yield span_line("history", pid, STEPS, name, before[0], time, loss=entry.get("loss"))
        before = (time, entry["step"])
