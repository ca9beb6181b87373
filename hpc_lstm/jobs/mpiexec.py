"""The MPI launcher of this machine: where ``mpiexec`` lies, and how it is called to share a node's cores."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from hpc_lstm.errors import InputError

ANSWER_S = 60
# What Open MPI's launcher calls itself in its version, over the years.
OPEN_MPI_NAMES = ("Open MPI", "OpenRTE", "PRRTE")


def find_mpiexec(*folders: Path) -> str | None:
    """Path of ``mpiexec``, or else of ``mpirun``: in the first of ``folders`` that has one, or else on PATH."""
    search = [*map(str, folders), os.environ.get("PATH", "")]
    candidates = (shutil.which(name, path=path) for path in search for name in ("mpiexec", "mpirun"))
    return next(filter(None, candidates), None)


def mpiexec_command(mpiexec: str | None = None) -> list[str]:
    """The command that starts ranks on this machine, up to and without ``-n``.

    Open MPI is told to accept more ranks than cores, to bind none of them to a core, since a rank may have several
    threads, and to run as root where this process does (in containers).

    Args:
        mpiexec: the launcher's path; None: the one beside this Python, or else on PATH.

    Raises:
        InputError: there is none.
    """
    mpiexec = mpiexec or find_mpiexec(Path(sys.executable).parent)
    if mpiexec is None:
        raise InputError('mpiexec: not found: pip install "hpc-lstm[mpich]", or load a system MPI')
    version = subprocess.run([mpiexec, "--version"], capture_output=True, text=True, timeout=ANSWER_S).stdout
    if not any(name in version for name in OPEN_MPI_NAMES):
        return [mpiexec]
    as_root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    return [mpiexec, *as_root, "--oversubscribe", "--bind-to", "none"]
