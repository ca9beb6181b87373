"""Jobs of Slurm: a job's script from what it shall run and on what, its submission, and how it stands.

``slurm/run.sh`` is what every script has in common, rendered here or written by hand: it starts the ranks, tells
them to stop before the time is up, and queues the job anew. ``docs/slurm.md`` describes it.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hpc_lstm.errors import InputError
from hpc_lstm.files import data_folder, expanded

# How long Slurm's commands may take; a busy controller answers late.
ANSWER_S = 120
SIGNAL_BEFORE_S = 120
MAX_REQUEUES = 100
# Slurm's ways to write a time limit: M, M:S, H:M:S, D-H, D-H:M, D-H:M:S.
_MINUTES = re.compile("(?:(?P<h>N):(?P<hm>N):(?P<hs>N)|(?P<m>N)(?::(?P<s>N))?)".replace("N", "[0-9]{1,9}"))
_DAYS = re.compile("(?P<d>N)-(?P<h>N)(?::(?P<m>N)(?::(?P<s>N))?)?".replace("N", "[0-9]{1,9}"))
_SYSTEM = {"/bin", "/usr/bin", "/usr/local/bin"}
_PLAIN = re.compile(r"[A-Za-z0-9_.,:@%+/=-]*")


@dataclass(frozen=True)
class Job:
    """What a job runs, and what it asks Slurm for.

    Attributes:
        command: what every rank runs: a program and its arguments.
        nodes, ranks_per_node: at least 1 each.
        gpus_per_node: 0: none.
        cpus_per_task: cores of a rank; 0: as the site has it.
        time: limit as Slurm writes it, such as "04:00:00" or "1-12"; empty: the partition's.
        account, partition, name: as Slurm knows them; empty: the site's default.
        output: file of what the job prints, with Slurm's patterns such as %j; empty: <name>-<job id>.log where
            it was submitted.
        exclusive: share the nodes with no other job.
        signal_before: seconds before the time limit at which the ranks are told to stop; Slurm may be up to a
            minute early; 0: never.
        max_requeues: times that the job may be started again.
        options: further options of sbatch, such as "--qos=low", a word each.

    Raises:
        InputError: a value that Slurm could not take: which, and what it takes.
    """

    command: list[str]
    nodes: int
    ranks_per_node: int
    gpus_per_node: int = 0
    cpus_per_task: int = 0
    time: str = ""
    account: str = ""
    partition: str = ""
    name: str = "hpc-lstm"
    output: str = ""
    exclusive: bool = False
    signal_before: int = SIGNAL_BEFORE_S
    max_requeues: int = MAX_REQUEUES
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.command or "\0" in "".join(self.command):
            raise InputError(f"command: must be a program and its arguments, got {self.command!r}")
        for what, least in (("nodes", 1), ("ranks_per_node", 1), ("gpus_per_node", 0), ("cpus_per_task", 0)):
            _at_least(what, getattr(self, what), least)
        _at_least("signal_before", self.signal_before, 0)
        _at_least("max_requeues", self.max_requeues, 0)
        for what in ("time", "account", "partition", "name", "output"):
            _printable(what, getattr(self, what))
        if "/" in self.name:  # a part of the output's name, and no folder
            raise InputError(f'name: must have no "/", got "{self.name}"')
        for option in self.options:
            _printable("options", option)
            if not option.startswith("-"):
                raise InputError(f'options: must be options of sbatch such as "--qos=low", got "{option}"')
        if (
            self.time and seconds(self.time) <= self.signal_before
        ):  # the job would stop as it begins, each time
            raise InputError(
                f"time: {self.time} is over before the signal that comes {self.signal_before} s ahead of its end; "
                "ask for more time, or a later signal"
            )


def seconds(time: str) -> int:
    """The length of a time limit of Slurm's: M, M:S, H:M:S, D-H, D-H:M or D-H:M:S.

    Raises:
        InputError: it is none of these, or no time at all.
    """
    found = _MINUTES.fullmatch(time) or _DAYS.fullmatch(time)
    parts = {key: int(value) for key, value in (found.groupdict() if found else {}).items() if value}
    minutes, rest = parts.get("m", parts.get("hm", 0)), parts.get("s", parts.get("hs", 0))
    length = ((parts.get("d", 0) * 24 + parts.get("h", 0)) * 60 + minutes) * 60 + rest
    if not length:
        raise InputError(
            f'time: must be as Slurm writes it, such as "04:00:00", "90" (minutes) or "1-12" (days-hours), got "{time}"'
        )
    return length


def folder() -> Path:
    """Where the batch scripts and ``run.sh`` lie."""
    return data_folder("slurm")


def programs() -> Path:
    """The folder of this environment's ``hpc-lstm``: beside the interpreter, else the first on PATH."""
    beside = Path(sys.executable).parent
    found = shutil.which("hpc-lstm", path=str(beside)) or shutil.which("hpc-lstm")
    return Path(found).absolute().parent if found else beside


