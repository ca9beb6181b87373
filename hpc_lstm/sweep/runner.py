"""Measures the runs of a sweep that have no record yet: on this machine, or as Slurm jobs."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hpc_lstm.errors import HpcLstmError, InputError
from hpc_lstm.files import read_text, write_text
from hpc_lstm.parallel.launch import launched
from hpc_lstm.processes import PYTHON
from hpc_lstm.sweep import local, slurm_jobs
from hpc_lstm.sweep import plan as planning
from hpc_lstm.sweep.plan import PlannedRun, SweepPlan
from hpc_lstm.sweep.records import SweepFolder, read_record
from hpc_lstm.sweep.settings import SweepConfig
from hpc_lstm.text.counts import counted

Log = Callable[[str], None]


def run_sweep(
    sweep: SweepConfig,
    base: dict[str, Any],
    where: str,
    folder: SweepFolder,
    log: Log,
    *,
    wait: bool = False,
    budget_s: float | None = None,
    after: Callable[[], object] = lambda: None,
) -> SweepPlan:
    """Measure the missing runs of a sweep.

    Args:
        sweep, base: as ``settings.load_sweep`` returns them; ``where``: their source, for errors.
        log: takes lines on the progress.
        wait: with Slurm, stay until the jobs are done.
        budget_s: seconds after which no further run is started; the others stay missing.
        after: called after each set of processes, such as to write the results so far.

    Raises:
        ConfigError, InputError: the settings are wrong, or the folder holds another sweep.
        TakenError: another call is measuring into the folder, or submitting its jobs.
        HpcLstmError: a run failed.
    """
    planned = planning.plan_sweep(sweep, base, where)
    if sweep.sweep.runner == "slurm":
        planning.check_slurm(sweep)
    begin_sweep(planned, base, folder)
    measure_sweep(planned, base, folder, log, wait=wait, budget_s=budget_s, after=after)
    return planned


def begin_sweep(planned: SweepPlan, base: dict[str, Any], folder: SweepFolder) -> None:
    """Make the sweep's folder, or check that it holds no other sweep.

    Raises:
        InputError: it holds another sweep, or a launcher has started this process.
    """
    if launched():
        raise InputError("a sweep starts its own ranks: call it without mpiexec or srun")
    tables = planning.fixed_settings(planned.sweep, base)
    folder.begin(planning.settings_digest(tables), tables)


def measure_sweep(
    planned: SweepPlan,
    base: dict[str, Any],
    folder: SweepFolder,
    log: Log,
    *,
    wait: bool = False,
    budget_s: float | None = None,
    after: Callable[[], object] = lambda: None,
) -> None:
    """Measure the missing runs of a sweep whose folder is there; see ``run_sweep``."""
    names = [run.name for run in planned.runs]
    finished = folder.finished(names)
    if finished:
        log(f"{len(finished)} of {len(names)} runs were measured before")
    # Named after each set's first run, measured or not, so that the name is the same in every call.
    missing = {
        launch[0].name: left
        for launch in planned.launches
        if (left := [run for run in launch if run.name not in finished])
    }
    if missing:
        tables = planning.fixed_settings(planned.sweep, base)
        with _owned(folder) as check_owner:
            folder.write_settings(planning.settings_digest(tables), tables)
            if planned.sweep.sweep.runner == "slurm":
                _submit_missing(planned, missing, folder, log, wait, check_owner)
            else:
                _measure_missing(planned, missing, folder, log, budget_s, after)
    if len(folder.finished(names)) == len(names):
        _clear(folder)


def make_task(run: PlannedRun, sweep: SweepConfig, folder: SweepFolder) -> dict[str, Any]:
    """What a worker needs to know of a run, as JSON; its market store is made if it does not exist."""
    point = run.point
    config = point.config.model_dump()
    if point.made is not None:
        config["data"]["store"] = str(point.made.make(folder.path / "stores"))
    return {
        "name": run.name,
        "point": point.number,
        "repeat": run.repeat,
        "scaling": sweep.sweep.scaling,
        "ranks": point.ranks,
        "axes": point.axes,
        "warmup": point.warmup,
        "steps": point.steps,
        "config": config,
    }


def worker_command(tasks: Path) -> list[str]:
    """The command of one rank."""
    return [*PYTHON, "-m", "hpc_lstm.sweep.worker", str(tasks)]


def describe_run(run: PlannedRun) -> str:
    """A run in words, such as "2 ranks, model.units 64, repeat 1"."""
    axes = ", ".join(f"{key} {value}" for key, value in run.point.axes.items())
    return f"{', '.join(filter(None, [counted(run.point.ranks, 'rank'), axes]))}, repeat {run.repeat + 1}"


@contextlib.contextmanager
def _owned(folder: SweepFolder) -> Iterator[Callable[[], None]]:
    """Keep a second call from the runs that this one measures or submits, where the file system has hard links.

    Gives what raises ``TakenError`` if another call has taken the folder over all the same, since this one was
    stopped for long.
    """
    from hpc_lstm.clusters.lease import Lease
    from hpc_lstm.storage.folder import FolderStore
    from hpc_lstm.training.ownership import NO_LINKS, OWNER, OWNER_TIMEOUT_S

    lease = None
    try:
        lease = Lease(
            *(FolderStore(folder.path), OWNER, "sweep", OWNER_TIMEOUT_S, logging.getLogger("hpc_lstm")),
            what=str(folder.path),
            advice="wait until it has ended, or choose another --output",
            forget=True,
        )
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
    try:
        yield lease.check if lease is not None else lambda: None
    finally:
        if lease is not None:
            lease.release()


def _measure_missing(
    planned: SweepPlan,
    missing: dict[str, list[PlannedRun]],
    folder: SweepFolder,
    log: Log,
    budget_s: float | None,
    after: Callable[[], object],
) -> None:
    """Run sets of processes one after the other.

    A set whose settings are refused does not stop the others; one that dies or hangs does, since that is not known
    to concern it alone.
    """
    launcher = local.local_launcher(planned.sweep.local.launcher)
    begin, total = time.time(), sum(map(len, missing.values()))
    left, started = total, list[str]()
    for name, launch in missing.items():
        spent = time.time() - begin
        if budget_s is not None and spent >= budget_s:
            log(f"the budget of {budget_s:g} s is spent: {left} runs are left for the next call")
            break
        # Each set of processes may take as much of what is left as its share of the runs.
        share = None if budget_s is None else (budget_s - spent) * len(launch) / left
        tasks = _write_tasks(name, launch, planned.sweep, folder, share)
        started += [run.name for run in launch]
        command = [*launcher, "-n", str(launch[0].point.ranks), *worker_command(tasks)]
        reported: set[str] = set()

        def report(
            launch: list[PlannedRun] = launch, reported: set[str] = reported, left: int = left
        ) -> None:
            """Log the runs that were finished since the last call."""
            for run in launch:
                if run.name not in reported and folder.record_file(run.name).exists():
                    reported.add(run.name)
                    progress = f"[{total - left + len(reported)}/{total}, {time.time() - begin:.0f} s]"
                    log(f"{progress} {describe_run(run)}: {_speed(folder, run)}")

        try:
            with local.end_on_signals():
                log_file = folder.path / "logs" / f"{name}.log"
                local.run_ranks(command, log_file, planned.sweep.sweep.timeout_s, report)
        except local.LaunchError as error:
            report()
            # Whose settings were refused has been noted by its ranks.
            if not (error.settings_refused and folder.load_failures(run.name for run in launch)):
                _note_failure(launch, folder, str(error))
            if not error.settings_refused:
                raise
            log(f"runs were left out: {error}")
        report()
        left -= len(launch)
        after()
    failures = folder.load_failures(started)
    if failures:
        raise InputError(_failures_text(failures))


def _submit_missing(
    planned: SweepPlan,
    missing: dict[str, list[PlannedRun]],
    folder: SweepFolder,
    log: Log,
    wait: bool,
    check_owner: Callable[[], None],
) -> None:
    """Submit a Slurm job for each set of processes, and collect those that have ended."""
    from hpc_lstm.jobs import slurm

    queue = slurm_jobs.Queue(
        *(folder.jobs_file, slurm.submit_job, slurm.job_state, slurm.seconds_since_end, check_owner)
    )

    def script(name: str) -> str:
        for run, reason in folder.load_failures(run.name for run in missing[name]).items():
            log(f"{run}: failed when it was last started: {reason}")
        tasks = _write_tasks(name, missing[name], planned.sweep, folder, None)
        output = folder.path / "logs" / f"{name}.log"
        ranks = missing[name][0].point.ranks
        job = slurm_jobs.make_job(worker_command(tasks), name, ranks, planned.sweep, output)
        return slurm.batch_script(job)

    failed = slurm_jobs.run_jobs(
        queue,
        list(missing),
        script,
        lambda name: all(folder.record_file(run.name).exists() for run in missing[name]),
        lambda name: all(folder.record_file(run).exists() for run in _last_tasks(name, folder)),
        planned.sweep.slurm.at_once,
        wait,
        log,
    )
    for name, reason in failed.items():
        log_file = folder.path / "logs" / f"{name}.log"
        _note_failure(missing[name], folder, f"{reason}; see {log_file}")
    failures = folder.load_failures(run.name for name in failed for run in missing[name])
    if failures:
        raise HpcLstmError(f"{_failures_text(failures)}; call again to submit them again")


def _note_failure(launch: Sequence[PlannedRun], folder: SweepFolder, reason: str) -> None:
    """Record that a set of processes failed, where none of its ranks could: for the run that it was at."""
    names = [run.name for run in launch]
    ended = folder.finished(names) | folder.load_failures(names).keys()
    under_way = next((name for name in names if name not in ended), None)
    if under_way is not None:
        folder.write_failure(under_way, reason)


def _failures_text(failures: Mapping[str, str]) -> str:
    name, reason = next(iter(failures.items()))
    return f"{counted(len(failures), 'run')} failed, the first is {name}: {reason}"


def _write_tasks(
    name: str, launch: list[PlannedRun], sweep: SweepConfig, folder: SweepFolder, seconds: float | None
) -> Path:
    """Write the file that tells the workers what to run; earlier failures of these runs no longer count."""
    path = _tasks_file(name, folder)
    tasks = {
        "folder": str(folder.path.absolute()),
        "deadline": None if seconds is None else time.time() + seconds,
        "runs": [make_task(run, sweep, folder) for run in launch],
    }
    for run in launch:
        folder.failure_file(run.name).unlink(missing_ok=True)
    write_text(path, json.dumps(tasks) + "\n")
    return path


def _tasks_file(name: str, folder: SweepFolder) -> Path:
    return (folder.path / "logs" / f"{name}.tasks.json").absolute()


def _last_tasks(name: str, folder: SweepFolder) -> list[str]:
    """Names of the runs that this set of processes was last started for; none where that is not known."""
    try:
        return [str(run["name"]) for run in json.loads(read_text(_tasks_file(name, folder)))["runs"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def _speed(folder: SweepFolder, run: PlannedRun) -> str:
    return f"{read_record(folder.record_file(run.name))['samples_per_second']:,.0f} samples/s"


def _clear(folder: SweepFolder) -> None:
    """Remove the made stores, and what killed runs left; a later call with more repeats makes the stores anew."""
    for path in (folder.path / "stores").glob("synth-*.h5"):
        os.unlink(path)
    for path in (folder.path / "runs").iterdir():
        shutil.rmtree(path, ignore_errors=True)
