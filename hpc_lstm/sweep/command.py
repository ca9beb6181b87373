"""``hpc-lstm sweep``: measure the runs that are missing, then write the results of all that are measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hpc_lstm.errors import InputError
from hpc_lstm.files import expanded
from hpc_lstm.sweep import plan as planning
from hpc_lstm.sweep import runner, settings
from hpc_lstm.sweep.plan import SweepPlan
from hpc_lstm.sweep.records import SweepFolder
from hpc_lstm.sweep.results import check_packages, write_results
from hpc_lstm.sweep.runner import Log
from hpc_lstm.text.counts import counted


@dataclass(frozen=True)
class Outcome:
    """What a call ends with.

    Attributes:
        folder: of the sweep.
        missing: number of runs that are not measured yet, those that failed among them.
        runs: a row for each run, as in ``scaling.csv``.
        model: as in ``scaling.json``; None: there is none.
        failures: why runs failed, by their names.
    """

    folder: str
    missing: int
    runs: list[dict[str, Any]]
    model: dict[str, Any] | None
    failures: dict[str, str]


def run_command(
    file: str,
    output: str,
    log: Log,
    *,
    wait: bool = False,
    dry_run: bool = False,
    present: Callable[[Any], None] | None = None,
) -> None:
    """Measure the missing runs of a sweep and write its results.

    Args:
        file: SWEEP.toml.
        output: the sweep's folder.
        log: takes lines for the user.
        wait: with Slurm, stay until the jobs are done.
        dry_run: list the runs, and write nothing.
        present: takes the ``Outcome``, or with ``dry_run`` the list of runs, which are then not logged as text.

    Raises:
        ConfigError, InputError: the file or the folder is wrong, or the settings of a run are.
        HpcLstmError: a run failed.
    """
    sweep, base = settings.load_sweep(file)
    planned = planning.plan_sweep(sweep, base, file)
    if sweep.sweep.runner == "slurm":
        planning.check_slurm(sweep)
    if dry_run:
        listed = _listed(planned)
        _log_list(planned, listed, log) if present is None else present(listed)
        return
    check_packages()
    folder = SweepFolder(expanded(output).absolute())
    runner.begin_sweep(planned, base, folder)
    refused = False
    try:
        runner.measure_sweep(planned, base, folder, log, wait=wait)
    except (InputError, OSError):
        refused = True
        raise
    finally:  # after an error, too: what was measured before it is worth showing
        _write_and_show(folder, planned, log, present, refused)


def _listed(planned: SweepPlan) -> list[dict[str, Any]]:
    """The runs in their order; those with one number of ``processes`` are measured in the same processes."""
    return [
        {
            "processes": number,
            "run": run.name,
            "what": runner.describe_run(run),
            "ranks": run.point.ranks,
            "warmup": run.point.warmup,
            "steps": run.point.steps,
        }
        for number, launch in enumerate(planned.launches, 1)
        for run in launch
    ]


def _log_list(planned: SweepPlan, listed: list[dict[str, Any]], log: Log) -> None:
    for run in listed:
        steps = f"{run['warmup']} + {run['steps']} steps per rank"
        log(f"processes {run['processes']}: {run['what']}: {steps}")
    runs, points = counted(len(planned.runs), "run"), counted(len(planned.points), "point")
    sets = len(planned.launches)
    log(f"{runs} of {points} in {sets:,} set{'' if sets == 1 else 's'} of processes")


def _write_and_show(
    folder: SweepFolder, planned: SweepPlan, log: Log, present: Callable[[Any], None] | None, refused: bool
) -> None:
    names = [run.name for run in planned.runs]
    records = folder.load_records(names)
    failures = folder.load_failures(names)
    missing, failed = len(names) - len(records), len(failures)
    results = (
        write_results(records, folder.path, missing, failed=failed, fewest=planned.fewest)
        if records
        else None
    )
    if present is not None:
        runs, model = ([], None) if results is None else (results.runs, results.model)
        present(Outcome(str(folder.path), missing, runs, model, failures))
        return
    if results is not None:
        log(f"\n{results.text}\n\nresults in {folder.path}: scaling.csv, .h5, .json, .png")
    elif missing > failed and not refused:  # else the error says what to do first
        log(f"no run is measured yet; call again to continue and to collect the runs in {folder.path}")
    for name, reason in failures.items():
        log(f"failed: {name}: {reason}")
