"""What a run logs, and the errors that it ends with on all ranks."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hpc_lstm import config as configuration
from hpc_lstm.config import RunConfig
from hpc_lstm.errors import HpcLstmError, StopRequested
from hpc_lstm.parallel import job
from hpc_lstm.parallel.world import World
from hpc_lstm.storage.signing import VARIABLE
from hpc_lstm.text.counts import counted
from hpc_lstm.training.learning_rate import learning_rate

if TYPE_CHECKING:
    from hpc_lstm.checkpoint.restore import Restored
    from hpc_lstm.clusters.lease import Lease
    from hpc_lstm.preprocess.prepare import Prepared
    from hpc_lstm.training.placement import Placement
    from hpc_lstm.training.schedule import Progress, Schedule

SYMBOLS_NAMED = 5


def log_setup(
    log: logging.Logger,
    config: RunConfig,
    world: World,
    placement: Placement,
    data: Prepared,
    schedule: Schedule,
    *,
    store_copy: str,
    signed: bool,
) -> None:
    """Log what this rank is about to do, and where."""
    engine, backend = placement.engine, placement.backend
    log.info(
        f"rank {world.rank} of {world.size} on {world.node} ({counted(world.local_size, 'rank')} on this node); "
        f"{world.library}; {counted(placement.threads, 'thread')}; engine {engine.name}, backend {backend.name}"
    )
    log.info(
        f"{counted(len(data.scaler.symbols), 'symbol')}, {data.index.total('train'):,} train windows, "
        f"{len(data.train):,} of them on this rank; {counted(schedule.steps_per_epoch, 'step')} per epoch; "
        f"{engine.schema.length:,} parameters"
    )
    if store_copy != config.data.store:
        log.info(f"reading the market store from its copy on this node, {store_copy}")
    if world.rank == 0 and (signed or config.storage.url):
        log.info(
            f"what is put into the store is signed with the key in {VARIABLE}; nothing else is accepted"
            if signed
            else f"what is put into the store is not signed: {VARIABLE} is not set"
        )
    if batch_job := job.own_job():
        log.info(batch_job)
    if placement.gpu is not None:
        log.info(f"GPU: {placement.gpu.describe()}")
    if backend.name == "cuda":
        log.info(f"train rows: {data.train.nbytes / 2**20:,.1f} MiB in {data.train.location}")
    batch, windows = config.train.batch_size * world.size, data.index.total("train")
    if batch > windows:
        log.warning(
            f"train.batch_size = {config.train.batch_size:,} on {counted(world.size, 'rank')} is more than the "
            f"{windows:,} train windows: an epoch is one step, in which windows repeat; lower it"
        )
    if data.skipped:
        log.info(f"skipped, without a train window: {_named(data.skipped)}")


def log_owner(log: logging.Logger, owner: Lease | None, world: World) -> None:
    """Warn if nothing keeps a second job out of the run directory."""
    if owner is None and world.rank == 0:
        log.warning(
            "the run directory's file system has no hard links: nothing keeps a second job from running in it at the "
            "same time, which would mix both; start one at a time, or choose another --run-dir"
        )


def log_left_out(log: logging.Logger, symbols: Sequence[str]) -> None:
    """Log which symbols ``data.unusable = "leave-out"`` has left out."""
    if symbols:
        log.warning(f"left out, with a value that cannot be computed with: {_named(symbols)}")


def _named(symbols: Sequence[str]) -> str:
    """How many symbols, and the names of some."""
    names = ", ".join(symbols[:SYMBOLS_NAMED]) + (", ..." if len(symbols) > SYMBOLS_NAMED else "")
    return f"{counted(len(symbols), 'symbol')} ({names})"


def log_complete(log: logging.Logger, config: RunConfig, *, stopped_early: bool) -> None:
    """Log that there is nothing to do, and what would let the run train further."""
    if stopped_early:
        log.info(
            "nothing to do: the run was stopped early, after %d epochs without a better validation loss "
            "(train.patience); raise train.patience, or set it to 0, to train further",
            config.train.patience,
        )
    else:
        log.info("nothing to do: the run is complete; raise train.epochs to train further")


def log_contributed(log: logging.Logger) -> None:
    """Log that a cluster trains no further, since an earlier start has ended its part in the run that they share."""
    log.warning(
        "an earlier start of this cluster, which went further than the checkpoint, has made its final contribution to "
        "the run that the clusters share: it trains no further; set another sync.run to do so"
    )


def log_resume(log: logging.Logger, progress: Progress, found: Restored, *, ranks: int) -> None:
    """Log which checkpoint the run continues from."""
    log.info("resuming from the checkpoint of step %d (epoch %d)", progress.step, progress.epoch)
    if found.manifest.ranks != ranks:
        log.info(
            "it was written by %s, now there %s: weights and moments are averaged over the old ranks, the data is "
            "divided again, and each rank starts a new order of its windows",
            counted(found.manifest.ranks, "rank"),
            "is 1" if ranks == 1 else f"are {ranks}",
        )


def log_adopted_run(log: logging.Logger, prefix: str, written: str) -> None:
    """Log that a new run directory continues the run of its name that it has found in the store.

    Args:
        written: when its checkpoint was written.
    """
    log.warning(
        "this run directory is new: it continues the run whose checkpoints are under %s, the newest written %s; if "
        "you mean to begin another run, stop this one and choose another --run-dir",
        *(prefix, written),
    )


def log_changed_settings(log: logging.Logger, old: RunConfig, new: RunConfig) -> None:
    """Log the settings in which a resumed run differs from its checkpoint."""
    changes = configuration.differences(old, new)
    if changes:
        log.info("changed settings: %s", ", ".join(f"{key} {was!r} -> {now!r}" for key, was, now in changes))


def log_changed_rate(log: logging.Logger, old: RunConfig, new: RunConfig, epochs: float) -> None:
    """Log where more or fewer epochs move the learning rate that a resumed run goes on with.

    Args:
        epochs: done so far, with their fraction.
    """
    before, now = learning_rate(old.train, epochs), learning_rate(new.train, epochs)
    if not math.isclose(before, now, rel_tol=1e-6, abs_tol=1e-12):
        log.info(
            "the learning rate continues at %.3g instead of %.3g: train.epochs = %d instead of %d stretches the "
            "schedule (train.schedule = %s) over the whole run",
            *(now, before, new.train.epochs, old.train.epochs, f'"{new.train.schedule}"'),
        )


def log_changed_arithmetic(
    log: logging.Logger,
    old: RunConfig,
    new: RunConfig,
    state: Mapping[str, Any],
    placement: Placement,
    *,
    same_ranks: bool,
) -> None:
    """Log where a resumed run computes differently: results then differ in their last bits, dropout in its masks.

    Args:
        old, state: settings and state of the checkpoint.
        new: settings of this start; a deterministic run promises bit-identical results, so that its user is warned.
        same_ranks: as many ranks as wrote the checkpoint; on another number nothing is bit-identical anyway.
    """
    deterministic = new.train.deterministic
    level = logging.WARNING if deterministic else logging.INFO
    engine, threads = str(state.get("computed_by", placement.engine.arithmetic)), int(state["threads"])
    if engine != placement.engine.arithmetic:
        log.log(
            level,
            "the checkpoint was computed by the engine %s, this start uses %s: results will not be bit-identical",
            *(engine, placement.engine.arithmetic),
        )
    if old.train.precision != new.train.precision:
        log.log(
            level,
            "the checkpoint was computed in %s, this start computes in %s: results will not be bit-identical",
            *(old.train.precision, new.train.precision),
        )
    if deterministic and same_ranks and threads != placement.threads:
        log.warning(
            "the checkpoint was computed with %s per rank, this start uses %d: results will not be bit-identical; "
            "set train.threads",
            *(counted(threads, "thread"), placement.threads),
        )


def log_kept_weights(
    log: logging.Logger, config: RunConfig, entries: Sequence[Mapping[str, Any]], loss: float | None
) -> None:
    """Log which epoch's weights the run ends with.

    Args:
        entries: of its history.
        loss: the best validation loss on the windows of now; the history has it on those before the store grew.
    """
    losses = [entry for entry in entries if entry["kind"] == "validation" and entry.get("loss") is not None]
    best = next((entry for entry in reversed(losses) if entry.get("best")), None)
    if config.sync.cluster:
        log.info("the model has the weights of the last round of the clusters")
    elif config.train.restore_best and best is not None:
        log.info(
            "the model has the weights of epoch %d, with the best validation loss: %.6g",
            best["epoch"],
            best["loss"] if loss is None else loss,
        )
    else:
        log.info("the model has the weights of the last step")


def diverged(world: World, progress: Progress) -> HpcLstmError:
    """What all ranks raise when their mean loss is not finite."""
    return world.on_all_ranks(
        HpcLstmError(
            f"the loss is not finite at step {progress.step}: training has diverged; "
            "lower train.learning_rate, or set train.clip_norm = 1.0"
        )
    )


def stopped_before_training(world: World) -> StopRequested:
    """What all ranks raise when they are asked to stop before they have started to train."""
    return world.on_all_ranks(
        StopRequested(
            "stopped while waiting for other clusters; run the same command with --resume to continue"
        )
    )


def stop_signals(world: World) -> str:
    """The signals that asked ranks to stop, such as "SIGINT and SIGTERM", or ''; collective."""
    return " and ".join(sorted({name for name in world.allgather(world.stop_signal) if name}))


def stop_if_asked(world: World) -> None:
    """End a run that was asked to stop while its program started; collective.

    Raises:
        StopRequested: some rank was asked to stop; nothing of the run was changed.
    """
    signals = stop_signals(world)
    if signals:
        raise world.on_all_ranks(
            StopRequested(
                f"stopped by {signals} before the run began; nothing was changed; "
                "run the same command with --resume to train"
            )
        )


def stopped(world: World, progress: Progress) -> StopRequested:
    """What all ranks raise once the state of a run that was asked to stop is in a checkpoint; collective."""
    return world.on_all_ranks(
        StopRequested(
            f"stopped by {stop_signals(world)} at step {progress.step} with a checkpoint; "
            "run the same command with --resume to continue"
        )
    )
