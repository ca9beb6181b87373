"""MPI: its library, the launchers that fit it, and the ranks of this job."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from hpc_lstm.errors import InputError
from hpc_lstm.jobs.checks.result import Check, package_version
from hpc_lstm.jobs.launcher import find_launcher
from hpc_lstm.jobs.mpiexec import find_mpiexec
from hpc_lstm.parallel.launch import LAUNCHER_SIZES
from hpc_lstm.parallel.mpi_library import loaded_mpi_library
from hpc_lstm.parallel.world import World
from hpc_lstm.text.counts import counted

INSTALL = 'pip install "hpc-lstm[mpich]", or load a system MPI'


def check_mpi(world: World) -> Check:
    """The MPI library that the ranks use, and whether it belongs to this environment or to the system."""
    advice = f"for several ranks: {INSTALL} and pip install mpi4py"
    mpi4py = package_version("mpi4py")
    if mpi4py is None:
        return Check("MPI", "missing", "mpi4py is not installed", advice)
    if world.library == "no MPI":
        return Check("MPI", "missing", f"mpi4py {mpi4py}, but no MPI library can be loaded", advice)
    path = loaded_mpi_library()
    origin = (
        ""
        if path is None
        else f" from {path} ({'this environment' if _in_environment(path) else 'the system'})"
    )
    return Check("MPI", "ok", f"{world.library}{origin}, mpi4py {mpi4py}")


def check_launcher() -> Check:
    """The launchers on PATH, and whether mpiexec belongs to the same installation as the MPI library."""
    mpiexec, library = find_mpiexec(), loaded_mpi_library()
    launchers = [path for path in (mpiexec, shutil.which("srun")) if path]
    if not launchers:
        return Check("launcher", "missing", "neither mpiexec nor srun", INSTALL)
    found = ", ".join(launchers)
    started_by = next((name for name in LAUNCHER_SIZES if os.environ.get(name)), None)
    if started_by:
        found += f", {started_by} is set: started by a launcher"
    if library and mpiexec and _in_environment(library) != _in_environment(Path(mpiexec)):
        advice = (
            "mpiexec and the MPI library belong to different installations: ranks may not find each other"
        )
        return Check("launcher", "info", found, advice)
    return Check("launcher", "ok", found)


def check_slurm() -> list[Check]:
    """How the batch scripts would start ranks, where there is a Slurm."""
    if shutil.which("srun") is None:
        return []
    try:
        command = find_launcher(verify=False)
    except InputError as error:
        return [Check("Slurm", "info", str(error), "see docs/slurm.md")]
    return [Check("Slurm", "ok", f"batch scripts start ranks with {' '.join(command)}")]


def check_ranks(ranks: list[tuple[str, int]]) -> Check:
    """Where the ranks of this job run.

    Args:
        ranks: node and number of CPU threads of each rank.
    """
    nodes = list(dict.fromkeys(node for node, _ in ranks))
    threads = sorted({threads for _, threads in ranks})
    per_rank = str(threads[0]) if len(threads) == 1 else f"{threads[0]} to {threads[-1]}"
    shown = ", ".join(nodes[:4]) + (", ..." if len(nodes) > 4 else "")
    found = f"{counted(len(ranks), 'rank')} on {counted(len(nodes), 'node')} ({shown})"
    found += f", CPU threads per rank: {per_rank}"
    return Check("ranks", "ok", found, "" if len(ranks) > 1 else "to see more: mpiexec -n 2 hpc-lstm doctor")


def _in_environment(path: Path) -> bool:
    """True for a file of this Python environment."""
    prefixes = (sys.prefix, os.path.realpath(sys.prefix))
    return any(Path(prefix) in path.absolute().parents for prefix in prefixes)
