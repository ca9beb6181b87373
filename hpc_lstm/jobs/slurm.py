"""Slurm jobs: the batch script of a job, its submission, and its state.

Every batch script, written here or by hand, reads ``slurm/run.sh``, which starts the ranks, signals them to stop
before the time limit, and requeues the job. ``docs/slurm.md`` describes it.
"""

from __future__ import annotations

import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from hpc_lstm.errors import InputError
from hpc_lstm.files import data_folder, expanded

# Seconds that Slurm's commands may take; a busy controller answers late.
ANSWER_S = 120
SIGNAL_BEFORE_S = 120
# The formats of a Slurm time limit: M, M:S, H:M:S, D-H, D-H:M, D-H:M:S.
_MINUTES = re.compile("(?:(?P<h>N):(?P<hm>N):(?P<hs>N)|(?P<m>N)(?::(?P<s>N))?)".replace("N", "[0-9]{1,9}"))
_DAYS = re.compile("(?P<d>N)-(?P<h>N)(?::(?P<m>N)(?::(?P<s>N))?)?".replace("N", "[0-9]{1,9}"))
_SYSTEM = {"/bin", "/usr/bin", "/usr/local/bin"}
_PLAIN = re.compile(r"[A-Za-z0-9_.,:@%+/=-]*")


