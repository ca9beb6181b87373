"""What takes the curves of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from hpc_lstm.runs.directory import RunDirectory


class RunLogger(Protocol):
    """Takes the curves of one run, on rank 0."""

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Add a point of each curve, by the curves' names; a value may be NaN or infinite."""

    def flush(self) -> None:
        """Bring what was added to where it would outlive a crash, unless that takes long."""

    def close(self) -> None:
        """Write what is left, and end."""


class LoggerModule(Protocol):
    """What a module in ``registry.LOGGERS`` offers; importing it must be cheap.

    Attributes:
        PACKAGE: what it imports when a logger is opened, also the name of the extra; "": nothing.
    """

    PACKAGE: str

    def open_logger(self, run: RunDirectory, settings: Mapping[str, Any]) -> RunLogger:
        """Begin to log a run, or go on with it where its directory says that it was logged before.

        Args:
            settings: all of the run, by ``section.key``.

        Raises:
            InputError: nothing can be logged there; the message says what to do.
        """
