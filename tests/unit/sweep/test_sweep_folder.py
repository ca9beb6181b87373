"""A sweep's folder and its jobs: what is done stays done, and another sweep is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sweep_records import ENVIRONMENT, record

from hpc_lstm.clusters.lease import Lease
from hpc_lstm.errors import ConfigError, InputError, TakenError
from hpc_lstm.jobs import slurm
from hpc_lstm.sweep import command, local, records, runner, slurm_jobs
from hpc_lstm.sweep import plan as planning
from hpc_lstm.sweep import settings as sweeps
from hpc_lstm.sweep.measure import Measurement
from hpc_lstm.sweep.records import SweepFolder
from hpc_lstm.timing.timeline import PHASES
from hpc_lstm.training import ownership


def begin(folder: Path, **sweep: object) -> None:
    wanted, base = sweeps.parse_sweep({"sweep": sweep, "axes": {"model.units": [4, 8]}}, "s.toml", folder)
    tables = planning.fixed_settings(wanted, base)
    SweepFolder(folder / "out").begin(planning.settings_digest(tables), tables)


def test_a_changed_sweep_is_refused_and_more_repeats_are_not(tmp_path: Path) -> None:
    begin(tmp_path, ranks=[1, 2], repeats=2)
    begin(tmp_path, ranks=[1, 2], repeats=5)
    with pytest.raises(InputError, match=r"sweep.ranks \(was \[1, 2\], now \[1, 3\]\).*another --output"):
        begin(tmp_path, ranks=[1, 3], repeats=2)


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p0000-r00.json"
    path.write_text('{"format": "hpc_lst')
    with pytest.raises(InputError, match=r"p0000-r00.json: damaged; remove it"):
        records.read_record(path)
    path.write_text(json.dumps({"format": records.FORMAT, "version": records.VERSION + 1}))
    with pytest.raises(InputError, match="another version"):
        records.read_record(path)
    whole = record(2) | {"format": records.FORMAT, "version": records.VERSION}
    path.write_text(json.dumps(whole))
    assert records.read_record(path) == whole
    for changed in (
        {"samples_per_second": float("nan")},
        {"ranks": True},
        {"name": "p0001-r00"},
        {"place": whole["place"] | {"used": 0}},
        {"busy": whole["busy"] | {"means_s": [0.5]}},
        {"phase_seconds": {}},
        {"environment": {}},
    ):
        path.write_text(json.dumps(whole | changed))
        with pytest.raises(InputError, match=r"p0000-r00.json: damaged; remove it"):
            records.read_record(path)


def test_damaged_failures_and_jobs_are_named(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    folder.write_failure("p0000-r00", "killed")
    assert folder.load_failures(["p0000-r00"]) == {"p0000-r00": "killed"}
    folder.failure_file("p0000-r00").write_text('{"reason"')
    path = folder.failure_file("p0000-r00")
    assert folder.load_failures(["p0000-r00"]) == {"p0000-r00": f"unknown: {path} is damaged"}
    for text in ("[1]", '{"p0000-r00": "1\\u0000"}', "[" * 100_000):
        (tmp_path / "jobs.json").write_text(text)
        with pytest.raises(InputError, match=r"jobs.json: damaged"):
            slurm_jobs.Queue(tmp_path / "jobs.json", str, str)


def test_a_launch_that_dies_is_recorded_for_the_run_that_it_was_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run before it is measured, the one after it was not reached; a later call starts without the failure."""
    tables = {
        "sweep": {"ranks": [1], "repeats": 3, "launch": "ranks"},
        "local": {"launcher": ["mpiexec"]},
    }
    sweep, base = sweeps.parse_sweep(tables, "s.toml", tmp_path)
    folder, seen = SweepFolder(tmp_path / "out"), list[dict[str, str]]()
    names = ["p0000-r00", "p0000-r01", "p0000-r02"]

    def die(command: list[str], log: Path, timeout_s: float, poll: object) -> None:
        seen.append(folder.load_failures(names))
        measured = record(1) | {"format": records.FORMAT, "version": records.VERSION}
        folder.record_file(names[0]).write_text(json.dumps(measured))
        raise local.LaunchError("ended with code 9: killed")

    monkeypatch.setattr(local, "run_ranks", die)
    for _ in range(2):
        with pytest.raises(local.LaunchError, match="killed"):
            runner.run_sweep(sweep, base, "s.toml", folder, lambda line: None)
        assert folder.load_failures(names) == {"p0000-r01": "ended with code 9: killed"}
    assert seen == [{}, {}]


