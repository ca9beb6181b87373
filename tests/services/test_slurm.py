"""The batch scripts, ``hpc-lstm submit`` and ``hpc_lstm.jobs.slurm`` on a real Slurm of three nodes."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from cluster_jobs import metrics, same_model
from s3_bucket import Bucket
from slurm_cluster import SCRIPTS, Slurm
from small_job import checkpoints, write_config, write_store

from hpc_lstm.jobs import slurm as batch
from hpc_lstm.runs import history

# Stands for hpc-lstm where only the script that starts it is looked at: stops as it does when it is told to.
RANK = """
import os, signal, sys, time
told = []
time.sleep(float(os.environ.get("STARTING_S", "0")))
for number in (signal.SIGUSR1, signal.SIGTERM):
    signal.signal(number, lambda number, frame: told.append(number))
print("up", os.environ["SLURM_PROCID"], flush=True)
code = os.environ.get("ENDS_WITH", "")
if code == "told":
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
while code == "killed" and not os.path.exists(os.environ.get("DIES_WITH", "rank.py")):
    time.sleep(0.05)
if code == "killed" and os.environ["SLURM_PROCID"] == "1":
    os.kill(os.getpid(), signal.SIGKILL)
while (not told or code == "never") and not code.isdigit():
    time.sleep(0.05)
sys.exit(int(code or 75))
"""
PLAIN = """#!/bin/bash
#SBATCH --nodes=2 --ntasks-per-node=1 --time=5 --requeue --open-mode=append
stop=; trap stop=USR1 USR1
. "$(hpc-lstm slurm-path)" || exit 2
run_ranks python rank.py
"""
STEPS_BETWEEN_MEETINGS = 8
ENDLESS = 100_000


@pytest.fixture
def here(slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process and what it starts speak to ``slurm``."""
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A folder with a job that only starts and stops; see ``RANK``."""
    (tmp_path / "rank.py").write_text(RANK)
    (tmp_path / "plain.sbatch").write_text(PLAIN)
    return tmp_path


@pytest.fixture(scope="module")
def timed(slurm: Slurm, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, Path]]:
    """Jobs with a real time limit, which passes while others are looked at.

    One is told before and stops; one is not, and does not stop when it is out of time either. They begin anew again
    and again, on the node that no test kills.
    """
    jobs = {}
    place = ("--time=1", "--nodes=1", "--nodelist=alpha-n3")
    for name, options, code in (
        ("told", ["--signal=B:USR1@50"], ""),
        ("killed", ["--array=1-2"], "never"),
    ):
        folder = tmp_path_factory.mktemp(name)
        (folder / "rank.py").write_text(RANK)
        (folder / "plain.sbatch").write_text(PLAIN)
        jobs[name] = slurm.sbatch(folder, *place, *options, "plain.sbatch", ENDS_WITH=code), folder
    return jobs


def said(folder: Path) -> str:
    path = folder / "job.log"
    return path.read_text() if path.exists() else ""


def steps(run: Path) -> list[int]:
    """Steps of a run's history of training."""
    return [
        entry["step"] for entry in history.read_history(run / "history.jsonl") if entry["kind"] == "train"
    ]


def whole(run: Path) -> bool:
    """True of a history with an entry for every meeting of the ranks and every epoch, each once."""
    found = history.read_history(run / "history.jsonl")
    trained = steps(run)
    epochs = [entry["epoch"] for entry in found if entry["kind"] == "validation"]
    ends = {entry["step"] for entry in found if entry["kind"] == "validation"}
    regular = [step for step in trained if step % STEPS_BETWEEN_MEETINGS == 0]
    return (
        trained == sorted(set(trained))
        and regular == list(range(STEPS_BETWEEN_MEETINGS, trained[-1] + 1, STEPS_BETWEEN_MEETINGS))
        and set(trained) <= set(regular) | ends
        and epochs == list(range(1, len(epochs) + 1))
        and trained[-1] == max(ends)
    )


def config(folder: Path, epochs: int, **settings: object) -> Path:
    return write_config(folder, epochs=epochs, every=STEPS_BETWEEN_MEETINGS, checkpoint_every=40, **settings)


