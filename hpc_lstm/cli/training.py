"""A run: ``init`` writes its config, ``train`` trains its model."""

from __future__ import annotations

import os

import click

from hpc_lstm.cli.options import OutputFile, refuse_without, set_option, warm_start_options
from hpc_lstm.cli.ranks import connected_world


@click.command(short_help="Write a config to start from.")
@click.option("--for", "store", default=None, type=click.Path(), help="Market store that the config is for.")
@click.option(
    "-o", "--output", default="run.toml", show_default=True, type=OutputFile(), help="Config to write."
)
def init(store: str | None, output: str) -> None:
    """Write a commented config to start from, with settings that suit daily prices."""
    from hpc_lstm.console.output import show
    from hpc_lstm.jobs.starter_config import write_starter_config

    show(write_starter_config(output, store))


@click.command(short_help="Train a model.")
@click.argument("config", type=click.Path())
@set_option
@click.option(
    "--run-dir", default=None, type=click.Path(), help="Folder of the run; default: runs/<config's name>."
)
@click.option(
    "--resume", is_flag=True, help="Resume from the newest complete checkpoint, or start if there is none."
)
@click.option(
    "--accept-unsigned",
    is_flag=True,
    help="With HPC_LSTM_SYNC_KEY: resume from a checkpoint, or join a run, that is not signed for this run and place.",
)
@warm_start_options
def train(
    config: str,
    overrides: tuple[str, ...],
    run_dir: str | None,
    resume: bool,
    accept_unsigned: bool,
    init_from: str | None,
    keep_scaling: bool,
) -> None:
    """Train the model that CONFIG describes, on all ranks that mpiexec or srun started, or on one.

    A run may be resumed on a market store to which newer rows were added; one whose old rows have changed is refused.
    """
    refuse_without("--init-from RUN_DIR", init_from is not None, "keep_scaling")
    from hpc_lstm.parallel.mpi_start import is_first_rank
    from hpc_lstm.parallel.starter import follow_starter
    from hpc_lstm.parallel.stop_signals import remembered_signals
    from hpc_lstm.training.stages import telling_stages

    follow_starter()
    with (
        remembered_signals() as signals,
        telling_stages(is_first_rank(), "starting MPI") as stages,
        connected_world(signals) as world,
    ):
        stages.begin("importing")
        from hpc_lstm import config as configuration
        from hpc_lstm.runs import directory
        from hpc_lstm.storage.stores import check_storage_config

        settings = world.raise_on_all(lambda: configuration.load(config, overrides))
        world.raise_on_all(lambda: check_storage_config(settings.storage, config, overrides))
        name = os.path.splitext(os.path.basename(config))[0]
        run = world.raise_on_all(lambda: directory.at(run_dir or os.path.join("runs", name)))
        # Only now, so that a config that is wrong is told at once: they bring most of the package along.
        from hpc_lstm.training.loop import train as train_model
        from hpc_lstm.training.warm_start import WarmStart

        warm_start = WarmStart(init_from, keep_scaling) if init_from is not None else None
        train_model(
            settings,
            run,
            world,
            resume=resume,
            warm_start=warm_start,
            accept_unsigned=accept_unsigned,
            stages=stages,
        )