def training(config: str, run_dir: str, overrides: Sequence[str]) -> list[str]:
    """The command that trains as a config says, from wherever it is run; a run that was begun goes on.

    Raises:
        InputError: the config or an override is wrong, or a path names no home folder.
    """
    from hpc_lstm import config as configuration
    from hpc_lstm.storage.stores import check_storage_config

    check_storage_config(configuration.load(config, overrides).storage, config)
    settings = [word for override in overrides for word in ("--set", override)]
    path, folder = (str(expanded(one).absolute()) for one in (config, run_dir))
    return ["hpc-lstm", "train", path, "--run-dir", folder, "--resume", *settings]


def render(job: Job) -> str:
    """The text of a batch script for ``sbatch``."""
    asked = {
        "job-name": job.name,
        "nodes": job.nodes,
        "ntasks-per-node": job.ranks_per_node,
        "gpus-per-node": job.gpus_per_node,
        "cpus-per-task": job.cpus_per_task,
        "time": job.time,
        "account": job.account,
        "partition": job.partition,
        "output": job.output or "%x-%j.log",
        "signal": f"B:USR1@{job.signal_before}" if job.signal_before else "",
    }
    lines = [f"#SBATCH --{option}={_quoted(str(value))}" for option, value in asked.items() if value]
    lines += ["#SBATCH --exclusive"] * job.exclusive
    lines += [f"#SBATCH {_quoted(option)}" for option in job.options]
    lines += ["#SBATCH --requeue", "#SBATCH --open-mode=append"]
    return "\n".join(
        [
            "#!/bin/bash",
            *lines,
            "stop=; trap stop=USR1 USR1  # noted from the first line on",
            f"export PATH={_search_path(programs())} HPC_LSTM_MAX_REQUEUES={job.max_requeues}",
            f". {shlex.quote(str(folder() / 'run.sh'))} || exit",
            f"run_ranks {shlex.join(job.command)}",
            "",
        ]
    )


def submit(script: str) -> str:
    """Hand a batch script to Slurm.

    Returns:
        The job's number.

    Raises:
        InputError: there is no sbatch, or it refuses the job: its reason.
    """
    if shutil.which("sbatch") is None:
        raise InputError("sbatch: not found: submit where Slurm is, such as on the cluster's login node")
    done = _ask(["sbatch", "--parsable"], script)
    if done.returncode != 0:
        raise InputError(f"sbatch refuses the job: {_reason(done.stderr) or f'exit code {done.returncode}'}")
    return done.stdout.split(";")[0].strip()


def state(job_id: str) -> str:
    """How a job stands in Slurm's words, such as "PENDING", "RUNNING" or "COMPLETED"; "" if unknown.

    Jobs that ended a while ago are known only where Slurm keeps accounts (``sacct``).

    Raises:
        InputError: Slurm does not answer, which says nothing about the job.
    """
    if shutil.which("squeue"):
        done = _ask(["squeue", "--noheader", "--states=all", f"--jobs={job_id}", "--format=%T"])
        if done.returncode == 0 and done.stdout.split():
            return done.stdout.split()[0]
        if done.returncode != 0 and "Invalid job id" not in done.stderr:
            raise InputError(f"squeue: {_reason(done.stderr)}; try again when Slurm answers")
    if shutil.which("sacct"):
        command = [
            "sacct",
            "--noheader",
            "--allocations",
            "--parsable2",
            f"--jobs={job_id}",
            "--format=State",
        ]
        done = _ask(command)
        if done.returncode == 0 and done.stdout.split():
            return done.stdout.split()[0]
    return ""


def _ask(command: list[str], text: str = "") -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=ANSWER_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"{command[0]}: no answer from Slurm in {ANSWER_S} s; try again later") from None
    except OSError as error:
        raise InputError(f"{command[0]}: cannot be run: {os.strerror(error.errno or 0)}") from None


def _reason(said: str) -> str:
    """What one of Slurm's commands says is wrong, on one line and without its name."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return "; ".join(re.sub(r"^(sbatch: |squeue: )?(error: )?", "", line) for line in lines)


def _search_path(first: Path) -> str:
    """PATH for bash with a folder added to it: ahead, but for the system's, which would hide loaded modules."""
    folder = shlex.quote(str(first))
    return f'"$PATH":{folder}' if str(first) in _SYSTEM else f'{folder}:"$PATH"'


def _quoted(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else shlex.quote(value)


def _at_least(what: str, value: int, least: int) -> None:
    if value < least:
        raise InputError(f"{what}: must be at least {least}, got {value}")


def _printable(what: str, value: str) -> None:
    if not value.isprintable() or "'" in value:
        raise InputError(f"{what}: must be on one line and without quotes, got {value!r}")
