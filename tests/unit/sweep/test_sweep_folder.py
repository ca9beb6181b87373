"""A sweep's folder and its jobs: what is done stays done, and another sweep is refused."""

from __future__ import annotations

import json
import math
import signal
from pathlib import Path

import numpy as np
import pytest
from sweep_records import ENVIRONMENT, record

from hpc_lstm.clusters.lease import Lease
from hpc_lstm.errors import ConfigError, HpcLstmError, InputError, StopRequested, TakenError
from hpc_lstm.jobs import slurm
from hpc_lstm.parallel.world import World
from hpc_lstm.sweep import command, local, records, runner, slurm_jobs, worker
from hpc_lstm.sweep import plan as planning
from hpc_lstm.sweep import settings as sweeps
from hpc_lstm.sweep.measure import Measurement
from hpc_lstm.sweep.records import SweepFolder
from hpc_lstm.timing.timeline import PHASES
from hpc_lstm.training import ownership


def begin(folder: Path, **sweep: object) -> None:
    wanted, base = sweeps.parse_sweep({"sweep": sweep, "axes": {"model.units": [4, 8]}}, "s.toml", folder)
    tables = planning.fixed_settings(wanted, base)
    at = SweepFolder(folder / "out")
    at.begin(planning.settings_digest(tables), tables)
    at.write_settings(planning.settings_digest(tables), tables)


@pytest.mark.parametrize("held", ["records/p0000-r00.json", "jobs.json"])
def test_a_changed_sweep_is_refused_and_more_repeats_are_not(tmp_path: Path, held: str) -> None:
    """Nor is one of which nothing is measured or submitted, such as by a launcher that is not there."""
    begin(tmp_path, ranks=[1, 4], repeats=2)
    SweepFolder(tmp_path / "out").write_failure("p0000-r00", "killed")
    begin(tmp_path, ranks=[1, 2], repeats=2)
    assert SweepFolder(tmp_path / "out").load_failures(["p0000-r00"]) == {}
    (tmp_path / "out" / held).touch()
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
        {"environment": whole["environment"] | {"threads": "4"}},
    ):
        path.write_text(json.dumps(whole | changed))
        with pytest.raises(InputError, match=r"p0000-r00.json: damaged; remove it"):
            records.read_record(path)


