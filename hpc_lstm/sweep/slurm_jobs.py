"""A sweep's Slurm jobs: one for each set of processes; their ids are kept, so that a later call finds them again."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Sequence
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
        submit, state, since_end: ``submit_job``, ``job_state`` and ``seconds_since_end`` of ``hpc_lstm.jobs.slurm``.
        check_owner: raises where another call keeps the sweep's jobs by now.
        jobs: id of each job, by the name of its set of processes.
    """

    path: Path
    submit: Callable[[str], str]
    state: Callable[[str], str]
    since_end: Callable[[str], float]
    check_owner: Callable[[], None] = lambda: None
    jobs: dict[str, str] = field(default_factory=dict)
    _ended_at: dict[str, float] = field(default_factory=dict, init=False)

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
        active = job is not None and self.state(job).split(" ")[0] in ACTIVE_STATES
        if active:
            self._ended_at.pop(self.jobs[name], None)  # it was queued again
        return active

    def has_settled(self, name: str) -> bool:
        """Whether the job of this name ended so long ago that all its records can be seen."""
        job = self.jobs[name]
        if job not in self._ended_at:
            self._ended_at[job] = time.monotonic() - self.since_end(job)
        return time.monotonic() - self._ended_at[job] >= SETTLE_S

    def describe_end(self, name: str) -> str:
        """How the job of this name ended, which left no record."""
        job = self.jobs[name]
        state = self.state(job)
        return f"job {job} ended{f' ({state})' if state else ''} without a record"

    def submit_script(self, name: str, script: str) -> str:
        """Submit a job and write its id to the file immediately, so that no later call submits it again."""
        self.check_owner()
        self.jobs[name] = self.submit(script)
        self._write()
        return self.jobs[name]

    def forget(self, names: Iterable[str]) -> None:
        """Drop jobs that have ended, so that they may be submitted again."""
        self.check_owner()
        for name in names:
            del self.jobs[name]
        self._write()

    def _write(self) -> None:
        write_text(self.path, json.dumps(self.jobs, indent=2) + "\n")


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
        output=str(output).replace("%", "%%"),
        exclusive=slurm.exclusive,
    )


def run_jobs(
    queue: Queue,
    names: Sequence[str],
    script: Callable[[str], str],
    done: Callable[[str], bool],
    kept: Callable[[str], bool],
    max_active: int,
    wait: bool,
    log: Callable[[str], None],
    pause_s: float = 10.0,
) -> dict[str, str]:
    """Submit the jobs that are not done and not active, at most ``max_active`` in the queue.

    One that has ended without its records is not submitted again by the call that finds it, but by the next one: what
    ended it may end it again, and someone has to look.

    Args:
        names: of the jobs.
        script: makes a job's batch script, when it is submitted.
        done: whether all records of a job exist.
        kept: whether those exist that it was last submitted for; more may be wanted since then.
        wait: stay until all jobs are done or have failed; without it, submit what the queue takes and return.
        pause_s: seconds between two looks at the queue.

    Returns:
        How the jobs have ended that left no records, by name.
    """
    failed: dict[str, str] = {}
    while True:
        unfinished = [name for name in names if name not in failed and not done(name)]
        active = [name for name in unfinished if queue.is_active(name)]
        settling = False
        for name in unfinished:
            if name in active:
                continue
            if name in queue.jobs:
                settled = queue.has_settled(name)  # before its records are looked for
                if not kept(name):
                    settling |= not settled
                    if settled:
                        failed[name] = queue.describe_end(name)
                        log(f"{name}: {failed[name]}")
                    continue
                queue.forget([name])
            if len(active) < max_active:
                job = queue.submit_script(name, script(name))
                active.append(name)
                log(f"{name}: submitted as job {job}")
        left = [name for name in names if name not in failed and not done(name)]
        if not left or not (wait or settling):
            if failed:
                queue.forget(failed)
            return failed
        time.sleep(pause_s)
