"""This node: Python, cores, memory and disk."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from hpc_lstm import __version__
from hpc_lstm.jobs.checks.result import Check


def check_python() -> Check:
    """Versions of Python and this program."""
    version = ".".join(map(str, sys.version_info[:3]))
    return Check("Python", "ok", f"{version} ({sys.executable}), hpc-lstm {__version__}")


def check_machine() -> list[Check]:
    """Cores and memory of this node, and free space in the current folder."""
    import psutil

    memory, disk, here = psutil.virtual_memory(), shutil.disk_usage(Path.cwd()), Path.cwd()
    free = f"{_gib(disk.free)} free of {_gib(disk.total)} at {here}"
    return [
        Check("cores", "ok", f"{len(os.sched_getaffinity(0))} of {os.cpu_count()} usable by this process"),
        Check("memory", "ok", f"{_gib(memory.available)} free of {_gib(memory.total)}"),
        Check("disk", "ok", free)
        if os.access(here, os.W_OK)
        else Check("disk", "info", f"{free}, not writable", "choose a --run-dir that you may write to"),
    ]


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
