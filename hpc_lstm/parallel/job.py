"""The Slurm job that this process belongs to, from its environment variables."""

from __future__ import annotations

import os


def own_job() -> str:
    """The Slurm job of this process and its number of restarts, in one line; "" outside of one."""
    here = os.environ
    if "SLURM_JOB_ID" not in here:
        return ""
    words = [f"Slurm job {here['SLURM_JOB_ID']}"]
    if "SLURM_ARRAY_TASK_ID" in here:
        words.append(f"task {here['SLURM_ARRAY_TASK_ID']} of array {here.get('SLURM_ARRAY_JOB_ID', '')}")
    words.append(f"on {here.get('SLURM_JOB_NODELIST', 'unknown nodes')}")
    return ", ".join([*words, f"restart {here.get('SLURM_RESTART_COUNT', '0')}"])