def end_soon(path: Path, run: Path) -> None:
    """Let the run end a few epochs after where it is, when it is started next: jobs read their config each time."""
    epochs = history.read_history(run / "history.jsonl")[-1]["epoch"]
    text, found = re.subn(r"epochs = \d+", f"epochs = {int(epochs) + 5}", path.read_text())
    assert found == 1
    path.write_text(text)


def test_each_rank_has_a_gpu_of_its_own(
    slurm: Slurm, timed: dict[str, tuple[str, Path]], tmp_path: Path, here: None
) -> None:
    command = [
        "sh",
        "-c",
        'echo "of $0: $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES $OMP_NUM_THREADS"',
        "it's $HOME",
    ]
    output = tmp_path / "a folder" / "said.log"
    output.parent.mkdir()
    job = batch.Job(command, 2, 2, gpus_per_node=2, cpus_per_task=1, time="5", output=str(output))
    number = batch.submit_job(batch.batch_script(job))
    assert slurm.ended(number) == "COMPLETED", slurm.account(number)
    assert batch.job_state(number) == "COMPLETED"
    places = re.findall(r"^of it's \$HOME: (.*)$", output.read_text(), re.MULTILINE)
    assert sorted(places) == ["alpha-n1 0 1", "alpha-n1 1 1", "alpha-n2 0 1", "alpha-n2 1 1"]


