"""Which job owns a run directory, and what to do about a file that its run has not written yet."""

from __future__ import annotations

import shlex
from pathlib import Path

from hpc_lstm.clusters.lease_files import LeaseFiles
from hpc_lstm.errors import InputError, StorageError
from hpc_lstm.runs.directory import RunDirectory
from hpc_lstm.storage.folder import FolderStore

# Where in a run directory the leases are of the jobs that own it, and the name that they are for.
OWNER, NAME = ".owner/", "run"


def require(run: RunDirectory, path: Path) -> Path:
    """``path``, one of the run's files, if it exists.

    Raises:
        InputError: it does not exist, because the run is not complete.
    """
    if not path.exists():
        raise InputError(f"{path}: missing: {_why_incomplete(run)}")
    return path


def _why_incomplete(run: RunDirectory) -> str:
    """Who is at a run that is not complete, as far as that can be told at once, and what to do."""
    resume = (
        f"continue it with `hpc-lstm train {shlex.quote(str(run.config))} --run-dir {shlex.quote(str(run.path))} "
        "--resume`"
    )
    leases = LeaseFiles(FolderStore(run.path), OWNER, NAME, str(run.path))
    try:
        newest = leases.newest()
    except StorageError:  # nothing is known of a job
        return f"the run is not complete; {resume}"
    if not newest.is_held or leases.is_dead(newest.number):
        return f"the run is not complete; {resume}"
    host = leases.host(newest.number)
    if leases.is_of_this_machine(newest.number):
        return f"the run is not complete: a job on {host} is still training it; wait until that has ended"
    # Whether a job elsewhere lives is known to whoever watches its lease, for longer than a message may take.
    return (
        f"the run is not complete: a job on {host} has not ended yet, or was killed; wait until it has ended, or if it "
        f"was killed, {resume}"
    )
