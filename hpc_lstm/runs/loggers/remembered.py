"""By which id a server knows a run, kept in the run directory, so that a resumed run goes on with the same curves."""

from __future__ import annotations

from hpc_lstm.files import read_text, write_text
from hpc_lstm.runs.directory import RunDirectory

# More than any server's id is long.
LONGEST = 200


def remembered_id(run: RunDirectory, logger: str) -> str:
    """The id under which a logger knows the run; "" if it does not."""
    try:
        return read_text(run.path / f"{logger}.id", errors="replace").strip()[:LONGEST]
    except OSError:
        return ""


def remember_id(run: RunDirectory, logger: str, known_as: str) -> None:
    """Keep the id.

    Raises:
        InputError: the file cannot be written.
    """
    write_text(run.path / f"{logger}.id", known_as + "\n")
