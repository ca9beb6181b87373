"""Many runs: ``sweep`` measures how training scales, ``tune`` searches for settings."""

from __future__ import annotations

import os

import click

from hpc_lstm.cli.options import json_option
from hpc_lstm.cli.ranks import connected_world
from hpc_lstm.console.output import show, show_json, show_progress
from hpc_lstm.parallel.streams import tell


@click.command(short_help="Measure how training scales.")
@click.argument("sweep", type=click.Path())
@click.option(
    "-o", "--output", default=None, type=click.Path(), help="Folder; default: sweeps/<file's name>."
)
@click.option("--wait", is_flag=True, help="With Slurm, stay until the jobs are done.")
@click.option("--dry-run", is_flag=True, help="Show the runs and their order without starting any.")
@json_option
def sweep(sweep: str, output: str | None, wait: bool, dry_run: bool, as_json: bool) -> None:
    """Measure how training scales, as SWEEP describes; a repeated call measures only what is missing.

    With --json, stdout has only the results; progress goes to stderr.
    """
    from hpc_lstm.sweep.command import run_command

    name = os.path.splitext(os.path.basename(sweep))[0]
    try:
        run_command(
            sweep,
            output or os.path.join("sweeps", name),
            tell if as_json else show if dry_run else show_progress,
            wait=wait,
            dry_run=dry_run,
            present=show_json if as_json else None,
        )
    except KeyboardInterrupt:
        raise click.Abort("run the same command again to continue") from None


@click.command(short_help="Search for good settings.")
@click.argument("tune", type=click.Path())
@click.option(
    "-o", "--output", default=None, type=click.Path(), help="Folder; default: tuning/<file's name>."
)
@json_option
def tune(tune: str, output: str | None, as_json: bool) -> None:
    """Search for good settings, as TUNE describes: trials run side by side on the ranks, judged only on validation.

    A repeated call continues where the last one stopped, and runs more trials if the file asks for more. With --json,
    stdout has only the trials, the best first; progress goes to stderr.
    """
    with connected_world() as world:
        from hpc_lstm.tuning.command import run_command

        name = os.path.splitext(os.path.basename(tune))[0]
        run_command(
            tune,
            output or os.path.join("tuning", name),
            world,
            tell if as_json else show_progress,
            show_json if as_json else None,
        )
