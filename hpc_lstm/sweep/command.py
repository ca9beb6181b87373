"""``hpc-lstm sweep``: measure what is missing, then write all results that there are."""

from __future__ import annotations

from hpc_lstm.files import expanded
from hpc_lstm.sweep import plan as planning
from hpc_lstm.sweep import runner, settings
from hpc_lstm.sweep.records import SweepFolder
from hpc_lstm.sweep.results import check_packages, write_results
from hpc_lstm.sweep.runner import Say


def run(file: str, output: str, say: Say, *, wait: bool = False, dry_run: bool = False) -> None:
    """Take the sweep of a file as far as it goes.

    Args:
        output: the sweep's folder.
        say: takes lines for the user.
        wait: with Slurm, stay until the jobs are done.
        dry_run: say which runs there would be, and write nothing.

    Raises:
        ConfigError, InputError: the file or the folder is wrong.
        HpcLstmError: a run failed.
    """
    sweep, base = settings.load(file)
    planned = planning.plan(sweep, base, file)
    if sweep.sweep.runner == "slurm":
        planning.check_slurm(sweep)
    if dry_run:
        for number, launch in enumerate(planned.launches, 1):
            for one in launch:
                point = one.point
                say(
                    f"processes {number}: {runner.describe(one)}: {point.warmup} + {point.steps} steps a rank"
                )
        say(
            f"{len(planned.runs)} runs of {len(planned.points)} points in {len(planned.launches)} sets of processes"
        )
        return
    check_packages()
    folder = SweepFolder(expanded(output).absolute())
    try:
        runner.run_sweep(sweep, base, file, folder, say, wait=wait)
    finally:  # what was measured before something failed is worth showing, too
        _show(folder, [one.name for one in planned.runs], say)


def _show(folder: SweepFolder, names: list[str], say: Say) -> None:
    records = folder.load(names)
    if not records:
        say(f"no run is measured yet; the same call goes on, and collects them in {folder.path}")
        return
    summary = write_results(records, folder.path, len(names) - len(records))
    say(f"\n{summary}\n\nresults in {folder.path}: scaling.csv, .h5, .json, .png")
