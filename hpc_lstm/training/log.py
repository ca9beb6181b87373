"""What a run says of itself: as it begins, while it goes, when it stops, and in ``metrics.json``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from hpc_lstm.errors import HpcLstmError, StopRequested
from hpc_lstm.parallel import job

if TYPE_CHECKING:
    from hpc_lstm.training.loop import Training


def describe(training: Training) -> None:
    """Log what this rank is about to do."""
    world, data, log = training.world, training.data, training.log
    log.info(
        f"rank {world.rank} of {world.size} on {world.node}, where {world.local_size} ranks are; {world.library}; "
        f"{training.threads} threads; engine {training.engine.name}, backend {training.backend_name}"
    )
    log.info(
        f"{len(data.scaler.symbols):,} symbols, {data.index.total('train'):,} train windows, {len(data.train):,} of "
        f"them on this rank; {training.pace.steps_per_epoch:,} steps an epoch; {training.engine.schema.length:,} "
        "parameters"
    )
    if str(training.store.path) != training.config.data.store:
        log.info(f"the market store is read from its copy, {training.store.path}")
    if batch_job := job.own_job():
        log.info(batch_job)
    if training.gpu is not None:
        log.info(f"GPU: {training.gpu.describe()}")
    if training.backend_name == "cuda":
        log.info(f"rows to train on: {data.train.nbytes / 2**20:,.1f} MiB in {data.train.place}")
    if data.skipped:
        few = ", ".join(data.skipped[:5]) + (", ..." if len(data.skipped) > 5 else "")
        log.info(f"left out, too short for a train window: {len(data.skipped):,} symbols ({few})")


def tell(training: Training, loss: float) -> None:
    """Put the state of the run, and the mean loss since the ranks last met, into its history and on the screen."""
    at, epoch = training.position, training.pace.progress(training.position)
    speed = training.speed.samples_per_second
    training.history.train(
        step=at.step,
        epoch=epoch,
        loss=loss,
        learning_rate=float(training.learning_rates(1)[0]),
        samples_per_second=speed,
        elapsed_s=training.timeline.wall_s,
    )
    training.display.update(at.step, epoch, loss, speed)


def facts(training: Training) -> dict[str, Any]:
    """What ``metrics.json`` says about the run besides what the model is worth."""
    speed, best = training.speed.samples_per_second, training.selection
    rounds = {"sync": training.clusters.metrics()} if training.clusters is not None else {}
    return rounds | {
        "samples_per_second": speed if math.isfinite(speed) else None,
        "ranks": training.world.size,
        "backend": training.backend_name,
        "engine": training.engine.name,
        "steps": training.position.step,
        "epochs": training.pace.progress(training.position),
        "best_step": best.step or None,
        "best_validation_loss": best.loss if best.step else None,
    }


def diverged(training: Training) -> HpcLstmError:
    """What all ranks raise when their mean loss is no number any more."""
    return training.world.on_all_ranks(
        HpcLstmError(
            f"the loss is not finite at step {training.position.step}: training has diverged; "
            "lower train.learning_rate, or set train.clip_norm = 1.0"
        )
    )


def interrupted(training: Training) -> StopRequested:
    """What all ranks raise when they are asked to stop before they have begun to train; collective."""
    return training.world.on_all_ranks(
        StopRequested("stopped while waiting for other clusters: run the same command with --resume to go on")
    )


def stopped(training: Training) -> StopRequested:
    """What all ranks raise once the state of a run that was asked to stop is safe; collective."""
    signals = sorted({name for name in training.world.allgather(training.world.stop_signal) if name})
    return training.world.on_all_ranks(
        StopRequested(
            f"stopped by {' and '.join(signals)} at step {training.position.step}; the state is in a checkpoint: "
            "run the same command with --resume to go on"
        )
    )
