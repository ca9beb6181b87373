"""What starts the ranks of a Slurm job: it must speak to the MPI library of this environment.

A launcher and a library that do not understand each other leave every rank alone. So the library is asked what it
is, Slurm what its srun offers, and only a pair that is known to fit is taken.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

from hpc_lstm.errors import InputError

ANSWER_S = 60
# Prints where the MPI library lies, then the first line of its version.
_PROBE = """
import mpi4py
mpi4py.rc.initialize = False
from mpi4py import MPI
from hpc_lstm.native.loaded_libraries import loaded_mpi_library
print(loaded_mpi_library() or "")
print(MPI.Get_library_version().strip().splitlines()[0])
"""


def find(*, tried: bool) -> list[str]:
    """The launcher's words for this environment, such as ``["srun", "--mpi=pmi2"]``.

    Args:
        tried: within a job, take only what srun was seen to start.

    Raises:
        InputError: there is none that fits.
    """
    library, folder = mpi_library()
    offered = srun_offers()
    if tried and offered is not None and "SLURM_JOB_ID" in os.environ:
        offered = {name for name in spoken(library, os.environ) if name in offered and _starts(name)}
    return choose(library, offered, launcher_of(folder), os.environ)


def choose(
    library: str, offered: Collection[str] | None, mpiexec: str | None, environment: Collection[str] = ()
) -> list[str]:
    """Pick a launcher.

    Args:
        library: the MPI library's version text; empty: there is none.
        offered: what ``srun --mpi`` takes; None: no srun.
        mpiexec: the library's own launcher, None: not there.
        environment: names of the variables that are set.

    Raises:
        InputError: none fits.
    """
    if not library:
        if offered is None:
            raise InputError("launcher: neither srun nor an MPI library; see `hpc-lstm doctor`")
        return ["srun", "--mpi=none"]
    for name in spoken(library, environment) if offered is not None else ():
        if name in (offered or ()):
            return ["srun", f"--mpi={name}"]
    if mpiexec is None:
        said = (
            "there is no srun that answers"
            if offered is None
            else f"srun offers {', '.join(sorted(offered)) or 'nothing'}"
        )
        raise InputError(
            f"launcher: none fits {library}: {said}, and the library's own mpiexec is not on PATH; load the module "
            "that it belongs to, or name a launcher by HPC_LSTM_LAUNCHER"
        )
    return [mpiexec]


def spoken(library: str, environment: Collection[str] = ()) -> tuple[str, ...]:
    """What an MPI library speaks to srun for certain, in the order to prefer.

    Open MPI of Debian and of most sites is built with PMIx; whether it has PMI-2 differs, so it is not counted on.
    Intel MPI has it where its library is told where Slurm's lies.
    """
    name = library.lower()
    if "open mpi" in name:
        return ("pmix", "pmix_v5", "pmix_v4", "pmix_v3")
    if "intel" in name:
        return ("pmi2",) if "I_MPI_PMI_LIBRARY" in environment else ()
    if "cray" in name:
        return ("cray_shasta", "pmi2")
    if "mpich" in name or "mvapich" in name:
        return ("pmi2",)
    return ()


def mpi_library() -> tuple[str, Path | None]:
    """First line of the MPI library's version, and the folder that it lies in; ``("", None)`` without one.

    Asked in a process of its own: here, mpi4py would have to start MPI, or never could any more.

    Raises:
        InputError: it takes too long to load, so that nobody knows what it is.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=ANSWER_S
        )
    except subprocess.TimeoutExpired:
        raise InputError(
            f"launcher: MPI did not load in {ANSWER_S} s, so none is known to fit; name one by HPC_LSTM_LAUNCHER"
        ) from None
    lines = done.stdout.replace("\0", "").splitlines()
    if done.returncode != 0 or len(lines) < 2:
        return "", None
    return " ".join(lines[-1].split()), Path(lines[0]).parent if lines[0] else None


def launcher_of(folder: Path | None) -> str | None:
    """The mpiexec or mpirun that belongs to a library in ``folder``: beside it, else the first on PATH."""
    beside = [] if folder is None else [str(folder.parent / "bin"), str(folder.parents[1] / "bin")]
    return next(
        (
            found
            for path in (*beside, os.environ.get("PATH", ""))
            for name in ("mpiexec", "mpirun")
            if (found := shutil.which(name, path=path))
        ),
        None,
    )


def srun_offers() -> set[str] | None:
    """What this site's ``srun --mpi`` takes; None where there is no srun that answers."""
    if shutil.which("srun") is None:
        return None
    try:
        done = subprocess.run(
            ["srun", "--mpi=list"], capture_output=True, text=True, timeout=ANSWER_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return offers(done.stdout + done.stderr) if done.returncode == 0 else None


def _starts(name: str) -> bool:
    """True if this job's srun can use a protocol that it lists: what the plugin needs may not be installed."""
    command = ["srun", f"--mpi={name}", "--overlap", "--nodes=1", "--ntasks=1", "true"]
    try:
        return subprocess.run(command, capture_output=True, timeout=ANSWER_S, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def offers(listed: str) -> set[str]:
    """The names in what ``srun --mpi=list`` prints."""
    return set(re.findall(r"\b(?:none|openmpi|pmi2|pmix(?:_v\d+)?|cray_shasta)\b", listed))
