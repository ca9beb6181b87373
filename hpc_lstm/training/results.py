"""The end of a run: its last checkpoint, the model that it ends with, and what that model is worth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from hpc_lstm.errors import CheckpointError, InputError
from hpc_lstm.runs.history import read_history
from hpc_lstm.training import cluster_sync
from hpc_lstm.training import log as messages
from hpc_lstm.training.outputs import Outputs, save_checkpoint
from hpc_lstm.training.records import record_known_rows
from hpc_lstm.training.setup import Run
from hpc_lstm.training.state import TrainState

if TYPE_CHECKING:
    from hpc_lstm.evaluation.evaluate import Evaluation


def finish(run: Run, state: TrainState, outputs: Outputs) -> None:
    """Write the last checkpoint, then the model, its scaling and its metrics; collective.

    Raises:
        StopRequested: a signal came while waiting for other clusters.
        CheckpointError: the checkpoint could not be written; the results are written all the same.
    """
    if run.clusters is not None:
        cluster_sync.finish(run, state, outputs)
    unsaved: CheckpointError | None = None
    try:
        save_checkpoint(run, state, outputs, wait=True)
    except CheckpointError as error:
        unsaved = error
    with run.timeline.span("evaluate"):
        run.data.train.close()
        run.engine.set_parameters(final_weights(run, state))
        # First of all: what was trained must not be lost because something of the test rows is wrong, or the disk full.
        run.world.raise_on_all(lambda: _write_model(run) if run.world.rank == 0 else None)
        evaluation, unmeasured = _measure(run)
    metrics = evaluation.metrics | run_facts(run, state, outputs)
    run.world.raise_on_all(lambda: _write_results(run, metrics, evaluation) if run.world.rank == 0 else None)
    outputs.history.results(_errors_of_model(metrics), state.progress.step)
    if unsaved is not None:
        raise unsaved
    if unmeasured is not None:
        raise unmeasured


def _measure(run: Run) -> tuple[Evaluation, InputError | None]:
    """What the model is worth, and why the test part could not be measured, if so: validation stands all the same.

    Collective.
    """
    from hpc_lstm.evaluation.all_outputs import evaluate_outputs  # not needed before the last step
    from hpc_lstm.evaluation.evaluate import BATCH_SIZE
    from hpc_lstm.evaluation.intervals import calibrate, write_intervals
    from hpc_lstm.model.engines.head import Head

    head, settings = Head.of(run.config), run.config.forecast
    intervals = calibrate(run.engine.predict, head, run.data, run.world, settings, BATCH_SIZE)
    run.world.raise_on_all(lambda: write_intervals(run.directory, intervals) if run.world.rank == 0 else None)
    measure = partial(
        evaluate_outputs,
        *(run.engine.predict, head, intervals, run.data, run.world),
        date_unit=run.store.date_unit,
    )
    try:
        return measure(), None
    except InputError as error:
        if not (error.on_all_ranks or run.world.size == 1):
            raise
        evaluation = measure(parts=("validation",))
        evaluation.metrics["notes"].append(
            f"The test part could not be measured: {error}; `hpc-lstm evaluate` measures it when it can be read."
        )
        return evaluation, error


def _write_model(run: Run) -> None:
    """Write model, scaling and which rows they know; on rank 0.

    Those of an earlier end belong together, as do the new ones. In between there is no model, so that whoever opens the
    run is told that it is not complete.
    """
    files = run.directory
    written = files.model.with_name("model.new.keras")
    run.engine.save(written)
    for earlier in (files.metrics, files.intervals, files.model):
        earlier.unlink(missing_ok=True)
    run.data.scaler.save(files.scaler)
    record_known_rows(files, run.config, run.known, run.data.split_dates, run.others)
    written.replace(files.model)


def _write_results(run: Run, metrics: dict[str, Any], evaluation: Evaluation) -> None:
    """Write and show the metrics; on rank 0."""
    from hpc_lstm.evaluation.comparison_table import comparison_table
    from hpc_lstm.evaluation.metrics_file import write_metrics

    # The metrics come last: their presence says that the run is complete.
    write_metrics(run.directory.path, metrics, evaluation.symbols_csv())
    history, loss = read_history(run.directory.history), metrics["best_validation_loss"]
    messages.log_kept_weights(run.log, run.config, history, loss)
    run.log.info("%s", comparison_table(metrics))
    run.log.info("results in %s", run.directory.path)


def _errors_of_model(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The errors that loggers show, such as ``test/rmsse``."""
    from hpc_lstm.evaluation.metrics_file import PARTS, methods_of

    errors = {part: methods_of(metrics.get(part) or {}).get("model", {}) for part in PARTS}
    return {
        f"{part}/{name}": value
        for part, found in errors.items()
        for name, value in found.items()
        if isinstance(value, (int, float))
    }


def final_weights(run: Run, state: TrainState) -> np.ndarray:
    """The weights that a run ends with, float32 [P]; collective.

    Those of the best validation loss if ``train.restore_best`` asks for them and there are any, otherwise the last
    ones, averaged over the ranks. Clusters all end with the weights of their last round.
    """
    if run.clusters is not None:
        return run.engine.parameters()
    if run.config.train.restore_best and len(state.early_stopping.weights):
        return state.early_stopping.weights
    weights = run.engine.parameters()
    return weights if run.schedule.averages_at_epoch_end else run.averager.mean_of(weights)


def run_facts(run: Run, state: TrainState, outputs: Outputs) -> dict[str, Any]:
    """What ``metrics.json`` says about the run itself."""
    speed, best = outputs.throughput.samples_per_second, state.early_stopping
    rounds = {"sync": run.clusters.metrics()} if run.clusters is not None else {}
    return rounds | {
        "samples_per_second": speed if math.isfinite(speed) else None,
        "ranks": run.world.size,
        "backend": run.placement.backend.name,
        "engine": run.engine.name,
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "wall_s": run.timeline.wall_s,
        "steps": state.progress.step,
        "epochs": run.schedule.epochs_done(state.progress),
        "best_step": best.step or None,
        "best_validation_loss": best.loss if best.step else None,
    }
