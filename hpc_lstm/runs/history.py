"""What happened over the steps of a run: ``history.jsonl`` and the curves of its loggers, written by rank 0.

Lines are of two kinds:

    {"kind": "train", "step", "epoch", "loss", "learning_rate", "samples_per_second", "elapsed_s",
     "memory_bytes"}
    {"kind": "validation", "step", "epoch", "loss", "best", "elapsed_s"}

``epoch`` is a fraction; ``memory_bytes`` is what rank 0 occupied; losses are those of ``train.loss``, in scaled
units. A resumed run first drops the entries after its checkpoint, so that every step appears once.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpc_lstm.errors import InputError, why_unreadable
from hpc_lstm.files import append_text, read_text, write_text
from hpc_lstm.runs.directory import RunDirectory
from hpc_lstm.runs.loggers.registry import open_loggers

if TYPE_CHECKING:
    from hpc_lstm.runs.loggers.logger import RunLogger

# Seconds between the loggers' points of training, at least.
EVENTS_EVERY_S = 0.5
# More than any run takes.
LARGEST_STEP = 1 << 60


class History:
    """Appends to a run's history; on ranks other than 0 it does nothing.

    Args:
        resumed_at: step of the checkpoint that the run resumes from; later entries are dropped.
        loggers: what else takes the curves, as ``train.loggers`` names them.
        settings: of the run, by ``section.key``, which loggers show and compare runs by.

    Raises:
        InputError: a logger cannot be opened.
    """

    def __init__(
        self,
        run: RunDirectory,
        active: bool,
        resumed_at: int,
        *,
        loggers: Sequence[str] = ("tensorboard",),
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self._file = None
        self._loggers: list[RunLogger] = []
        self._due = 0.0
        self._distance_due = 0.0
        self._points_due = False
        if not active:
            return
        write_text(
            run.history,
            "".join(json.dumps(e) + "\n" for e in read_history(run.history) if e["step"] <= resumed_at),
        )
        self._loggers = open_loggers(loggers, run, settings or {})
        self._file = append_text(run.history, run.path)

    @property
    def distance_due(self) -> bool:
        """Whether the loggers take another distance of the ranks."""
        return bool(self._loggers) and time.monotonic() >= self._distance_due

    def train(self, **entry: Any) -> None:
        """Add a ``train`` entry, which every half second is also a point of the loggers' curves."""
        self._points_due = bool(self._loggers) and time.monotonic() >= self._due
        self._add("train", entry, ("loss", "learning_rate", "samples_per_second"))

    def points(self, step: int, seconds: Mapping[str, float], rank_distance: float | None) -> None:
        """Add points that the loggers alone have.

        Args:
            seconds: so far, by phase; a point if the last ``train`` entry was one of theirs.
            rank_distance: of rank 0's weights from the mean, before they were averaged, where it was measured.
        """
        values: dict[str, float] = {}
        if self._points_due:
            values |= {f"seconds/{phase}": value for phase, value in seconds.items()}
        if rank_distance is not None:
            self._distance_due = time.monotonic() + EVENTS_EVERY_S
            values["ranks/distance_before_average"] = rank_distance
        if values:
            self.results(values, step)

    def results(self, values: Mapping[str, float], step: int) -> None:
        """Add points that the loggers alone have, such as the errors that the run ends with."""
        for logger in self._loggers:
            logger.scalars(values, step)

    def validation(self, **entry: Any) -> None:
        """Add a ``validation`` entry."""
        self._add("validation", entry, ("loss",))

    def flush(self) -> None:
        """Bring the entries to the disk; called before a checkpoint that includes them."""
        if self._file is not None:
            self._file.flush()
            for logger in self._loggers:
                logger.flush()

    def close(self) -> None:
        """Write what is left; idempotent."""
        if self._file is not None:
            self._file.close()
            for logger in self._loggers:
                logger.close()
            self._file, self._loggers = None, []

    def _add(self, kind: str, entry: dict[str, Any], scalars: tuple[str, ...]) -> None:
        if self._file is None:
            return
        finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in entry.items()}
        self._file.write(json.dumps({"kind": kind, **finite}) + "\n")
        now = time.monotonic()
        if kind == "train" and now < self._due:
            return  # a curve needs no more points
        self._due = now + EVENTS_EVERY_S
        self.results({f"{kind}/{name}": entry[name] for name in scalars}, entry["step"])


def read_history(path: Path) -> list[dict[str, Any]]:
    """The entries of a history file up to its first damaged line; none if there is no file.

    Raises:
        InputError: it cannot be read.
    """
    if not path.exists():
        return []
    try:
        text = read_text(path, errors="replace")
    except OSError as error:
        damaged = f"cannot be read ({error.strerror}); restore an intact copy"
        raise InputError(f"{path}: {why_unreadable(error, damaged)}") from None
    entries = []
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            break
        if not _is_entry(entry):
            break
        entries.append(entry)
    return entries


def _is_entry(entry: Any) -> bool:
    """Whether a line holds what ``History`` writes; fields of another version may be missing or more."""
    if not isinstance(entry, dict) or entry.get("kind") not in ("train", "validation"):
        return False
    step = entry.get("step")
    return (
        type(step) is int
        and 0 <= step < LARGEST_STEP
        and all(value is None or _is_number(value) for name, value in entry.items() if name != "kind")
    )


def _is_number(value: Any) -> bool:
    """Whether a value is a finite number of double precision."""
    return isinstance(value, (int, float)) and abs(value) <= sys.float_info.max
