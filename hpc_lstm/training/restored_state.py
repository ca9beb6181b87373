"""The state that a run goes on from: that of its newest complete checkpoint, checked against settings and prices."""

from __future__ import annotations

from hpc_lstm import config as configuration
from hpc_lstm.checkpoint.manifest import Manifest
from hpc_lstm.checkpoint.restore import Restored, restore_checkpoint
from hpc_lstm.errors import InputError
from hpc_lstm.runs.run_file import read_run_file
from hpc_lstm.training import log as messages
from hpc_lstm.training import ownership
from hpc_lstm.training.new_rows import check_prices
from hpc_lstm.training.saved_layout import saved_layout
from hpc_lstm.training.setup import Run
from hpc_lstm.training.state import AVERAGED, COUNTS, SAMPLES, TrainState


def load_newest(run: Run, state: TrainState, *, accept_unsigned: bool) -> bool:
    """Load the newest complete checkpoint; collective.

    Returns:
        False if there is none.

    Raises:
        InputError: it belongs to a run with other settings or prices; or there is none, but results of a run that had
            some.
    """
    world, log = run.world, run.log
    provenance = world.raise_on_all(
        lambda: (
            None
            if world.rank
            else ownership.provenance_of(run.directory, run.storage, accept_unsigned=accept_unsigned)
        )
    )
    found = restore_checkpoint(
        *(world, run.storage.store, run.storage.checkpoint_prefix, log),
        averaged=AVERAGED,
        weight=SAMPLES,
        provenance=provenance,
        layout=saved_layout(run, state),
        accept=lambda manifest: _check_settings(run, manifest),
    )
    if found is None:
        world.raise_on_all(lambda: _refuse_lost_checkpoints(run) if world.rank == 0 else None)
        log.info("no complete checkpoint: starting from the beginning")
        return False
    state.run_id = found.manifest.run
    if not world.bcast(run.directory.holds_run):
        messages.log_adopted_run(log, run.storage.checkpoint_prefix, found.manifest.created)
    world.raise_on_all(lambda: _log_lost_steps(run, found) if world.rank == 0 else None)
    saved = world.raise_on_all(lambda: _saved_settings(found.manifest))
    world.raise_on_all(lambda: _check_state(run, found))
    digest = world.raise_on_all(lambda: run.store.outline_digest)
    state.growth = check_prices(run, found.state, digest)
    same_ranks = found.manifest.ranks == world.size
    same_slices = same_ranks and state.growth is None
    if same_slices and not all(world.allgather(_fits(run, state, found))):
        same_slices = False
        log.warning(
            "the checkpoint's train windows were others than this version takes from the same prices: each rank starts "
            "a new order of its windows"
        )
    state.load_state_dict(run, found.state, same_slices=same_slices)
    if state.growth is not None:
        state.early_stopping.stale = (
            0  # losses of other windows do not tell that the loss has stopped falling
        )
    messages.log_resume(log, state.progress, found, ranks=world.size)
    messages.log_changed_settings(log, saved, run.config)
    messages.log_changed_rate(log, saved, run.config, run.schedule.epochs_done(state.progress))
    messages.log_changed_arithmetic(log, saved, run.config, found.state, run.placement, same_ranks=same_ranks)
    return True


def _fits(run: Run, state: TrainState, found: Restored) -> bool:
    """Whether this rank's place in the order of its windows can be one in as many windows as it has."""
    return (
        int(found.state["steps_per_epoch"]) == run.schedule.steps_per_epoch
        and int(found.state["order/position"]) < state.sampler.length
    )


def _refuse_lost_checkpoints(run: Run) -> None:
    ownership.refuse_lost_checkpoints(run.directory, run.config, run.storage.checkpoint_prefix)


def _log_lost_steps(run: Run, found: Restored) -> None:
    """Say if this run has written a newer checkpoint than the one found; on rank 0."""
    record = read_run_file(run.directory)
    written = (record.checkpoints if record is not None else None) or {}
    if written.get("url") == run.config.storage.url and written.get("step", 0) > found.manifest.step:
        run.log.warning(
            "this run has written a checkpoint of step %d, which is gone or damaged: what it did since step %d is "
            "repeated; if nobody has deleted it, the storage was put back to an earlier state",
            *(written["step"], found.manifest.step),
        )


def _saved_settings(manifest: Manifest) -> configuration.RunConfig:
    """The settings that a checkpoint was written with."""
    return configuration.parse_saved(manifest.config, f"checkpoint of step {manifest.step}")


def _check_settings(run: Run, manifest: Manifest) -> None:
    """Refuse to go on from a checkpoint of other settings."""
    where = f"checkpoint of step {manifest.step}"
    ownership.refuse_changed_settings(_saved_settings(manifest), run.config, where)


def _check_state(run: Run, found: Restored) -> None:
    """Refuse to go on from a state that is not of its checkpoint, or was trained with another scaling."""
    step = int(found.state["position/step"])
    if step != found.manifest.step or any(int(found.state[name]) < 0 for name in COUNTS):
        raise InputError(
            f"{run.storage.checkpoint_prefix}: the state in the checkpoint of step {found.manifest.step} is not of "
            "that step: another program has written it; delete this checkpoint, to resume from the one before"
        )
    if str(found.state.get("scaling", "")) != run.origin.scaling_digest:
        raise InputError(
            f"{run.directory.path}: the checkpoint was trained with another scaling of the prices, which came from the "
            "run that it was started from; give --init-from and --keep-scaling as it was started"
        )
