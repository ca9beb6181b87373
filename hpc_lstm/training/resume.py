"""The state that a run starts with: a checkpoint's, or a new one from the seed."""

from __future__ import annotations

from hpc_lstm import config as configuration
from hpc_lstm.checkpoint.restore import Restored, restore_checkpoint
from hpc_lstm.errors import InputError
from hpc_lstm.training import cluster_sync, ownership
from hpc_lstm.training import log as messages
from hpc_lstm.training.setup import Run
from hpc_lstm.training.state import AVERAGED, SAMPLES, TrainState, data_digest


def start(run: Run, *, resume: bool) -> TrainState:
    """Resume from the newest complete checkpoint if asked to and there is one, otherwise start from the seed.

    Collective. Afterwards the run directory holds a run: its settings are written.

    Raises:
        InputError: the checkpoint belongs to a run with other settings or prices; or there are checkpoints, and
            ``resume`` is off.
    """
    state, world = TrainState.initial(run), run.world
    with run.timeline.span("checkpoint"):
        if run.clusters is not None:
            run.clusters.acquire_lease()
        if not resume:
            ownership.refuse_existing_checkpoints(run.storage.store, run.storage.checkpoint_prefix, world)
        if not (resume and _load_newest(run, state)):
            run.engine.set_parameters(world.bcast_array(run.engine.parameters()))
    if run.clusters is not None and not is_complete(run, state):
        cluster_sync.join(run, state)
    world.raise_on_all(
        lambda: ownership.write_settings(run.directory, run.config) if world.rank == 0 else None
    )
    return state


def is_trained(run: Run, state: TrainState) -> bool:
    """True after the last epoch, or when the validation loss has stopped falling."""
    return run.schedule.is_done(state.progress) or state.early_stopping.should_stop


def is_complete(run: Run, state: TrainState) -> bool:
    """True if an earlier start has finished the run: nothing is left to do. Collective."""
    return is_trained(run, state) and run.world.bcast(run.directory.metrics.exists())


def _load_newest(run: Run, state: TrainState) -> bool:
    """Load the newest complete checkpoint; collective. False if there is none."""
    world, log = run.world, run.log
    found = restore_checkpoint(
        world, run.storage.store, run.storage.checkpoint_prefix, log, averaged=AVERAGED, weight=SAMPLES
    )
    if found is None:
        log.info("no complete checkpoint: starting from the seed")
        return False
    saved = world.raise_on_all(lambda: _checked_settings(run, found))
    state.load_state_dict(run, found.state, same_ranks=found.manifest.ranks == world.size)
    messages.log_resume(log, state.progress, found, ranks=world.size)
    messages.log_changed_settings(log, saved, run.config)
    messages.log_changed_arithmetic(
        log, saved, run.config, found.state, run.placement, same_ranks=found.manifest.ranks == world.size
    )
    return True


def _checked_settings(run: Run, found: Restored) -> configuration.RunConfig:
    """The settings that the checkpoint was written with, if the run may continue from it."""
    where = f"checkpoint of step {found.manifest.step}"
    saved = configuration.parse(found.manifest.config, where)
    ownership.refuse_changed_settings(saved, run.config, where)
    if found.state["data"] != data_digest(run.store):
        raise InputError(
            f"{run.config.data.store}: holds other prices than this run was started with; "
            "put the old store back, or start a new run"
        )
    return saved