def test_damaged_failures_and_jobs_are_named(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    folder.write_failure("p0000-r00", "killed")
    assert folder.load_failures(["p0000-r00"]) == {"p0000-r00": "killed"}
    folder.record_file("p0000-r00").parent.mkdir()
    folder.record_file("p0000-r00").touch()
    assert folder.load_failures(["p0000-r00"]) == {}, "its record came late"
    folder.record_file("p0000-r00").unlink()
    folder.failure_file("p0000-r00").write_text('{"reason"')
    path = folder.failure_file("p0000-r00")
    assert folder.load_failures(["p0000-r00"]) == {"p0000-r00": f"unknown: {path} is damaged"}
    for text in ("[1]", '{"p0000-r00": "1\\u0000"}', "[" * 100_000):
        (tmp_path / "jobs.json").write_text(text)
        with pytest.raises(InputError, match=r"jobs.json: damaged"):
            slurm_jobs.Queue(tmp_path / "jobs.json", str, str, float)


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


def test_a_launch_that_dies_after_a_refusal_is_recorded_for_its_own_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = {"sweep": {"ranks": [1], "repeats": 3, "launch": "ranks"}, "local": {"launcher": ["mpiexec"]}}
    sweep, base = sweeps.parse_sweep(tables, "s.toml", tmp_path)
    folder = SweepFolder(tmp_path / "out")

    def die(*_: object) -> None:
        folder.write_failure("p0000-r00", "takes 894 GiB")
        raise local.LaunchError("killed")

    monkeypatch.setattr(local, "run_ranks", die)
    with pytest.raises(local.LaunchError, match="killed"):
        runner.run_sweep(sweep, base, "s.toml", folder, lambda line: None)
    noted = folder.load_failures(["p0000-r00", "p0000-r01", "p0000-r02"])
    assert noted == {"p0000-r00": "takes 894 GiB", "p0000-r01": "killed"}


def test_efficiency_waits_for_the_fewest_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ranks of an unfinished sweep are not compared with themselves."""
    file, found = tmp_path / "s.toml", list[command.Outcome]()
    file.write_text("[sweep]\nranks = [1, 2]\nrepeats = 1\n")

    def die(*_: object) -> None:
        measured = record(2, point=1) | {"format": records.FORMAT, "version": records.VERSION}
        (tmp_path / "out" / "records" / "p0001-r00.json").write_text(json.dumps(measured))
        raise local.LaunchError("killed")

    monkeypatch.setattr(local, "run_ranks", die)
    with pytest.raises(local.LaunchError, match="killed"):
        command.run_command(str(file), str(tmp_path / "out"), print, present=found.append)
    assert [(row["ranks"], row["efficiency"]) for row in found[0].runs] == [(2, None)]


def test_a_refused_sweep_leaves_the_results_of_the_other_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, out, said = tmp_path / "s.toml", tmp_path / "out", list[str]()

    def measure(command: list[str], log: Path, timeout_s: float, poll: object) -> None:
        point = int(log.stem[1:5])
        kept = record(point + 1, point=point) | {"format": records.FORMAT, "version": records.VERSION}
        SweepFolder(out).record_file(log.stem).write_text(json.dumps(kept))

    monkeypatch.setattr(local, "run_ranks", measure)
    file.write_text("[sweep]\nranks = [1, 2]\nrepeats = 1\n")
    command.run_command(str(file), str(out), said.append)
    results = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    assert {"scaling.csv", "scaling.h5", "scaling.json", "scaling.png"} <= results.keys()
    said.clear()
    file.write_text("[sweep]\nranks = [2]\nrepeats = 1\n")
    with pytest.raises(InputError, match=r"sweep.ranks \(was \[1, 2\], now \[2\]\)"):
        command.run_command(str(file), str(out), said.append)
    assert said == []
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == results


@pytest.mark.parametrize("measured", [True, False])
def test_a_call_does_not_advise_to_measure_what_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measured: bool
) -> None:
    file, out, said = tmp_path / "s.toml", tmp_path / "out", list[str]()
    file.write_text("[sweep]\nranks = [1]\nrepeats = 2\n")

    def refuse(command: list[str], log: Path, timeout_s: float, poll: object) -> None:
        if measured and log.stem == "p0000-r00":
            kept = record(1) | {"format": records.FORMAT, "version": records.VERSION}
            SweepFolder(out).record_file(log.stem).write_text(json.dumps(kept))
            return
        SweepFolder(out).write_failure(log.stem, "takes 894 GiB")
        error = local.LaunchError("takes 894 GiB")
        error.settings_refused = True
        raise error

    monkeypatch.setattr(local, "run_ranks", refuse)
    with pytest.raises(InputError, match="takes 894 GiB"):
        command.run_command(str(file), str(out), said.append)
    assert "failed: p0000-r01: takes 894 GiB" in said
    assert ("\n1 run failed." in "\n".join(said)) == measured
    assert "call again" not in "\n".join(said)


def test_a_second_call_leaves_the_runs_to_the_one_that_measures_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = {"sweep": {"ranks": [1], "repeats": 1}, "local": {"launcher": ["mpiexec"]}}
    sweep, base = sweeps.parse_sweep(tables, "s.toml", tmp_path)
    other = sweeps.parse_sweep(tables | {"settings": {"model.units": 5}}, "s.toml", tmp_path)
    folder, started = SweepFolder(tmp_path / "out"), []

    def measure(command: list[str], log: Path, timeout_s: float, poll: object) -> None:
        started.append(command)
        settings = (folder.path / "sweep.json").read_text()
        for second in ((sweep, base), other):
            with pytest.raises(TakenError, match=r"out: a job on .*; wait until it has ended"):
                runner.run_sweep(*second, "s.toml", folder, lambda line: None)
        assert (folder.path / "sweep.json").read_text() == settings
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
        self.ended_s_ago = math.inf

    def submit(self, script: str) -> str:
        number = str(100 + len(self.states))
        self.states[number], self.scripts[number] = "PENDING", script
        self.most = max(self.most, sum(state in slurm_jobs.ACTIVE_STATES for state in self.states.values()))
        return number

    def state(self, number: str) -> str:
        return self.states.get(number, "")

    def since_end(self, number: str) -> float:
        return self.ended_s_ago

    def tick(self) -> None:
        for number, state in list(self.states.items()):
            if state == "RUNNING":
                task = self.scripts[number]
                self.states[number] = "FAILED" if task in self.fails else "COMPLETED"
                self.done |= {task} - self.fails
        free = self.nodes - sum(state == "RUNNING" for state in self.states.values())
        for number in [n for n, state in self.states.items() if state == "PENDING"][:free]:
            self.states[number] = "RUNNING"


def drive(slurm: Slurm, path: Path, tasks: list[str], wait: bool, at_once: int = 3) -> dict[str, str]:
    queue = slurm_jobs.Queue(path, slurm.submit, slurm.state, slurm.since_end)
    done = slurm.done.__contains__
    return slurm_jobs.run_jobs(queue, tasks, str, done, done, at_once, wait, lambda line: None, 0.0)


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
    assert drive(slurm, tmp_path / "jobs.json", tasks, wait=True) == {}
    assert sorted(slurm.scripts.values()) == tasks
    assert slurm.most == 3


def test_a_later_call_finds_its_jobs_again(tmp_path: Path, ticking: list[Slurm]) -> None:
    slurm, tasks = Slurm(nodes=1), ["a", "b", "c", "d"]
    for _ in range(3):  # calls that do not wait: no job is submitted twice
        drive(slurm, tmp_path / "jobs.json", tasks, wait=False)
    assert list(slurm.scripts.values()) == ["a", "b", "c"]
    ticking.append(slurm)
    assert drive(slurm, tmp_path / "jobs.json", tasks, wait=True) == {}
    assert list(slurm.scripts.values()) == tasks


def test_a_failed_job_is_told_and_submitted_anew_by_the_next_call(
    tmp_path: Path, ticking: list[Slurm]
) -> None:
    slurm = Slurm(nodes=2, fails={"b"})
    ticking.append(slurm)
    died = {"b": "job 101 ended (FAILED) without a record"}
    assert drive(slurm, tmp_path / "jobs.json", ["a", "b", "c"], wait=True) == died
    slurm.fails = set()
    assert drive(slurm, tmp_path / "jobs.json", ["a", "b", "c"], wait=True) == {}
    assert list(slurm.scripts.values()) == ["a", "b", "c", "b"]


@pytest.mark.parametrize("wait", [False, True])
def test_a_job_that_died_between_two_calls_is_told_before_it_is_submitted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait: bool
) -> None:
    """No call is delayed, since nothing ended lately."""
    slurm, path = Slurm(nodes=2, fails={"a"}), tmp_path / "jobs.json"
    monkeypatch.setattr(slurm_jobs.time, "sleep", lambda _: pytest.fail("waits"))
    assert drive(slurm, path, ["a"], wait=False) == {}
    for _ in range(2):
        slurm.tick()
    assert drive(slurm, path, ["a"], wait) == {"a": "job 100 ended (FAILED) without a record"}
    assert list(slurm.scripts.values()) == ["a"]
    assert drive(slurm, path, ["a"], wait=False) == {}
    slurm.states.clear()  # Slurm has forgotten them
    assert drive(slurm, path, ["a"], wait) == {"a": "job 101 ended without a record"}


@pytest.mark.parametrize("wait", [False, True])
def test_a_job_that_ended_lately_is_given_time_to_show_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait: bool
) -> None:
    slurm, path = Slurm(nodes=1), tmp_path / "jobs.json"
    drive(slurm, path, ["a"], wait=False)
    slurm.states["100"], slurm.ended_s_ago = "COMPLETED", 1.0
    monkeypatch.setattr(slurm_jobs.time, "sleep", lambda _: slurm.done.add("a"))
    assert drive(slurm, path, ["a"], wait) == {}
    assert list(slurm.scripts.values()) == ["a"]


def test_a_sweep_on_slurm_says_which_jobs_died_and_where_to_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One job measures all repeats: more of them are no failure of the job that had measured those before."""
    folder, submitted, states = (
        SweepFolder(tmp_path / "out"),
        list[str](),
        {"1": "OUT_OF_MEMORY", "2": "COMPLETED"},
    )
    monkeypatch.setattr(slurm, "submit_job", lambda script: submitted.append(script) or str(len(submitted)))
    monkeypatch.setattr(slurm, "job_state", lambda job: states.get(job, "PENDING"))
    monkeypatch.setattr(slurm, "seconds_since_end", lambda job: math.inf)

    def call(repeats: int) -> None:
        tables = {"sweep": {"ranks": [1], "repeats": repeats, "runner": "slurm", "launch": "ranks"}}
        sweep, base = sweeps.parse_sweep(tables, "s.toml", tmp_path)
        runner.run_sweep(sweep, base, "s.toml", folder, lambda line: None)

    call(1)
    died = r"p0000-r00: job 1 ended \(OUT_OF_MEMORY\) without a record; see .*p0000-r00.log; call again"
    with pytest.raises(HpcLstmError, match=died):
        call(1)
    call(1)
    assert len(submitted) == 2
    measured = record(1) | {"format": records.FORMAT, "version": records.VERSION}
    folder.record_file("p0000-r00").write_text(json.dumps(measured))
    call(2)
    assert len(submitted) == 3


@pytest.mark.parametrize(
    ("number", "runs", "code", "noted"),
    [(signal.SIGUSR1, 1, 1, True), (signal.SIGUSR1, 2, 75, False), (signal.SIGTERM, 1, 75, False)],
)
def test_a_job_without_time_for_one_run_is_not_queued_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, runs: int, code: int, noted: bool
) -> None:
    """The signal comes during the last of the runs that it measures; exit code 75 queues a job again."""
    world, folder, names = World(), SweepFolder(tmp_path), [f"p0000-r0{run}" for run in range(runs)]

    def measure(world: World, folder: SweepFolder, task: dict[str, str]) -> None:
        if task["name"] == names[-1]:
            world.signals._on_signal(number, None)
            raise world.on_all_ranks(StopRequested("stopped with a checkpoint"))

    monkeypatch.setattr(worker, "_measure_run", measure)
    with pytest.raises(HpcLstmError) as ended:
        worker.run_tasks(
            world, {"folder": str(tmp_path), "deadline": None, "runs": [{"name": name} for name in names]}
        )
    assert ended.value.exit_code == code
    assert ended.value.on_all_ranks
    assert ("take a longer slurm.time" in folder.load_failures(names).get(names[-1], "")) == noted