@dataclass(frozen=True)
class Job:
    """What a job runs, and which resources it requests.

    Attributes:
        command: what every rank runs: a program and its arguments.
        nodes, ranks_per_node: at least 1 each.
        gpus_per_node: 0: none.
        cpus_per_task: cores of a rank; 0: the site's default.
        time: time limit in Slurm's format, such as "04:00:00" or "1-12"; empty: the partition's.
        account, partition, name: as Slurm knows them; empty: the site's default.
        output: file for the job's output, with Slurm's patterns such as %j; empty: <name>-<job id>.log in the
            folder it was submitted from.
        exclusive: whether no other job may use the nodes.
        signal_before: seconds before the time limit at which the ranks are signalled to stop; Slurm may be up to
            a minute early; 0: never.
        max_requeues: how often the job may be restarted; None: as ``HPC_LSTM_MAX_REQUEUES`` of its environment says.
        options: further options of sbatch, such as "--qos=low".

    Raises:
        InputError: a value that Slurm would refuse: which, and what it accepts.
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
    max_requeues: int | None = None
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.command or "\0" in "".join(self.command):
            raise InputError(f"command: must be a program and its arguments, got {self.command!r}")
        for what, least in (("nodes", 1), ("ranks_per_node", 1), ("gpus_per_node", 0), ("cpus_per_task", 0)):
            _check_minimum(what, getattr(self, what), least)
        _check_minimum("signal_before", self.signal_before, 0)
        _check_minimum("max_requeues", self.max_requeues or 0, 0)
        for what in ("time", "account", "partition", "name", "output"):
            _check_one_line(what, getattr(self, what))
        if "/" in self.name:  # it is part of the output's file name
            raise InputError(f'name: must have no "/", got "{self.name}"')
        for option in self.options:
            _check_one_line("options", option)
            if not option.startswith("-"):
                raise InputError(f'options: must be options of sbatch such as "--qos=low", got "{option}"')
        # Such a job would be stopped as soon as it starts, again and again.
        if self.time and time_limit_seconds(self.time) <= self.signal_before:
            raise InputError(
                f"time: {self.time} is not longer than the {self.signal_before} s before its end at which the ranks "
                "are signalled to stop; request more time, or a later signal"
            )


def job_name(title: str) -> str:
    """A title as the name of a job, with a "_" for each character that ``Job`` refuses in one."""
    return "".join(
        "_" if character in "/'" or not character.isprintable() else character for character in title
    )


def time_limit_seconds(time: str) -> int:
    """Seconds of a Slurm time limit: M, M:S, H:M:S, D-H, D-H:M or D-H:M:S.

    Raises:
        InputError: it has none of these formats, or is zero.
    """
    found = _MINUTES.fullmatch(time) or _DAYS.fullmatch(time)
    parts = {key: int(value) for key, value in (found.groupdict() if found else {}).items() if value}
    minutes, rest = parts.get("m", parts.get("hm", 0)), parts.get("s", parts.get("hs", 0))
    length = ((parts.get("d", 0) * 24 + parts.get("h", 0)) * 60 + minutes) * 60 + rest
    if not length:
        raise InputError(
            f'time: must have a format of Slurm, such as "04:00:00", "90" (minutes) or "1-12" (days-hours), '
            f'got "{time}"'
        )
    return length


def scripts_folder() -> Path:
    """The folder of the batch scripts and ``run.sh``."""
    return data_folder("slurm")


def bin_folder() -> Path:
    """The folder of this environment's ``hpc-lstm``: the interpreter's, else that of the first one on PATH."""
    beside = Path(sys.executable).parent
    found = shutil.which("hpc-lstm", path=str(beside)) or shutil.which("hpc-lstm")
    return Path(found).absolute().parent if found else beside


def train_command(
    config: str,
    run_dir: str,
    overrides: Sequence[str],
    *,
    init_from: str | None = None,
    keep_scaling: bool = False,
) -> list[str]:
    """The command that trains by a config, or resumes its run; paths in it are absolute.

    Args:
        init_from: run directory whose model is the start; with ``keep_scaling`` its scaling, too.

    Raises:
        InputError: the config or an override is wrong, or a path names no home folder.
    """
    from hpc_lstm import config as configuration
    from hpc_lstm.storage.stores import check_storage_config

    check_storage_config(configuration.load(config, overrides).storage, config, overrides)
    settings = [word for override in overrides for word in ("--set", override)]
    path, folder = (str(expanded(one).absolute()) for one in (config, run_dir))
    start = [] if init_from is None else ["--init-from", str(expanded(init_from).absolute())]
    if keep_scaling:
        start.append("--keep-scaling")
    return ["hpc-lstm", "train", path, "--run-dir", folder, "--resume", *start, *settings]


def batch_script(job: Job) -> str:
    """The text of a job's script for ``sbatch``."""
    options = {
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
    lines = [f"#SBATCH --{option}={_quoted(str(value))}" for option, value in options.items() if value]
    lines += ["#SBATCH --exclusive"] * job.exclusive
    lines += [f"#SBATCH {_quoted(option)}" for option in job.options]
    lines += ["#SBATCH --requeue", "#SBATCH --open-mode=append"]
    limit = "" if job.max_requeues is None else f" HPC_LSTM_MAX_REQUEUES={job.max_requeues}"
    return "\n".join(
        [
            "#!/bin/bash",
            *lines,
            "stop=; trap stop=USR1 USR1  # recorded even before run.sh is read",
            f"export PATH={_search_path(bin_folder())}{limit}",
            f". {shlex.quote(str(scripts_folder() / 'run.sh'))} || exit",
            f"run_ranks {shlex.join(job.command)}",
            "",
        ]
    )


def submit_job(script: str) -> str:
    """Submit a batch script.

    Returns:
        The job's id.

    Raises:
        InputError: there is no sbatch, or it refuses the job: its reason.
    """
    if shutil.which("sbatch") is None:
        raise InputError(
            "sbatch: not found: submit from a machine with Slurm, such as the cluster's login node"
        )
    done = _run_slurm(["sbatch", "--parsable"], script)
    if done.returncode != 0:
        raise InputError(
            f"sbatch refuses the job: {_error_message(done.stderr) or f'exit code {done.returncode}'}"
        )
    return done.stdout.split(";")[0].strip()


def job_state(job_id: str) -> str:
    """Slurm's state of a job, such as "PENDING", "RUNNING" or "COMPLETED"; "" if unknown.

    Jobs that ended some minutes ago are known only to Slurm's accounting (``sacct``), which not every site has.

    Raises:
        InputError: Slurm does not answer; the job may be in any state.
    """
    if state := _ask_squeue(job_id, "%T"):
        return state
    if shutil.which("sacct"):
        command = [
            "sacct",
            "--noheader",
            "--allocations",
            "--parsable2",
            f"--jobs={job_id}",
            "--format=State",
        ]
        done = _run_slurm(command)
        if done.returncode == 0 and done.stdout.split():
            return done.stdout.split()[0]
    return ""


def seconds_since_end(job_id: str) -> float:
    """Seconds since a job ended; infinite where that is so long ago that squeue no longer lists it, 0 if unknown.

    Raises:
        InputError: Slurm does not answer.
    """
    ended = _ask_squeue(job_id, "%e")
    if not ended:
        return math.inf
    try:
        return max(0.0, time.time() - datetime.fromisoformat(ended).timestamp())
    except ValueError:  # SLURM_TIME_FORMAT asks for another format
        return 0.0


def _ask_squeue(job_id: str, what: str) -> str:
    """What squeue tells of a job, also of one that ended some minutes ago; "" if it does not know the job."""
    if shutil.which("squeue") is None:
        return ""
    done = _run_slurm(["squeue", "--noheader", "--states=all", f"--jobs={job_id}", f"--format={what}"])
    if done.returncode != 0 and "Invalid job id" not in done.stderr:
        raise InputError(f"squeue: {_error_message(done.stderr)}; try again when Slurm answers")
    return next(iter(done.stdout.split()), "") if done.returncode == 0 else ""


def _run_slurm(command: list[str], text: str = "") -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=ANSWER_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"{command[0]}: no answer from Slurm in {ANSWER_S} s; try again later") from None
    except OSError as error:
        raise InputError(f"{command[0]}: cannot be run: {os.strerror(error.errno or 0)}") from None


def _error_message(stderr: str) -> str:
    """The error that one of Slurm's commands printed, on one line and without the command's name."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return "; ".join(re.sub(r"^(sbatch: |squeue: )?(error: )?", "", line) for line in lines)


def _search_path(first: Path) -> str:
    """PATH for bash with a folder in front; a system folder goes to the end, or it would hide loaded modules."""
    folder = shlex.quote(str(first))
    return f'"$PATH":{folder}' if str(first) in _SYSTEM else f'{folder}:"$PATH"'


def _quoted(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else shlex.quote(value)


def _check_minimum(what: str, value: int, least: int) -> None:
    if value < least:
        raise InputError(f"{what}: must be at least {least}, got {value}")


def _check_one_line(what: str, value: str) -> None:
    if not value.isprintable() or "'" in value:
        raise InputError(f"{what}: must be on one line and without quotes, got {value!r}")
