"""Takes a sweep as far as it goes: measures what has no record yet, here or as jobs of Slurm."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hpc_lstm.errors import HpcLstmError, InputError
from hpc_lstm.files import write_text
from hpc_lstm.parallel.world import launched
from hpc_lstm.sweep import jobs, local
from hpc_lstm.sweep import plan as planning
from hpc_lstm.sweep.plan import Plan, Run
from hpc_lstm.sweep.records import SweepFolder
from hpc_lstm.sweep.settings import SweepConfig

Say = Callable[[str], None]


def run_sweep(
    sweep: SweepConfig,
    base: dict[str, Any],
    where: str,
    folder: SweepFolder,
    say: Say,
    *,
    wait: bool = False,
    budget_s: float | None = None,
    after: Callable[[], object] = lambda: None,
) -> Plan:
    """Measure what is missing of a sweep.

    Args:
        sweep, base: as ``settings.load`` gives them; ``where`` their source, for errors.
        say: takes lines on the progress.
        wait: with Slurm, stay until the jobs are done.
        budget_s: seconds after which no further run is begun; what is left stays missing.
        after: called after each set of processes, such as to write the results so far.

    Raises:
        ConfigError, InputError: the settings are wrong, the folder holds another sweep.
        HpcLstmError: a run failed.
    """
    if launched():
        raise InputError("a sweep starts its own ranks: call it without mpiexec or srun")
    planned = planning.plan(sweep, base, where)
    if sweep.sweep.runner == "slurm":
        planning.check_slurm(sweep)
    tables = planning.digest_tables(sweep, base)
    folder.begin(planning.digest(tables), tables)
    names = [run.name for run in planned.runs]
    finished = folder.finished(names)
    if finished:
        say(f"{len(finished)} of {len(names)} runs were measured before")
    # By the name of each set's first run, measured or not: it stays the same in every call.
    missing = {
        launch[0].name: left
        for launch in planned.launches
        if (left := [run for run in launch if run.name not in finished])
    }
    if missing and sweep.sweep.runner == "slurm":
        _submit(planned, missing, folder, say, wait)
    elif missing:
        _measure(planned, missing, folder, say, budget_s, after)
    if len(folder.finished(names)) == len(names):
        _clear(folder)
    return planned


def task(run: Run, sweep: SweepConfig, folder: SweepFolder) -> dict[str, Any]:
    """What a worker must know of a run; its market store is made if it is not there."""
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


def _measure(
    planned: Plan,
    missing: dict[str, list[Run]],
    folder: SweepFolder,
    say: Say,
    budget_s: float | None,
    after: Callable[[], object],
) -> None:
    start = local.local_launcher(planned.sweep.local.launcher)
    begin, total = time.time(), sum(map(len, missing.values()))
    left, failed = total, list[str]()
    for name, launch in missing.items():
        spent = time.time() - begin
        if budget_s is not None and spent >= budget_s:
            say(f"the budget of {budget_s:g} s is spent: {left} runs are left for the next call")
            return
        # Each set of processes may take as much of what is left as its share of the runs.
        share = None if budget_s is None else (budget_s - spent) * len(launch) / left
        tasks = _write_tasks(name, launch, planned.sweep, folder, share)
        command = [*start, "-n", str(launch[0].point.ranks), *worker(tasks)]
        told: set[str] = set()

        def tell(launch: list[Run] = launch, told: set[str] = told, left: int = left) -> None:
            for run in launch:
                if run.name not in told and folder.record(run.name).exists():
                    told.add(run.name)
                    number = total - left + len(told)
                    say(
                        f"[{number}/{total}, {time.time() - begin:.0f} s] {describe(run)}: {_speed(folder, run)}"
                    )

        try:
            with local.ending_on_signals():
                local.run(command, folder.path / "logs" / f"{name}.log", planned.sweep.sweep.timeout_s, tell)
        except local.LaunchError as error:
            if not error.refused:
                raise
            failed.append(str(error))
            say(f"runs were left out: {error}")
        tell()
        left -= len(launch)
        after()
    if failed:
        raise InputError(f"some runs could not be measured: {failed[0]}")


def _submit(planned: Plan, missing: dict[str, list[Run]], folder: SweepFolder, say: Say, wait: bool) -> None:
    from hpc_lstm.jobs import slurm

    queue = jobs.Queue(folder.path / "jobs.json", slurm.submit, slurm.state)

    def script(name: str) -> str:
        tasks = _write_tasks(name, missing[name], planned.sweep, folder, None)
        output = folder.path / "logs" / f"{name}.log"
        ranks = missing[name][0].point.ranks
        return slurm.render(jobs.job_of(worker(tasks), name, ranks, planned.sweep, output))

    failed = jobs.drive(
        queue,
        list(missing),
        script,
        lambda name: all(folder.record(run.name).exists() for run in missing[name]),
        planned.sweep.slurm.at_once,
        wait,
        say,
    )
    if failed:
        raise HpcLstmError(
            f"{len(failed)} jobs ended without a record, the first is {failed[0]}: see "
            f"{folder.path / 'logs' / failed[0]}.log; the same call submits them again"
        )


def worker(tasks: Path) -> list[str]:
    """The command of one rank."""
    return [sys.executable, "-m", "hpc_lstm.sweep.worker", str(tasks)]


def describe(run: Run) -> str:
    """A run in words."""
    axes = ", ".join(f"{key} {value}" for key, value in run.point.axes.items())
    ranks = f"{run.point.ranks} rank{'s' * (run.point.ranks > 1)}"
    return f"{', '.join(filter(None, [ranks, axes]))}, repeat {run.repeat + 1}"


def _write_tasks(
    name: str, launch: list[Run], sweep: SweepConfig, folder: SweepFolder, seconds: float | None
) -> Path:
    path = (folder.path / "logs" / f"{name}.tasks.json").absolute()
    tasks = {
        "folder": str(folder.path.absolute()),
        "deadline": None if seconds is None else time.time() + seconds,
        "runs": [task(run, sweep, folder) for run in launch],
    }
    write_text(path, json.dumps(tasks) + "\n")
    return path


def _speed(folder: SweepFolder, run: Run) -> str:
    record = json.loads(folder.record(run.name).read_text())
    return f"{record['samples_per_second']:,.0f} samples/s"


def _clear(folder: SweepFolder) -> None:
    """Remove the made stores and what killed runs left; a later call with more repeats makes the stores anew."""
    for path in (folder.path / "stores").glob("synth-*.h5"):
        os.unlink(path)
    for path in (folder.path / "runs").iterdir():
        shutil.rmtree(path, ignore_errors=True)
