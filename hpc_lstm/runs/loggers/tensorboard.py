"""TensorBoard: event files in the run directory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpc_lstm.runs.directory import RunDirectory
from hpc_lstm.runs.event_file import EventFile

PACKAGE = ""


class TensorBoardLogger:
    """A new event file. A resumed run adds one; TensorBoard hides the points of others from its first step on."""

    def __init__(self, file: EventFile) -> None:
        self._file = file

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Add a point of each curve."""
        for name, value in values.items():
            self._file.scalar(name, value, step)

    def flush(self) -> None:
        """Bring what was added to the disk."""
        self._file.flush()

    def close(self) -> None:
        """Write what is left."""
        self._file.close()


def open_logger(run: RunDirectory, settings: Mapping[str, Any]) -> TensorBoardLogger:
    """Begin an event file, with the settings as hyper-parameters."""
    file = EventFile(run.tensorboard)
    if settings:
        file.hyperparameters(settings, run.name)
    return TensorBoardLogger(file)
