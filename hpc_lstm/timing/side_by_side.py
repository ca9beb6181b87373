"""The runs of several clusters side by side, each with its name and its place on the common time axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hpc_lstm.config import RunConfig
from hpc_lstm.errors import InputError
from hpc_lstm.runs import directory
from hpc_lstm.runs.history import read as read_history
from hpc_lstm.timing.alignment import Alignment, align, alignment_note, clock_note
from hpc_lstm.timing.spans import Timing, load_timing


@dataclass(frozen=True)
class ClusterRun:
    """One cluster's run.

    Attributes:
        name: the cluster's, empty for a run that is shown alone and is of none.
        config: its settings; None where they cannot be read.
        steps_per_epoch: by its history; None where that has not begun.
        alignment: where it stands beside the first run.
    """

    name: str
    timing: Timing
    config: RunConfig | None
    steps_per_epoch: int | None
    alignment: Alignment


def open_runs(run_dirs: Sequence[str | Path]) -> list[ClusterRun]:
    """The runs in these folders, in this order.

    Raises:
        InputError: a run has no timing, or a folder is given twice.
    """
    runs = [directory.at(path) for path in run_dirs]
    places = [run.path.resolve() for run in runs]
    for run, place in zip(runs, places, strict=True):
        if places.count(place) > 1:
            raise InputError(f"{run.path}: is given twice; give the run directory of each cluster once")
    configs = [settings(run) for run in runs]
    clusters = [config.sync.cluster if config else "" for config in configs]
    if len(runs) > 1:  # without a name, or with one that another run has too, the folder tells them apart
        folders = [run.name if names_differ(runs) else str(run.path) for run in runs]
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
            steps_per_epoch(run),
            align(timing, timings[0]) if timing is not timings[0] else Alignment(),
        )
        for name, run, timing, config in zip(clusters, runs, timings, configs, strict=True)
    ]


def steps_per_epoch(run: directory.RunDirectory) -> int | None:
    """Steps of an epoch, by how far the run's last entries lie apart."""
    told = [entry for entry in read_history(run.history) if entry["kind"] == "train"][-2:]
    steps = told[-1]["step"] - (told[0]["step"] if len(told) > 1 else 0) if told else 0
    epochs = told[-1]["epoch"] - (told[0]["epoch"] if len(told) > 1 else 0) if told else 0
    return round(steps / epochs) if steps > 0 and epochs > 0 else None


def settings(run: directory.RunDirectory) -> RunConfig | None:
    """A run's settings; None where they cannot be read, as where they are of another version."""
    try:
        return run.load_config()
    except InputError:
        return None


def names_differ(runs: Sequence[directory.RunDirectory]) -> bool:
    """True if the names of the folders tell the runs apart."""
    return len({run.name for run in runs}) == len(runs)


def axis_notes(runs: Sequence[ClusterRun]) -> list[str]:
    """How well the axis that all ranks of all runs share is known, a sentence each."""
    notes = []
    for run in runs:
        if len(run.timing.ranks) > 1:
            notes.append((f"{run.name}: " if len(runs) > 1 else "") + clock_note(run.timing))
    return notes + [alignment_note(run.name, runs[0].name, run.alignment) for run in runs[1:]]