def test_a_second_call_leaves_the_runs_to_the_one_that_measures_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = {"sweep": {"ranks": [1], "repeats": 1}, "local": {"launcher": ["mpiexec"]}}
    sweep, base = sweeps.parse_sweep(tables, "s.toml", tmp_path)
    folder, started = SweepFolder(tmp_path / "out"), []

    def measure(command: list[str], log: Path, timeout_s: float, poll: object) -> None:
        started.append(command)
        with pytest.raises(TakenError, match=r"out: a job on .*; wait until it has ended"):
            runner.run_sweep(sweep, base, "s.toml", folder, lambda line: None)
        measured = record(1) | {"format": records.FORMAT, "version": records.VERSION}
        folder.record_file("p0000-r00").write_text(json.dumps(measured))

    monkeypatch.setattr(local, "run_ranks", measure)
    monkeypatch.setattr(ownership, "OWNER_TIMEOUT_S", 1.0)
    runner.run_sweep(sweep, base, "s.toml", folder, lambda line: None)
    assert len(started) == 1


def test_a_second_call_submits_no_job_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = {"sweep": {"ranks": [1], "repeats": 2, "runner": "slurm", "launch": "run"}}
    sweep, base = sweeps.parse_sweep(tables, "s.toml", tmp_path)
    folder, submitted = SweepFolder(tmp_path / "out"), []

    def submit(script: str) -> str:
        submitted.append(script)
        if len(submitted) == 1:
            with pytest.raises(TakenError, match=r"out: a job on .*; wait until it has ended"):
                runner.run_sweep(sweep, base, "s.toml", folder, lambda line: None)
        return str(len(submitted))

    monkeypatch.setattr(slurm, "submit_job", submit)
    monkeypatch.setattr(slurm, "job_state", lambda job: "PENDING")
    monkeypatch.setattr(ownership, "OWNER_TIMEOUT_S", 1.0)
    for _ in range(2):
        runner.run_sweep(sweep, base, "s.toml", folder, lambda line: None)
    assert len(submitted) == 2
    assert not [path for path in (folder.path / ".owner").rglob("*") if path.is_file()]


def test_a_call_that_has_lost_the_folder_submits_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = {"sweep": {"ranks": [1], "repeats": 2, "runner": "slurm", "launch": "run"}}
    sweep, base = sweeps.parse_sweep(tables, "s.toml", tmp_path)
    submitted: list[str] = []

    def submit(script: str) -> str:
        submitted.append(script)
        return "1"

    def check(lease: Lease) -> None:
        lease.lost = bool(submitted)  # as after a long stop, in which another call has taken the folder
        if lease.lost:
            raise TakenError("another job has taken this name over")

    monkeypatch.setattr(slurm, "submit_job", submit)
    monkeypatch.setattr(slurm, "job_state", lambda job: "PENDING")
    monkeypatch.setattr(Lease, "check", check)
    with pytest.raises(TakenError, match="another job has taken this name over"):
        runner.run_sweep(sweep, base, "s.toml", SweepFolder(tmp_path / "out"), lambda line: None)
    assert len(submitted) == 1


