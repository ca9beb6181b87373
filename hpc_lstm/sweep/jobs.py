"""A sweep's jobs in Slurm: a job for each set of runs, its number kept, so that a later call finds it again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hpc_lstm.errors import InputError
from hpc_lstm.files import write_text
from hpc_lstm.sweep import plan
from hpc_lstm.sweep.settings import SweepConfig

if TYPE_CHECKING:
    from hpc_lstm.jobs.slurm import Job

# Words with which Slurm says that a job may yet bring something (squeue's and sacct's states).
ALIVE = {
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
# A network file system may show a record some seconds after its job has ended.
SETTLE_S = 30.0


@dataclass
class Queue:
    """The sweep's jobs.

    Attributes:
        path: file that keeps their numbers.
        submit, state: Slurm's, see ``hpc_lstm.jobs.slurm``.
        jobs: number of each job by the name of its task file.
    """

    path: Path
    submit: Callable[[str], str]
    state: Callable[[str], str]
    jobs: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.path.exists():
            try:
                self.jobs = {str(name): str(job) for name, job in json.loads(self.path.read_text()).items()}
            except (ValueError, AttributeError):
                raise InputError(f"{self.path}: damaged; remove it once none of its jobs runs") from None

    def alive(self, name: str) -> bool:
        """True if the task's job waits or runs."""
        job = self.jobs.get(name)
        return job is not None and self.state(job).split(" ")[0] in ALIVE

    def send(self, name: str, script: str) -> str:
        """Submit a task's job and note its number at once, so that no later call submits it again."""
        self.jobs[name] = self.submit(script)
        write_text(self.path, json.dumps(self.jobs, indent=2) + "\n")
        return self.jobs[name]


def job_of(command: Sequence[str], name: str, ranks: int, sweep: SweepConfig, output: Path) -> Job:
    """The job that runs ``command`` on ``ranks`` ranks."""
    from hpc_lstm.jobs.slurm import Job

    slurm = sweep.slurm
    nodes, each = plan.nodes_of(ranks, slurm.ranks_per_node)
    return Job(
        command=list(command),
        nodes=nodes,
        ranks_per_node=each,
        gpus_per_node=min(slurm.gpus_per_node, each),
        cpus_per_task=slurm.cpus_per_task or sweep.sweep.threads,
        time=slurm.time,
        account=slurm.account,
        partition=slurm.partition,
        name=f"hpc-lstm-{name}",
        output=str(output),
        exclusive=slurm.exclusive,
    )


def drive(
    queue: Queue,
    tasks: Sequence[str],
    script: Callable[[str], str],
    done: Callable[[str], bool],
    at_once: int,
    wait: bool,
    say: Callable[[str], None],
    pause_s: float = 10.0,
) -> list[str]:
    """Submit the tasks that are not done and have no live job, at most ``at_once`` in the queue.

    Args:
        tasks: names.
        script: makes a task's batch script, when it is submitted.
        done: whether a task's records are all there.
        wait: stay until all tasks are done or have failed; without it, submit what the queue takes and return.

    Returns:
        Names of the tasks whose job has ended without its records: they are submitted anew by the next call.
    """
    sent: set[str] = set()
    ended: dict[str, float] = {}
    failed: list[str] = []
    while True:
        open_ = [name for name in tasks if name not in failed and not done(name)]
        living = [name for name in open_ if queue.alive(name)]
        for name in open_:
            if name in living:
                ended.pop(name, None)
            elif name in sent:  # ours, and over
                since = ended.setdefault(name, time.monotonic())
                if time.monotonic() - since >= SETTLE_S:
                    failed.append(name)
                    say(
                        f"{name}: job {queue.jobs[name]} ended ({queue.state(queue.jobs[name])}) without a record"
                    )
            elif len(living) < at_once:
                job = queue.send(name, script(name))
                sent.add(name)
                living.append(name)
                say(f"{name}: submitted as job {job}")
        if not wait or not [name for name in tasks if name not in failed and not done(name)]:
            return failed
        time.sleep(pause_s)
