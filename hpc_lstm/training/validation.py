"""Validation after an epoch: the model of all ranks on all validation windows."""

from __future__ import annotations

import math

import numpy as np

from hpc_lstm.model.engines.head import Head
from hpc_lstm.model.losses.mse import MeanSquaredError
from hpc_lstm.training.outputs import Outputs
from hpc_lstm.training.setup import Run
from hpc_lstm.training.state import TrainState

# Windows that are forecast in one call on processors; on a GPU, where calls are waited for, what fills this memory.
BATCH_SIZE = 1024
CALL_BYTES = 64 * 2**20


def validate(run: Run, state: TrainState, outputs: Outputs) -> None:
    """Measure the mean of all ranks' weights on the validation windows, and keep it if it is the best; collective."""
    total = run.data.index.total("validation")
    train_loss, seconds = outputs.epoch.finish()
    epoch = f"epoch {state.progress.epoch} of {run.config.train.epochs}"
    if not math.isnan(train_loss):
        epoch += f"  train loss {train_loss:.6g}"
    if not total:
        run.log.info("%s  %.1f s", epoch, seconds)
        return
    with run.timeline.span("evaluate"):
        own = run.engine.parameters()
        # Ranks that never average hold different weights: what they would end with is measured.
        weights = own if run.schedule.averages_at_epoch_end else run.averager.mean_of(own)
        run.engine.set_parameters(weights)
        loss = loss_sum(run) / total
        run.engine.set_parameters(own)
    progress = state.progress
    best = state.early_stopping.update(loss, progress.step, weights)
    outputs.history.validation(
        step=progress.step, epoch=progress.epoch, loss=loss, best=best, elapsed_s=run.timeline.wall_s
    )
    run.log.info("%s  validation loss %.6g  %.1f s%s", epoch, loss, seconds, "  best so far" if best else "")


def loss_sum(run: Run) -> float:
    """The sum of the engine's losses on all ranks' validation windows; collective."""
    windows, head = run.data.validation, Head.of(run.config)
    batch, total = BATCH_SIZE, 0.0
    if run.engine.asynchronous:
        batch = max(batch, CALL_BYTES // (4 * windows.window * windows.features))
    for start in range(0, len(windows), batch):
        inputs, targets = windows.batch(np.arange(start, min(start + batch, len(windows))))
        outputs = run.engine.predict(inputs)
        if isinstance(head.loss, MeanSquaredError):  # where the outputs are, without copying them
            total += windows.squared_error(outputs, targets) / head.targets
        else:
            total += head.loss_sum(np.asarray(outputs), np.asarray(targets))
    return float(run.world.allreduce_sum(np.array([total]))[0])