def test_a_record_does_not_say_where_the_store_lay() -> None:
    measured = Measurement(4, np.ones((1, 3, len(PHASES))), ["n1"], np.ones(3, np.int64))
    config = {
        "data": {"store": "/home/somebody/secret/prices.h5", "window": 3},
        "train": {"batch_size": 8, "optimizer": "adam"},
        "average": {"what": "weights", "every": 4},
    }
    point = {"name": "p0000-r00", "point": 0, "repeat": 0, "scaling": "weak", "ranks": 1, "axes": {}}
    place = ENVIRONMENT | {"ranks": [{"node": "n1", "gpu": "", "gpu_uuid": ""}]}
    kept = records.make_record(
        point | {"config": config}, measured, place, parameters=10, engine="keras", other_load=0.0
    )
    assert "/home" not in json.dumps(kept)
    assert kept["config"]["data"] == {"store": "prices.h5", "window": 3}
    assert (kept["steps"], kept["cycles"], kept["interval"], kept["samples"]) == (12, 3, 4, 96)


class Slurm:
    """A queue that runs as many jobs at once as there are nodes; each look at it is a tick of its clock."""

    def __init__(self, nodes: int, fails: set[str] = frozenset()) -> None:
        self.nodes, self.fails = nodes, fails
        self.waiting: list[str] = []
        self.states: dict[str, str] = {}
        self.scripts: dict[str, str] = {}
        self.done: set[str] = set()
        self.most = 0

    def submit(self, script: str) -> str:
        number = str(100 + len(self.states))
        self.states[number], self.scripts[number] = "PENDING", script
        self.most = max(self.most, sum(state in slurm_jobs.ACTIVE_STATES for state in self.states.values()))
        return number

    def state(self, number: str) -> str:
        return self.states.get(number, "")

    def tick(self) -> None:
        for number, state in list(self.states.items()):
            if state == "RUNNING":
                task = self.scripts[number]
                self.states[number] = "FAILED" if task in self.fails else "COMPLETED"
                self.done |= {task} - self.fails
        free = self.nodes - sum(state == "RUNNING" for state in self.states.values())
        for number in [n for n, state in self.states.items() if state == "PENDING"][:free]:
            self.states[number] = "RUNNING"


def drive(slurm: Slurm, path: Path, tasks: list[str], wait: bool, at_once: int = 3) -> list[str]:
    queue = slurm_jobs.Queue(path, slurm.submit, slurm.state)
    return slurm_jobs.run_jobs(
        queue, tasks, str, slurm.done.__contains__, at_once, wait, lambda line: None, 0.0
    )


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> list[Slurm]:
    """Slurms whose clock goes on whenever the sweep sleeps."""
    slurms: list[Slurm] = []
    monkeypatch.setattr(slurm_jobs.time, "sleep", lambda _: [slurm.tick() for slurm in slurms])
    monkeypatch.setattr(slurm_jobs, "SETTLE_S", 0.0)
    return slurms


def test_all_jobs_are_submitted_once_and_not_too_many_at_a_time(tmp_path: Path, ticking: list[Slurm]) -> None:
    slurm, tasks = Slurm(nodes=2), [f"t{n}" for n in range(9)]
    ticking.append(slurm)
    assert drive(slurm, tmp_path / "jobs.json", tasks, wait=True) == []
    assert sorted(slurm.scripts.values()) == tasks
    assert slurm.most == 3


def test_a_later_call_finds_its_jobs_again(tmp_path: Path, ticking: list[Slurm]) -> None:
    slurm, tasks = Slurm(nodes=1), ["a", "b", "c", "d"]
    for _ in range(3):  # calls that do not wait: no job is submitted twice
        drive(slurm, tmp_path / "jobs.json", tasks, wait=False)
    assert list(slurm.scripts.values()) == ["a", "b", "c"]
    ticking.append(slurm)
    assert drive(slurm, tmp_path / "jobs.json", tasks, wait=True) == []
    assert list(slurm.scripts.values()) == tasks


def test_a_failed_job_is_told_and_submitted_anew_by_the_next_call(
    tmp_path: Path, ticking: list[Slurm]
) -> None:
    slurm = Slurm(nodes=2, fails={"b"})
    ticking.append(slurm)
    assert drive(slurm, tmp_path / "jobs.json", ["a", "b", "c"], wait=True) == ["b"]
    slurm.fails = set()
    assert drive(slurm, tmp_path / "jobs.json", ["a", "b", "c"], wait=True) == []
    assert list(slurm.scripts.values()) == ["a", "b", "c", "b"]


