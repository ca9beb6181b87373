"""Where and with what a start of a run computes, for its ``run.json``: what a reader needs to repeat it."""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hpc_lstm
from hpc_lstm.parallel import job

if TYPE_CHECKING:
    from hpc_lstm.training.setup import Run

PACKAGES = ("numpy", "h5py", "mpi4py", "mpich", "pycuda", "tensorflow", "keras")
# Such as numpy-2.4.1.dist-info and h5py-3.7.0-py3.11.egg-info.
_DISTRIBUTION = re.compile(r"(.+?)-([0-9][^-]*)(?:-py[0-9.]+)?\.(?:dist|egg)-info")
# Seconds that git may take to answer, on a cold file system.
GIT_TIMEOUT_S = 5.0


def describe_start(run: Run) -> dict[str, Any]:
    """What this start runs with; collective, complete on rank 0 alone.

    Returns:
        ``started`` (UTC), ``command``, ``folder``, ``hpc_lstm`` and its ``git`` commit ("" outside of a checkout),
        ``python``, ``packages`` by name, ``mpi``, ``system``, ``processor``, ``cores`` and ``memory_bytes`` of rank
        0's node, ``ranks``, ``threads``, ``nodes``, ``gpus`` (each with the number of ranks on it), ``engine``,
        ``backend``, ``precision``, ``seed``, ``job`` ("" outside of Slurm).
    """
    placement, train = run.placement, run.config.train
    places = run.world.allgather((run.world.node, placement.gpu.describe() if placement.gpu else None))
    if run.world.rank:
        return {}
    gpus = [gpu for _, gpu in places if gpu is not None]
    return {
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": shlex.join(["hpc-lstm", *sys.argv[1:]]),
        "folder": os.getcwd(),
        "hpc_lstm": hpc_lstm.__version__,
        "git": git_commit(Path(hpc_lstm.__file__).resolve().parents[1]),
        "python": platform.python_version(),
        "packages": installed_versions(PACKAGES),
        "mpi": run.world.library,
        "system": platform.platform(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "ranks": run.world.size,
        "threads": placement.threads,
        "nodes": list(dict.fromkeys(node for node, _ in places)),
        "gpus": {gpu: gpus.count(gpu) for gpu in dict.fromkeys(gpus)},
        "engine": run.engine.name,
        "backend": placement.backend.name,
        "precision": train.precision,
        "seed": train.seed,
        "job": job.own_job(),
    }


def git_commit(checkout: Path) -> str:
    """The commit of a checkout, with ``-dirty`` where files differ from it; "" if it is none."""
    if not (checkout / ".git").exists():
        return ""
    # Twice as fast as `git describe`, which looks for tags as well. Without optional locks git leaves the index alone,
    # which a `git commit` of the user's would find locked.
    status = ["status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    command = ["git", "--no-optional-locks", "-C", str(checkout), *status]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    commit = re.search(r"^# branch\.oid ([0-9a-f]{40,})$", done.stdout, re.MULTILINE)
    if done.returncode != 0 or commit is None:  # there is none yet
        return ""
    changed = re.search(r"^[^#]", done.stdout, re.MULTILINE)
    return commit[1] + ("-dirty" if changed else "")


def installed_versions(names: Iterable[str]) -> dict[str, str]:
    """Versions of installed distributions; those that are not installed are left out.

    They are told by the names of folders: ``importlib.metadata`` would open forty files in front of the first step.
    """
    found: dict[str, str] = {}
    for folder in sys.path:
        with suppress(OSError):
            for entry in sorted(os.listdir(folder or ".")):
                if match := _DISTRIBUTION.fullmatch(entry):
                    found.setdefault(re.sub("[-_.]+", "-", match[1]).lower(), match[2])
    return {name: found[name] for name in names if name in found}


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
