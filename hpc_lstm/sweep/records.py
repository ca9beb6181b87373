"""The folder of a sweep: its settings, one record for each finished run, and the runs under way.

sweep.json           settings that must not change once a run is measured or a job submitted, and their digest
records/<run>.json   one finished run: its settings, what was measured, and where
failures/<run>.json  why a run failed when it was last started
.owner/              the call that measures on this machine, if one does
jobs.json            Slurm job of each set of processes
stores/ runs/ logs/  made market stores, runs under way, output of the launchers
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpc_lstm.errors import InputError
from hpc_lstm.files import read_text, write_text
from hpc_lstm.model.optimizers.registry import optimizer_class
from hpc_lstm.sweep.environment import processors_used
from hpc_lstm.sweep.measure import Measurement
from hpc_lstm.sweep.record_schema import RecordSchema
from hpc_lstm.timing.timeline import PHASES

FORMAT, VERSION = "hpc_lstm sweep record", 1
# Changed settings that an error names.
SHOWN = 3
# Points of the distribution of a rank's time that a record keeps.
QUANTILES = 101


@dataclass(frozen=True)
class SweepFolder:
    """A sweep's folder and the files in it."""

    path: Path

    @property
    def jobs_file(self) -> Path:
        """The Slurm jobs; it exists once one is submitted."""
        return self.path / "jobs.json"

    def record_file(self, name: str) -> Path:
        """The record of the run of this name; it exists once the run is measured."""
        return self.path / "records" / f"{name}.json"

    def failure_file(self, name: str) -> Path:
        """Why the run of this name failed; it exists until the run is started again."""
        return self.path / "failures" / f"{name}.json"

    def begin(self, digest: str, tables: dict[str, Any]) -> None:
        """Make the folder, or check that it holds no runs of another sweep.

        Args:
            digest, tables: see ``plan.settings_digest`` and ``plan.fixed_settings``.

        Raises:
            InputError: it holds runs or jobs of another sweep: the keys that differ, with the old and the new value; or
                it cannot be made.
        """
        self._is_of(digest, tables)
        try:
            for name in ("records", "stores", "runs", "logs"):
                (self.path / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{self.path}: cannot be made: {error.strerror}; choose another --output"
            ) from None

    def write_settings(self, digest: str, tables: dict[str, Any]) -> None:
        """Write the settings before the first run; by the folder's owner, and with the arguments of ``begin``.

        Raises:
            InputError: as ``begin``.
        """
        if not self._is_of(digest, tables):
            shutil.rmtree(self.path / "failures", ignore_errors=True)  # of runs with other settings
            text = json.dumps({"digest": digest, "settings": tables}, indent=2) + "\n"
            write_text(self.path / "sweep.json", text)

    def _is_of(self, digest: str, tables: dict[str, Any]) -> bool:
        """Whether the settings in the folder are these; others may be replaced, see ``begin``."""
        file = self.path / "sweep.json"
        if not file.exists():
            return False
        try:
            old = json.loads(read_text(file))
            same, was = old["digest"] == digest, dict(old["settings"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            raise InputError(f"{file}: damaged; choose another --output, or remove the folder") from None
        if not same and (self.jobs_file.exists() or any((self.path / "records").glob("*.json"))):
            raise InputError(
                f"{self.path}: was started with other settings: {_differences(was, tables)}; restore them, or "
                "choose another --output"
            )
        return same

    def finished(self, names: Iterable[str]) -> set[str]:
        """Those of the runs that have a record."""
        return {name for name in names if self.record_file(name).exists()}

    def load_records(self, names: Iterable[str]) -> list[dict[str, Any]]:
        """The records of those of the runs that are finished, in the order of ``names``.

        Raises:
            InputError: one is damaged or of another version.
        """
        return [read_record(self.record_file(name)) for name in names if self.record_file(name).exists()]

    def write_failure(self, name: str, reason: str) -> None:
        """Keep the reason for which a run failed."""
        path = self.failure_file(name)
        path.parent.mkdir(exist_ok=True)
        write_text(path, json.dumps({"name": name, "reason": reason}) + "\n")

    def load_failures(self, names: Iterable[str]) -> dict[str, str]:
        """The reasons of those of the runs that have no record and failed when they were last started."""
        failed = [
            name for name in names if self.failure_file(name).exists() and not self.record_file(name).exists()
        ]
        return {name: _reason(self.failure_file(name)) for name in failed}


def read_record(path: Path) -> dict[str, Any]:
    """The record of one run.

    Raises:
        InputError: it is damaged or of another version.
    """
    try:
        record = json.loads(read_text(path))
        if (record["format"], record["version"]) != (FORMAT, VERSION):
            raise InputError(
                f"{path}: written by another version of hpc-lstm; choose another --output to measure again"
            )
        if RecordSchema.model_validate(record).name != path.stem:
            raise ValueError("of another run")
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"{path}: damaged; remove it, and the next call measures the run again") from None
    return record


def _reason(path: Path) -> str:
    """Why a run failed, as its file says."""
    try:
        return str(json.loads(read_text(path))["reason"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return f"unknown: {path} is damaged"


def make_record(
    task: dict[str, Any],
    measured: Measurement,
    environment: dict[str, Any],
    *,
    parameters: int,
    engine: str,
    other_load: float,
) -> dict[str, Any]:
    """The record of a measured run: enough for the table, the fit and the simulation.

    Args:
        other_load: share of the ranks' CPUs that other programs took during the run.
    """
    batch = task["config"]["train"]["batch_size"]
    place = processors_used(environment)
    # Records are shared; the folder of the store is of no use elsewhere, and private.
    data = task["config"]["data"]
    config = task["config"] | {"data": data | {"store": Path(data["store"]).name}}
    samples = measured.steps * batch * task["ranks"]
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": task["name"],
        "point": task["point"],
        "repeat": task["repeat"],
        "scaling": task["scaling"],
        "ranks": task["ranks"],
        "axes": task["axes"],
        "batch_size": batch,
        "steps": measured.steps,
        "cycles": measured.cycles,
        "interval": measured.interval,
        "cycles_per_meeting": float(measured.lengths.mean()),
        "parameters": parameters,
        "averaged_bytes": averaged_bytes(task["config"], parameters),
        "engine": engine,
        "samples": samples,
        "seconds": measured.seconds,
        "samples_per_second": samples / measured.seconds,
        "phase_seconds": measured.phase_seconds,
        "place": place,
        "other_load": other_load,
        "meeting_s": measured.meeting_s,
        "average_s": measured.average_s,
        "busy": busy_summary(measured.busy, measured.lengths),
        "config": config,
        "environment": environment,
    }


def busy_summary(busy: np.ndarray, cycles: np.ndarray) -> dict[str, Any]:
    """Statistics that the fit and the simulation need of each rank's own time in each cycle.

    The mean of each rank; variance, third central moment and quantiles of the deviations from it, over all ranks. Of
    several cycles together only the sum is known: their moments are those of independent cycles with that sum's.

    Args:
        busy: float64 [R, C], seconds of R ranks.
        cycles: int [C], cycles that these are of.
    """
    ranks, calls = busy.shape
    means = busy.sum(axis=1) / cycles.sum()
    deviations = busy - means[:, None] * cycles
    freedom = max(1, ranks * (calls - 1))
    return {
        "means_s": means.tolist(),
        "variance": float((deviations**2 / cycles).sum() / freedom),
        "third_moment": float((deviations**3 / cycles).mean()),
        "quantiles_s": np.quantile(deviations / np.sqrt(cycles), np.linspace(0, 1, QUANTILES))
        .round(8)
        .tolist(),
    }


def averaged_bytes(config: dict[str, Any], parameters: int) -> int:
    """Bytes that one average adds up over the ranks: float32 weights, and the optimizer's slots where asked for."""
    slots = len(optimizer_class(config["train"]["optimizer"]).slots)
    return 4 * parameters * (1 + (slots if config["average"]["what"] == "weights+moments" else 0))


def phases(records: list[dict[str, Any]]) -> list[str]:
    """Phases in which any of the runs spent time, in the order of the timing files."""
    return [phase for phase in PHASES if any(r["phase_seconds"].get(phase) for r in records)]


def _differences(was: dict[str, Any], now: dict[str, Any]) -> str:
    keys = [key for key in {**was, **now} if was.get(key) != now.get(key)]
    shown = [f"{key} (was {was.get(key)!r}, now {now.get(key)!r})" for key in keys[:SHOWN]]
    return ", ".join(shown) + (f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else "")