def test_a_job_asks_for_whole_nodes(tmp_path: Path) -> None:
    tables = {
        "sweep": {"ranks": [2, 8], "threads": 3, "runner": "slurm"},
        "slurm": {"ranks_per_node": 4, "gpus_per_node": 4, "time": "00:20:00"},
    }
    sweep, _ = sweeps.parse_sweep(tables, "s.toml", tmp_path)
    planning.check_slurm(sweep)
    job = slurm_jobs.make_job(["w"], "p1", 8, sweep, tmp_path / "log")
    assert (job.nodes, job.ranks_per_node, job.gpus_per_node, job.cpus_per_task) == (2, 4, 4, 3)
    job = slurm_jobs.make_job(["w"], "p1", 2, sweep, tmp_path / "log")
    assert (job.nodes, job.ranks_per_node, job.gpus_per_node) == (1, 2, 2)
    tables["sweep"]["ranks"] = [6]
    with pytest.raises(InputError, match="6 ranks do not fill nodes"):
        planning.check_slurm(sweeps.parse_sweep(tables, "s.toml", tmp_path)[0])


@pytest.mark.parametrize(
    ("slurm", "says"),
    [
        ('ranks_per_node = 3\ntime = "00:01:00"', r"^slurm.time: 00:01:00 is too short"),
        ('ranks_per_node = 3\ntime = "soon"', r"^slurm.time: must have a format of Slurm"),
        ("ranks_per_node = 2", r"^sweep.ranks: 3 ranks do not fill nodes"),
    ],
)
def test_what_slurm_could_not_take_is_refused_before_anything(tmp_path: Path, slurm: str, says: str) -> None:
    file = tmp_path / "s.toml"
    file.write_text(f'[sweep]\nranks = [3]\nrunner = "slurm"\n[slurm]\n{slurm}\n')
    for dry_run in (True, False):
        with pytest.raises(ConfigError, match=says):
            command.run_command(str(file), str(tmp_path / "out"), print, dry_run=dry_run)
    assert not (tmp_path / "out").exists()


def test_a_store_with_a_null_byte_is_refused(tmp_path: Path) -> None:
    tables = {"settings": {"data.store": "a\0b"}}
    with pytest.raises(ConfigError, match=r"^s.toml: settings.data.store: .*has a null byte"):
        sweeps.parse_sweep(tables, "s.toml", tmp_path)


def test_home_folders_that_are_not_there(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text("[sweep]\n")
    with pytest.raises(InputError, match=r"^~nosuchuser/x: no such home folder"):
        command.run_command(str(file), "~nosuchuser/x", print)
    tables = {"settings": {"data.store": "~nosuchuser/x"}}
    with pytest.raises(
        ConfigError, match=r"^s.toml: settings.data.store: ~nosuchuser/x: no such home folder"
    ):
        sweeps.parse_sweep(tables, "s.toml", tmp_path)


def test_a_failed_launch_says_what_its_ranks_said(tmp_path: Path) -> None:
    script = "echo noise; echo 'hpc-lstm: error: no room'; echo more noise; exit 3"
    with pytest.raises(local.LaunchError, match=r"ended with code 3: no room; its output is in ") as said:
        local.run_ranks(["sh", "-c", script], tmp_path / "log", 60)
    assert not said.value.settings_refused


def test_a_launch_that_hangs_is_ended(tmp_path: Path) -> None:
    with pytest.raises(local.LaunchError, match=r"took more than 0.2 s"):
        local.run_ranks(["sh", "-c", "sleep 100 & wait"], tmp_path / "log", 0.2)


def test_the_launcher_that_is_given_is_taken() -> None:
    assert local.local_launcher(["srun", "--mpi=pmi2"]) == ["srun", "--mpi=pmi2"]
