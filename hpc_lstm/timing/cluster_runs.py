"""The runs of one or several clusters, each with its name and its alignment on the common time axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hpc_lstm.config import RunConfig
from hpc_lstm.errors import InputError
from hpc_lstm.runs import directory
from hpc_lstm.runs.directory import RunDirectory
from hpc_lstm.runs.history import read_history
from hpc_lstm.timing.alignment import Alignment, align_run, alignment_note, clock_note
from hpc_lstm.timing.spans import Timing, load_timing


@dataclass(frozen=True)
class ClusterRun:
    """One cluster's run.

    Attributes:
        name: the cluster's; empty for a single run that belongs to no cluster.
        config: its settings; None if they cannot be read.
        steps_per_epoch: according to its history; None if that is still empty.
        alignment: with the first run.
    """

    name: str
    timing: Timing
    config: RunConfig | None
    steps_per_epoch: int | None
    alignment: Alignment


def open_cluster_runs(run_dirs: Sequence[str | Path]) -> list[ClusterRun]:
    """Open the runs in these folders, in this order.

    Raises:
        InputError: a run has no timing, or a folder is given twice.
    """
    runs = [directory.at(path) for path in run_dirs]
    resolved = [run.path.resolve() for run in runs]
    for run, path in zip(runs, resolved, strict=True):
        if resolved.count(path) > 1:
            raise InputError(f"{run.path}: is given twice; give the run directory of each cluster once")
    configs = [_config_of(run) for run in runs]
    clusters = [config.sync.cluster if config else "" for config in configs]
    if len(runs) > 1:  # a run without a name of its own goes by its folder
        folders = [run.name for run in runs]
        if len(set(folders)) < len(folders):
            folders = [str(run.path) for run in runs]
        clusters = [
            name if name and clusters.count(name) == 1 else folder
            for name, folder in zip(clusters, folders, strict=True)
        ]
    timings = [load_timing(run.path) for run in runs]
    return [
        ClusterRun(
            name,
            timing,
            config,
            _steps_per_epoch(run),
            align_run(timing, timings[0]) if timing is not timings[0] else Alignment(),
        )
        for name, run, timing, config in zip(clusters, runs, timings, configs, strict=True)
    ]


def axis_notes(runs: Sequence[ClusterRun]) -> list[str]:
    """How accurate the time axis that all ranks of all runs share is, one sentence per run."""
    notes = []
    for run in runs:
        if len(run.timing.ranks) > 1:
            notes.append((f"{run.name}: " if len(runs) > 1 else "") + clock_note(run.timing))
    return notes + [alignment_note(run.name, runs[0].name, run.alignment) for run in runs[1:]]


def _steps_per_epoch(run: RunDirectory) -> int | None:
    """Steps per epoch, from the difference between the run's last two entries."""
    entries = [entry for entry in read_history(run.history) if entry["kind"] == "train"][-2:]
    if not entries:
        return None
    first = entries[0] if len(entries) > 1 else {"step": 0, "epoch": 0}
    steps, epochs = ((entries[-1].get(key) or 0) - (first.get(key) or 0) for key in ("step", "epoch"))
    return round(steps / epochs) if steps > 0 and epochs > 0 else None


def _config_of(run: RunDirectory) -> RunConfig | None:
    """A run's settings; None if they cannot be read, for example because another version wrote them."""
    try:
        return run.load_config()
    except InputError:
        return None
