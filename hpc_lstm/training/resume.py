"""The state that a run starts with: a checkpoint's, or a new one from the seed or another run's model."""

from __future__ import annotations

from typing import Any

from hpc_lstm.errors import InputError
from hpc_lstm.training import cluster_sync, ownership, records
from hpc_lstm.training.environment import describe_start
from hpc_lstm.training.setup import Run
from hpc_lstm.training.state import TrainState
from hpc_lstm.training.warm_start import read_weights


def start(run: Run, *, resume: bool, accept_unsigned: bool = False) -> TrainState:
    """Resume from the newest complete checkpoint if asked to and there is one, otherwise start anew.

    Collective. Afterwards the run directory holds a run: its settings are written.

    Args:
        accept_unsigned: with a key of signatures, take what is not signed for this run, such as an older version's.

    Raises:
        InputError: the checkpoint belongs to a run with other settings or prices, or to one that has no step left to
            take on new rows and no results of the old ones; or there are checkpoints, and ``resume`` is off; or there
            are none, but results of a run that had some.
    """
    state, world = TrainState.initial(run), run.world
    with run.timeline.span("checkpoint"):
        if run.clusters is not None:
            run.clusters.acquire_lease()
        if resume:
            from hpc_lstm.training.restored_state import load_newest  # most runs begin

            loaded = load_newest(run, state, accept_unsigned=accept_unsigned)
        else:
            ownership.refuse_existing_checkpoints(run.storage.store, run.storage.checkpoint_prefix, world)
            loaded = False
        if not loaded:
            _begin(run)
    complete = is_complete(run, state)
    if state.growth is not None and not complete and is_trained(run, state):
        raise world.on_all_ranks(
            InputError(
                f"{run.directory.path}: is trained to its end, train.epochs = {run.config.train.epochs}, but has no "
                "results of that yet, and the market store has grown meanwhile; raise train.epochs to train further on "
                "the new rows, or resume with the store as it was"
            )
        )
    if run.clusters is not None and not complete:
        cluster_sync.join(run, state, accept_older=accept_unsigned)
    growth = state.growth
    if growth is not None:
        from hpc_lstm.training.new_rows import log_growth, measure_best, train_windows_before

        before = train_windows_before(run, growth)
        world.raise_on_all(lambda: log_growth(run, growth, before, complete=complete))
        if not complete:
            with run.timeline.span("evaluate"):
                measure_best(run, state.early_stopping)
    environment = None if complete else describe_start(run)
    world.raise_on_all(lambda: _write_records(run, state, environment) if world.rank == 0 else None)
    return state


def is_trained(run: Run, state: TrainState) -> bool:
    """True after the last epoch, or when the validation loss has stopped falling."""
    return run.schedule.is_done(state.progress) or state.early_stopping.should_stop


def is_complete(run: Run, state: TrainState) -> bool:
    """True if an earlier start has finished the run: nothing is left to do. Collective.

    Results of fewer steps are those of a run that has since been trained further.

    Raises:
        InputError: ``metrics.json`` is damaged.
    """
    world, step = run.world, state.progress.step
    return is_trained(run, state) and world.bcast(
        world.raise_on_all(lambda: world.rank == 0 and _has_results(run, step))
    )


def _has_results(run: Run, step: int) -> bool:
    """Whether the run directory has the results of a step; on rank 0."""
    from hpc_lstm.evaluation.metrics_file import read_metrics  # most runs have steps left

    if not run.directory.metrics.exists():
        return False
    # `evaluate`, which computes a file anew that is gone, does not know of which step the model is.
    return read_metrics(run.directory).get("steps", step) == step


def _begin(run: Run) -> None:
    """Set the weights that a new run begins with on all ranks; collective."""
    world = run.world
    if run.origin.source is not None:

        def read() -> None:
            if world.rank == 0:
                weights = read_weights(run.origin, run.engine.schema, run.log, run.placement.threads)
                run.engine.set_parameters(weights)

        world.raise_on_all(read)
    run.engine.set_parameters(world.bcast_array(run.engine.parameters()))


def _write_records(run: Run, state: TrainState, environment: dict[str, Any] | None) -> None:
    """Write what makes the directory that of this run; on rank 0."""
    records.write_records(
        *(run.directory, run.config, run.origin, run.known, run.data.split_dates, run.others),
        first=not state.resumed,
        environment=environment,
        run_id=state.run_id,
    )