def test_a_job_asks_for_whole_nodes(tmp_path: Path) -> None:
    tables = {
        "sweep": {"ranks": [2, 8], "threads": 3, "runner": "slurm"},
        "slurm": {"ranks_per_node": 4, "gpus_per_node": 4, "time": "00:20:00"},
    }
    sweep, _ = sweeps.parse_sweep(tables, "s.toml", tmp_path)
    planning.check_slurm(sweep)
    job = slurm_jobs.make_job(["w"], "p1", 8, sweep, tmp_path / "log")
    assert (job.nodes, job.ranks_per_node, job.gpus_per_node, job.cpus_per_task) == (2, 4, 4, 3)
    job = slurm_jobs.make_job(["w"], "p1", 2, sweep, tmp_path / "50%j" / "log")
    assert (job.nodes, job.ranks_per_node, job.gpus_per_node) == (1, 2, 2)
    assert job.output == f"{tmp_path}/50%%j/log", "no number of a job"
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


@pytest.mark.parametrize("launcher", ["no-such-launcher", "/", "a\\u0000b"])
def test_a_launcher_that_cannot_be_started_is_named_and_may_be_changed(tmp_path: Path, launcher: str) -> None:
    file, said = tmp_path / "s.toml", list[str]()
    for name in (launcher, "another"):
        file.write_text(f'[sweep]\nranks = [1]\nsteps = 8\n[local]\nlauncher = ["{name}"]\n')
        with pytest.raises(InputError, match=r"^local.launcher: '.*' cannot be started: .*; set it to"):
            command.run_command(str(file), str(tmp_path / "out"), said.append)
    assert said == []


def test_a_dry_run_counts_what_it_lists(tmp_path: Path) -> None:
    file, said = tmp_path / "s.toml", list[str]()
    file.write_text("[sweep]\nranks = [1]\nrepeats = 1\n")
    command.run_command(str(file), str(tmp_path / "out"), said.append, dry_run=True)
    assert said[-1] == "1 run of 1 point in 1 set of processes"


def test_the_launcher_that_is_given_is_taken() -> None:
    assert local.local_launcher(["srun", "--mpi=pmi2"]) == ["srun", "--mpi=pmi2"]
