"""The launcher that starts the ranks of a Slurm job: one that is known to work with this environment's MPI library.

A launcher and a library that support no common process management interface (PMI) start every rank as a job of one.
Therefore the library is asked for its version, Slurm for the PMI types of its srun, and only a pair that is known to
work is chosen; else the library's own mpiexec is.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path

from hpc_lstm.errors import InputError
from hpc_lstm.jobs.mpiexec import find_mpiexec
from hpc_lstm.processes import PYTHON

# Seconds that a command may take to answer; MPI may load from a cold network file system.
ANSWER_S = 60
# Prints where the MPI library lies, then the first line of its version.
_PROBE = """
import mpi4py
mpi4py.rc.initialize = False
from mpi4py import MPI
from hpc_lstm.parallel.mpi_library import loaded_mpi_library
print(loaded_mpi_library() or "")
print(MPI.Get_library_version().strip().splitlines()[0])
"""


def find_launcher(*, verify: bool) -> list[str]:
    """The launcher's command for this environment, such as ``["srun", "--mpi=pmi2"]``.

    Args:
        verify: within a job, consider only PMI types with which srun can start a task here.

    Raises:
        InputError: no launcher is known to work with this environment's MPI library.
    """
    version, folder = probe_mpi_library()
    srun_types = srun_pmi_types()
    if verify and srun_types is not None and "SLURM_JOB_ID" in os.environ:
        supported = library_pmi_types(version, os.environ)
        srun_types = {name for name in supported if name in srun_types and _srun_starts_tasks(name)}
    own = () if folder is None else (folder.parent / "bin", folder.parents[1] / "bin")
    return choose_launcher(version, srun_types, find_mpiexec(*own), os.environ)


def choose_launcher(
    version: str, srun_types: Collection[str] | None, mpiexec: str | None, environment: Collection[str] = ()
) -> list[str]:
    """The launcher for an MPI library: srun where both support a PMI type, else the library's own mpiexec.

    Args:
        version: the MPI library's version text; empty: there is no library.
        srun_types: PMI types of srun; None: there is no srun.
        mpiexec: path of the library's own launcher; None: there is none.
        environment: names of the environment variables that are set.

    Raises:
        InputError: none works with the library.
    """
    if not version:
        if srun_types is None:
            raise InputError("launcher: neither srun nor an MPI library; see `hpc-lstm doctor`")
        return ["srun", "--mpi=none"]
    for name in library_pmi_types(version, environment) if srun_types is not None else ():
        if name in (srun_types or ()):
            return ["srun", f"--mpi={name}"]
    if mpiexec is None:
        reason = (
            "srun is missing or does not answer"
            if srun_types is None
            else f"srun supports {', '.join(sorted(srun_types)) or 'nothing'}"
        )
        raise InputError(
            f"launcher: none works with {version}: {reason}, and the library's own mpiexec is not on PATH; load the "
            "module that it belongs to, or name a launcher with HPC_LSTM_LAUNCHER"
        )
    return [mpiexec]


def library_pmi_types(version: str, environment: Collection[str] = ()) -> tuple[str, ...]:
    """PMI types that an MPI library is certain to support, in order of preference, as ``srun --mpi`` names them.

    Open MPI of Debian and of most sites is built with PMIx; whether it has PMI-2 differs, so it is not relied on.
    Intel MPI has PMI-2 where I_MPI_PMI_LIBRARY names Slurm's library.
    """
    name = version.lower()
    if "open mpi" in name:
        return ("pmix", "pmix_v5", "pmix_v4", "pmix_v3")
    if "intel" in name:
        return ("pmi2",) if "I_MPI_PMI_LIBRARY" in environment else ()
    if "cray" in name:
        return ("cray_shasta", "pmi2")
    if "mpich" in name or "mvapich" in name:
        return ("pmi2",)
    return ()


def probe_mpi_library() -> tuple[str, Path | None]:
    """First line of the MPI library's version, and the folder that it lies in; ``("", None)`` without a library.

    A process of its own loads it: here, mpi4py would have to initialize MPI now, or could never do so later.

    Raises:
        InputError: it takes too long to load, so that its version stays unknown.
    """
    try:
        done = subprocess.run([*PYTHON, "-c", _PROBE], capture_output=True, text=True, timeout=ANSWER_S)
    except subprocess.TimeoutExpired:
        raise InputError(
            f"launcher: MPI did not load in {ANSWER_S} s, so that none can be chosen; name one with HPC_LSTM_LAUNCHER"
        ) from None
    lines = done.stdout.replace("\0", "").splitlines()
    if done.returncode != 0 or len(lines) < 2:
        return "", None
    return " ".join(lines[-1].split()), Path(lines[0]).parent if lines[0] else None


def srun_pmi_types() -> set[str] | None:
    """PMI types of this site's srun; None where srun is missing or does not answer."""
    if shutil.which("srun") is None:
        return None
    try:
        done = subprocess.run(
            ["srun", "--mpi=list"], capture_output=True, text=True, timeout=ANSWER_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_pmi_types(done.stdout + done.stderr) if done.returncode == 0 else None


def parse_pmi_types(output: str) -> set[str]:
    """The PMI types in the output of ``srun --mpi=list``."""
    return set(re.findall(r"\b(?:none|openmpi|pmi2|pmix(?:_v\d+)?|cray_shasta)\b", output))


def _srun_starts_tasks(pmi_type: str) -> bool:
    """Whether this job's srun starts a task with a type that it lists: the plugin's own library may be missing."""
    command = ["srun", f"--mpi={pmi_type}", "--overlap", "--nodes=1", "--ntasks=1", "true"]
    try:
        return subprocess.run(command, capture_output=True, timeout=ANSWER_S, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
