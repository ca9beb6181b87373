"""``hpc-lstm sweep``: measure the runs that are missing, then write the results of all that are measured."""

from __future__ import annotations

from hpc_lstm.files import expanded
from hpc_lstm.sweep import plan as planning
from hpc_lstm.sweep import runner, settings
from hpc_lstm.sweep.plan import SweepPlan
from hpc_lstm.sweep.records import SweepFolder
from hpc_lstm.sweep.results import check_packages, write_results
from hpc_lstm.sweep.runner import Log


def run_command(file: str, output: str, log: Log, *, wait: bool = False, dry_run: bool = False) -> None:
    """Measure the missing runs of a sweep and write its results.

    Args:
        file: SWEEP.toml.
        output: the sweep's folder.
        log: takes lines for the user.
        wait: with Slurm, stay until the jobs are done.
        dry_run: list the runs, and write nothing.

    Raises:
        ConfigError, InputError: the file or the folder is wrong, or the settings of a run are.
        HpcLstmError: a run failed.
    """
    sweep, base = settings.load_sweep(file)
    planned = planning.plan_sweep(sweep, base, file)
    if sweep.sweep.runner == "slurm":
        planning.check_slurm(sweep)
    if dry_run:
        _list_runs(planned, log)
        return
    check_packages()
    folder = SweepFolder(expanded(output).absolute())
    try:
        runner.run_sweep(sweep, base, file, folder, log, wait=wait)
    finally:  # after an error, too: what was measured before it is worth showing
        _write_and_show(folder, [run.name for run in planned.runs], log)


def _list_runs(planned: SweepPlan, log: Log) -> None:
    for number, launch in enumerate(planned.launches, 1):
        for run in launch:
            steps = f"{run.point.warmup} + {run.point.steps} steps per rank"
            log(f"processes {number}: {runner.describe_run(run)}: {steps}")
    log(
        f"{len(planned.runs)} runs of {len(planned.points)} points in {len(planned.launches)} sets of processes"
    )


def _write_and_show(folder: SweepFolder, names: list[str], log: Log) -> None:
    records = folder.load_records(names)
    failures = folder.load_failures(names)
    if records:
        summary = write_results(records, folder.path, len(names) - len(records))
        log(f"\n{summary}\n\nresults in {folder.path}: scaling.csv, .h5, .json, .png")
    else:
        log(f"no run is measured yet; call again to continue and to collect the runs in {folder.path}")
    for name, reason in failures.items():
        log(f"failed: {name}: {reason}")
