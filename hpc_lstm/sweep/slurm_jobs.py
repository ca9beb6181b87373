"""A sweep's Slurm jobs: one for each set of processes; their ids are kept, so that a later call finds them again."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hpc_lstm.errors import InputError
from hpc_lstm.files import read_text, write_text
from hpc_lstm.jobs.slurm import Job
from hpc_lstm.sweep import plan
from hpc_lstm.sweep.settings import SweepConfig

# Job states, of squeue and of sacct, in which a job may yet write a record.
ACTIVE_STATES = {
    "PENDING",
    "CONFIGURING",
    "RUNNING",
    "COMPLETING",
    "SUSPENDED",
    "REQUEUED",
    "REQUEUE_HOLD",
    "RESIZING",
    "STAGE_OUT",
    "SIGNALING",
    "STOPPED",
}
_JOB = re.compile(r"[\w.+-]{1,80}")
# A network file system may show a record some seconds after its job has ended.
SETTLE_S = 30.0


@dataclass
class Queue:
    """The sweep's jobs.

    Attributes:
        path: file that keeps their ids.
        submit, state: ``submit_job`` and ``job_state`` of ``hpc_lstm.jobs.slurm``.
        jobs: id of each job, by the name of its set of processes.
    """

    path: Path
    submit: Callable[[str], str]
    state: Callable[[str], str]
    jobs: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.path.exists():
            try:
                found = json.loads(read_text(self.path))
                self.jobs = {str(name): str(job) for name, job in found.items()}
                if not all(map(_JOB.fullmatch, self.jobs.values())):
                    raise ValueError("no id of a job")
            except (OSError, ValueError, AttributeError, RecursionError):
                raise InputError(f"{self.path}: damaged; remove it once none of its jobs runs") from None

    def is_active(self, name: str) -> bool:
        """Whether the job of this name is pending or running."""
        job = self.jobs.get(name)
        return job is not None and self.state(job).split(" ")[0] in ACTIVE_STATES

    def submit_script(self, name: str, script: str) -> str:
        """Submit a job and write its id to the file immediately, so that no later call submits it again."""
        self.jobs[name] = self.submit(script)
        write_text(self.path, json.dumps(self.jobs, indent=2) + "\n")
        return self.jobs[name]


def make_job(command: Sequence[str], name: str, ranks: int, sweep: SweepConfig, output: Path) -> Job:
    """The job that runs ``command`` on ``ranks`` ranks."""
    slurm = sweep.slurm
    nodes, ranks_per_node = plan.nodes_for(ranks, slurm.ranks_per_node)
    return Job(
        command=list(command),
        nodes=nodes,
        ranks_per_node=ranks_per_node,
        gpus_per_node=min(slurm.gpus_per_node, ranks_per_node),
        cpus_per_task=slurm.cpus_per_task or sweep.sweep.threads,
        time=slurm.time,
        account=slurm.account,
        partition=slurm.partition,
        name=f"hpc-lstm-{name}",
        output=str(output),
        exclusive=slurm.exclusive,
    )


def run_jobs(
    queue: Queue,
    names: Sequence[str],
    script: Callable[[str], str],
    done: Callable[[str], bool],
    max_active: int,
    wait: bool,
    log: Callable[[str], None],
    pause_s: float = 10.0,
) -> list[str]:
    """Submit the jobs that are not done and not active, at most ``max_active`` in the queue.

    Args:
        names: of the jobs.
        script: makes a job's batch script, when it is submitted.
        done: whether all records of a job exist.
        wait: stay until all jobs are done or have failed; without it, submit what the queue takes and return.
        pause_s: seconds between two looks at the queue.

    Returns:
        Names of the jobs that have ended without their records: the next call submits them again.
    """
    submitted: set[str] = set()
    ended_at: dict[str, float] = {}
    failed: list[str] = []
    while True:
        unfinished = [name for name in names if name not in failed and not done(name)]
        active = [name for name in unfinished if queue.is_active(name)]
        for name in unfinished:
            if name in active:
                ended_at.pop(name, None)
            elif name in submitted:
                # The job is over; its records may take a while to appear.
                since = ended_at.setdefault(name, time.monotonic())
                if time.monotonic() - since >= SETTLE_S:
                    failed.append(name)
                    state = queue.state(queue.jobs[name])
                    log(f"{name}: job {queue.jobs[name]} ended ({state}) without a record")
            elif len(active) < max_active:
                job = queue.submit_script(name, script(name))
                submitted.add(name)
                active.append(name)
                log(f"{name}: submitted as job {job}")
        if not wait or not [name for name in names if name not in failed and not done(name)]:
            return failed
        time.sleep(pause_s)