def test_a_job_that_slurm_does_not_know_has_no_state(here: None) -> None:
    assert batch.job_state("4000000") == ""


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--partition", "nowhere"], "invalid partition specified: nowhere"),
        (["--partition", "closed", "--account", "guests"], "Invalid account or account/partition"),
        (["--nodes", "4"], "Node count specification invalid"),
        (["--gpus-per-node", "9"], "Requested node configuration is not available"),
    ],
)
def test_what_slurm_refuses_is_told_in_one_line(
    slurm: Slurm, tmp_path: Path, arguments: list[str], reason: str
) -> None:
    path = config(tmp_path, 1)
    done = slurm.run("hpc-lstm", "submit", str(path), *arguments, folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("hpc-lstm: error: sbatch refuses the job: ")
    assert reason in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert slurm.run("squeue", "-h", "--name=job").stdout == ""


@pytest.mark.parametrize("code", ["0", "1", "2", "killed"])
def test_a_job_that_is_done_or_fails_is_not_queued_again(slurm: Slurm, plain: Path, code: str) -> None:
    job = slurm.sbatch(plain, "plain.sbatch", ENDS_WITH=code, HPC_LSTM_SRUN_OPTIONS="--wait=2")
    assert slurm.ended(job) == ("COMPLETED" if code == "0" else "FAILED")
    assert slurm.field(job, "ExitCode") == {"killed": "137:0"}.get(code, f"{code}:0"), slurm.account(job)
    assert slurm.field(job, "Restarts") == "0"


def test_a_job_whose_node_is_gone_is_queued_again_before_slurm_knows(slurm: Slurm, plain: Path) -> None:
    settings = {"ENDS_WITH": "killed", "DIES_WITH": "now", "HPC_LSTM_SRUN_OPTIONS": "--wait=1"}
    job = slurm.sbatch(plain, "plain.sbatch", **settings)
    slurm.wait(lambda: said(plain).count("up") == 2, job)
    slurm.daemon_fails(2)
    (plain / "now").touch()
    try:
        slurm.wait(lambda: "a node does not answer; queued again" in said(plain), job)
    finally:
        slurm.run("scancel", job)
        slurm.node_returns(2)


def test_an_array_stops_with_75_after_the_last_requeue(slurm: Slurm, plain: Path) -> None:
    arguments = ("--array=7", "--nodes=1", "plain.sbatch")
    job = slurm.sbatch(plain, *arguments, ENDS_WITH="75", HPC_LSTM_MAX_REQUEUES="1")
    assert slurm.ended(f"{job}_7") == "FAILED"
    assert slurm.field(f"{job}_7", "ExitCode") == "75:0"
    assert re.findall(r"start (\d): srun --mpi=pmi2", said(plain)) == ["0", "1"]
    assert "not queued again after 1 times" in said(plain)


def test_of_an_array_only_the_task_that_stops_is_queued_again(slurm: Slurm, plain: Path) -> None:
    rank = "'until [ -e ends-$SLURM_ARRAY_TASK_ID ]; do sleep 0.1; done; exit 75'"
    (plain / "array.sbatch").write_text(PLAIN.replace("python rank.py", f"sh -c {rank}"))
    arguments = ("--array=1-2", "--nodes=1", "--output=said-%a.log", "array.sbatch")
    job = slurm.sbatch(plain, *arguments, HPC_LSTM_MAX_REQUEUES="1")
    first, last = f"{job}_1", f"{job}_2"
    logs = {task: plain / f"said-{task[-1]}.log" for task in (first, last)}
    for task, log in logs.items():
        slurm.wait(lambda log=log: log.exists() and "start 0" in log.read_text(), task)
    assert slurm.field(last, "JobId") == job, "the last task has the number of the whole array"
    (plain / "ends-2").touch()
    assert slurm.ended(last) == "FAILED"
    assert slurm.field(last, "Restarts") == "1", slurm.account(last)
    assert "stopped with a checkpoint; queued again" in logs[last].read_text()
    assert (slurm.state(first), slurm.field(first, "Restarts")) == ("RUNNING", "0")
    assert logs[first].read_text().count("start ") == 1
    slurm.run("scancel", job)


def test_an_srun_that_refuses_its_options_is_no_dead_node(slurm: Slurm, plain: Path) -> None:
    job = slurm.sbatch(
        plain, "plain.sbatch", HPC_LSTM_LAUNCHER="srun --mpi=none", SLURM_DISTRIBUTION="nonsense"
    )
    assert slurm.ended(job) == "FAILED"
    assert slurm.field(job, "Restarts") == "0", slurm.account(job)
    assert "asked whether all nodes answer, srun says: " in said(plain)


@pytest.mark.parametrize(("launcher", "code"), [("", ""), ("mpiexec", ""), ("", "told")])
def test_a_signal_that_comes_while_the_ranks_start_is_not_lost(
    slurm: Slurm, plain: Path, launcher: str, code: str
) -> None:
    """Also where it ends a rank, as it does before the shell on a node ignores it."""
    settings = {"STARTING_S": "4", "HPC_LSTM_MAX_REQUEUES": "0", "HPC_LSTM_LAUNCHER": launcher}
    job = slurm.sbatch(plain, "plain.sbatch", ENDS_WITH=code, **settings)
    slurm.wait(lambda: "start 0" in said(plain), job)
    slurm.warn(job)
    assert slurm.ended(job) == "FAILED"
    assert "not queued again after 0 times" in said(plain), "it would have been queued again"
    assert slurm.field(job, "ExitCode") == "75:0", slurm.account(job)


def test_a_run_that_is_stopped_twice_goes_on_to_its_end(slurm: Slurm, tmp_path: Path) -> None:
    """Once while it trains, once while it starts again; each node reads a copy of the store of its own."""
    path, run = config(tmp_path, ENDLESS), tmp_path / "runs" / "job"
    done = slurm.run(
        *("hpc-lstm", "submit", str(path), "--nodes", "2", "--gpus-per-node", "1", "--cpus-per-task", "1"),
        *("--time", "30", "--set", "train.log_every_s=1"),
        folder=tmp_path,
        HPC_LSTM_STAGE=f"{tmp_path}/disk-of-$SLURMD_NODENAME",
    )
    assert done.returncode == 0, done.stderr
    job = done.stdout.strip()
    log = tmp_path / f"job-{job}.log"
    slurm.wait(lambda: checkpoints(run) != [], job)
    slurm.warn(job)
    slurm.restarted(job, 1)
    stopped_at = int(re.findall(r"stopped by SIGUSR1 at step (\d+)", log.read_text())[0])
    assert checkpoints(run)[-1] == stopped_at
    slurm.wait(lambda: "start 1: " in log.read_text(), job)
    slurm.warn(job)
    slurm.wait(lambda: log.read_text().count("stopped with a checkpoint; queued again") == 2, job)
    end_soon(path, run)
    slurm.restarted(job, 2)
    assert slurm.ended(job) == "COMPLETED", slurm.account(job)
    assert f"resuming from the checkpoint of step {stopped_at}" in log.read_text()
    assert log.read_text().count("stopped with a checkpoint; queued again") == 2
    assert whole(run)
    assert (run / "metrics.json").exists()
    assert f"Slurm job {job}, on alpha-n[1-2], restart 2" in (run / "log" / "rank-00000.log").read_text()
    copies = sorted(tmp_path.glob("disk-of-alpha-n*/market-*.h5"))
    assert [copy.parent.name for copy in copies] == ["disk-of-alpha-n1", "disk-of-alpha-n2"]
    assert {copy.read_bytes() for copy in copies} == {(tmp_path / "market.h5").read_bytes()}
    assert f"from its copy on this node, {copies[0]}" in (run / "log" / "rank-00000.log").read_text()
    assert f'store = "{tmp_path}/market.h5"' in (run / "config.toml").read_text()


def test_a_run_outlives_its_nodes(slurm: Slurm, tmp_path: Path) -> None:
    """First the node without the batch script dies, and comes back; then the one with it."""
    path, run = config(tmp_path, ENDLESS), tmp_path / "runs" / "job"
    log = run / "log" / "rank-00000.log"
    job = slurm.sbatch(
        tmp_path,
        *("--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=1"),
        str(SCRIPTS / "cpu.sbatch"),
        str(path),
    )
    resumptions: list[int] = []
    for with_script in (False, True):
        last = max(checkpoints(run), default=0)
        slurm.wait(lambda last=last: max(checkpoints(run), default=0) > last, job)
        times = int(slurm.field(job, "Restarts"))
        nodes = slurm.run("scontrol", "show", "hostnames", slurm.field(job, "NodeList")).stdout.split()
        assert len(nodes) == 2
        (lost,) = (node for node in nodes if (node == slurm.field(job, "BatchHost")) == with_script)
        slurm.node_fails(int(lost[-1]))
        reached, saved = steps(run)[-1], checkpoints(run)[-1]
        if with_script:
            end_soon(path, run)
        # Where srun misses the ranks before Slurm misses the node, it may be given out once more.
        slurm.wait(
            lambda n=times: slurm.state(job) == "RUNNING" and int(slurm.field(job, "Restarts") or 0) > n, job
        )
        if not with_script:
            slurm.node_returns(int(lost[-1]))
        known = len(resumptions)
        slurm.wait(lambda n=known: log.read_text().count("resuming from the checkpoint") > n, job)
        resumptions = [
            int(step) for step in re.findall(r"resuming from the checkpoint of step (\d+)", log.read_text())
        ]
        assert saved <= resumptions[known] <= reached
    assert slurm.ended(job) == "COMPLETED", slurm.account(job)
    slurm.node_returns(int(lost[-1]))
    assert whole(run)


def test_a_cancelled_run_leaves_a_checkpoint_and_does_not_come_back(slurm: Slurm, tmp_path: Path) -> None:
    path, run = config(tmp_path, ENDLESS), tmp_path / "elsewhere" / "job"
    arguments = (
        "--nodes=1",
        "--ntasks-per-node=1",
        "--cpus-per-task=1",
        str(SCRIPTS / "cpu.sbatch"),
        str(path),
    )
    job = slurm.sbatch(tmp_path, *arguments, HPC_LSTM_RUNS="elsewhere")
    slurm.wait(lambda: checkpoints(run) != [], job)
    slurm.run("scancel", job)
    assert slurm.ended(job) == "CANCELLED"
    slurm.wait(lambda: "ended by Slurm, with exit code 75" in said(tmp_path), job)
    # The step is ended by SIGTERM, and the script passes a SIGUSR1 on: either may come first.
    stopped_at = int(re.findall(r"stopped by SIG(?:TERM|USR1).* at step (\d+)", said(tmp_path))[0])
    assert checkpoints(run)[-1] == stopped_at
    time.sleep(2)
    assert slurm.state(job) == "CANCELLED"


def test_an_array_trains_with_a_line_each(slurm: Slurm, tmp_path: Path) -> None:
    path = config(tmp_path, 1)
    lines = "# three of them\nmodel.units=3 data.features='[\"close\"]'\n\njob.toml\nmodel.units=0\n"
    (tmp_path / "lines.txt").write_text(lines)
    resources = ("--ntasks-per-node=1", "--gpus-per-node=1", "--cpus-per-task=1", "--output=said-%a.log")
    job = slurm.sbatch(
        tmp_path, *resources, "--array=1-4", str(SCRIPTS / "array.sbatch"), "lines.txt", path.name
    )
    states = [slurm.ended(f"{job}_{index}") for index in (1, 2, 3, 4)]
    assert states == ["COMPLETED", "COMPLETED", "FAILED", "FAILED"], slurm.account(f"{job}_1")
    assert "units = 3\n" in (tmp_path / "runs" / "job-1" / "config.toml").read_text()
    assert "units = 5\n" in (tmp_path / "runs" / "job-2" / "config.toml").read_text()
    assert [slurm.field(f"{job}_{index}", "ExitCode") for index in (3, 4)] == ["2:0", "2:0"]
    assert "model.units: must be greater than 0" in (tmp_path / "said-3.log").read_text()
    assert "lines.txt: has no line 4" in (tmp_path / "said-4.log").read_text()


def test_two_clusters_of_which_one_is_preempted_end_with_one_model(
    slurm: Slurm, other_slurm: Slurm, tmp_path: Path, bucket: Bucket
) -> None:
    write_store(tmp_path / "market.h5", [120, 120, 120, 120])
    path = config(tmp_path, 24, more="[sync]\nevery = 1\nlease_s = 2")
    jobs = {}
    for number, cluster in enumerate((slurm, other_slurm), 1):
        (tmp_path / cluster.name).mkdir()
        jobs[cluster] = cluster.sbatch(
            tmp_path / cluster.name,
            *("--nodes=2", "--ntasks-per-node=1", "--gpus-per-node=1", "--cpus-per-task=1"),
            *(str(SCRIPTS / "two_clusters.sbatch"), str(path)),
            HPC_LSTM_CLUSTER=cluster.name,
            HPC_LSTM_SHARD=f"{number}/2",
            HPC_LSTM_URL=f"s3://{bucket.name}/team",
            HPC_LSTM_ENDPOINT=bucket.endpoint,
        )
    log = tmp_path / "beta" / "runs" / "beta" / "job" / "log" / "rank-00000.log"
    other_slurm.wait(lambda: log.exists() and "round 2 has closed" in log.read_text(), jobs[other_slurm])
    urgent = ("--partition=urgent", "--nodes=3", "--exclusive", "--wrap=sleep 3")
    in_its_place = other_slurm.sbatch(tmp_path / "alpha", *urgent)
    assert other_slurm.ended(in_its_place) == "COMPLETED"
    assert [cluster.ended(job) for cluster, job in jobs.items()] == ["COMPLETED", "COMPLETED"]
    assert other_slurm.field(jobs[other_slurm], "Restarts") == "1"
    for name in ("alpha", "beta"):
        (tmp_path / f"run-{name}").symlink_to(tmp_path / name / "runs" / name / "job")
    assert same_model(tmp_path)
    assert metrics(tmp_path, "alpha")["sync"]["round"] == metrics(tmp_path, "beta")["sync"]["round"] > 2


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("told", ["received a signal to stop", "stopped with a checkpoint; queued again"]),
        ("killed", ["out of time; queued again"]),
    ],
)
def test_the_time_limit_queues_a_job_again(
    slurm: Slurm, timed: dict[str, tuple[str, Path]], name: str, words: list[str]
) -> None:
    job, folder = timed[name]
    one = f"{job}_2" if name == "killed" else job  # the last task, whose own number is the array's
    slurm.wait(lambda: int(slurm.field(one, "Restarts")) >= 1, one)
    assert [word for word in words if word not in said(folder)] == []
    slurm.run("scancel", job)
