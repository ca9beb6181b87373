"""The machine and its Slurm: ``doctor``, ``submit``, and what the batch scripts ask."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from hpc_lstm.cli.options import json_option, refuse_without, set_option, warm_start_options
from hpc_lstm.cli.ranks import connected_world
from hpc_lstm.console.output import show, show_json, terminal_width
from hpc_lstm.parallel.streams import tell

if TYPE_CHECKING:
    from hpc_lstm.config import RunConfig
    from hpc_lstm.parallel.world import World


@click.command(short_help="Show what this machine offers.")
@click.argument("config", required=False, type=click.Path())
@click.option(
    "--tune", is_flag=True, help="Measure what trains fastest on this GPU, for all later runs; takes minutes."
)
@click.option(
    "--units",
    "units",
    multiple=True,
    type=click.IntRange(1),
    help="With --tune: a number of units to measure; may be repeated. Default: CONFIG's, or 64, 128, 256 and 512.",
)
@json_option
def doctor(config: str | None, tune: bool, units: tuple[int, ...], as_json: bool) -> None:
    """Show what this machine offers and what is missing, and whether CONFIG's store and storage can be reached.

    With --tune: measure how fast each kind of kernel, and TensorFlow if it is installed, trains CONFIG's network or
    standard ones. The results are kept in the user's cache; train.engine = "auto" and "fused" choose by them.
    """
    refuse_without("--tune", tune, "units")
    with connected_world() as world:
        from hpc_lstm import config as configuration
        from hpc_lstm.storage.stores import check_storage_config

        settings = None
        if config:
            settings = world.raise_on_all(lambda: configuration.load(config))
            world.raise_on_all(lambda: check_storage_config(settings.storage, config))
        if tune:
            _tune(settings, units, world, as_json)
            return
        from hpc_lstm.jobs.doctor import diagnose

        diagnosis = diagnose(settings, world)
        if world.rank == 0:
            show_json(diagnosis) if as_json else show(diagnosis.text(terminal_width()))
        if diagnosis.failed:
            sys.exit(2)


def _tune(config: RunConfig | None, units: tuple[int, ...], world: World, as_json: bool) -> None:
    from hpc_lstm.jobs.gpu_speeds import tune

    table = tune(config, units, world, tell if as_json else show)
    if as_json and table is not None:
        show(table.to_json())


@click.command(short_help="Submit training to Slurm.")
@click.argument("config", type=click.Path())
@click.option("--nodes", default=1, show_default=True, type=click.IntRange(1), help="Nodes of the job.")
@click.option(
    "--gpus-per-node", default=0, show_default=True, type=click.IntRange(0), help="GPUs of a node; 0: none."
)
@click.option(
    "--ranks-per-node",
    default=0,
    type=click.IntRange(0),
    help="Ranks per node; default: one per GPU, or one.",
)
@click.option(
    "--cpus-per-task", default=0, type=click.IntRange(0), help="Cores per rank; default: the site's."
)
@click.option("--time", default="", help='Time limit, such as "04:00:00"; default: the partition\'s.')
@click.option("--account", default="", help="Account to charge.")
@click.option("--partition", default="", help="Partition to run in.")
@click.option("--name", default="", help="Name of the job; default: the config's.")
@click.option(
    "--run-dir", default=None, type=click.Path(), help="Folder of the run; default: runs/<config's name>."
)
@set_option
@click.option(
    "--signal-before",
    default=120,
    show_default=True,
    type=click.IntRange(0),
    help="Seconds before the time limit at which the run is signalled to write a checkpoint; 0: never.",
)
@click.option(
    "--max-requeues",
    envvar="HPC_LSTM_MAX_REQUEUES",
    show_envvar=True,
    default=100,
    show_default=True,
    type=click.IntRange(0),
    help="How many times the job may be restarted.",
)
@click.option("--dry-run", is_flag=True, help="Print the batch script and submit nothing.")
@warm_start_options
def submit(
    config: str,
    nodes: int,
    gpus_per_node: int,
    ranks_per_node: int,
    cpus_per_task: int,
    time: str,
    account: str,
    partition: str,
    name: str,
    run_dir: str | None,
    overrides: tuple[str, ...],
    signal_before: int,
    max_requeues: int,
    dry_run: bool,
    init_from: str | None,
    keep_scaling: bool,
) -> None:
    """Submit the training that CONFIG describes to Slurm, as a job that requeues itself until the run is done."""
    refuse_without("--init-from RUN_DIR", init_from is not None, "keep_scaling")
    from hpc_lstm.jobs import slurm

    title = os.path.splitext(os.path.basename(config))[0]
    script = slurm.batch_script(
        slurm.Job(
            slurm.train_command(
                config,
                run_dir or os.path.join("runs", title),
                overrides,
                init_from=init_from,
                keep_scaling=keep_scaling,
            ),
            nodes=nodes,
            ranks_per_node=ranks_per_node or gpus_per_node or 1,
            gpus_per_node=gpus_per_node,
            cpus_per_task=cpus_per_task,
            time=time,
            account=account,
            partition=partition,
            name=name or slurm.job_name(title),
            signal_before=signal_before,
            max_requeues=max_requeues,
        )
    )
    click.echo(script if dry_run else slurm.submit_job(script), nl=not dry_run)


@click.command("slurm-path", hidden=True)
def slurm_path() -> None:
    """Print the path of the part that all batch scripts source."""
    from hpc_lstm.jobs.slurm import scripts_folder

    click.echo(scripts_folder() / "run.sh")


@click.command(hidden=True)
def launcher() -> None:
    """Print the command that starts the ranks of a Slurm job here, one word per line, for the batch scripts."""
    from hpc_lstm.jobs.launcher import find_launcher

    click.echo("\n".join(find_launcher(verify=True)))
