"""The learning rate over a run."""

from __future__ import annotations

import math

import numpy as np

from hpc_lstm.config import TrainConfig
from hpc_lstm.training.schedule import Progress, Schedule


def learning_rate(config: TrainConfig, progress: float) -> float:
    """The learning rate at ``progress``.

    It rises linearly from 0 to its peak over ``config.warmup`` epochs, then stays there ("constant") or falls
    along half a cosine to 0 at ``config.epochs`` ("cosine"; Loshchilov and Hutter 2017, without restarts).

    Args:
        progress: epochs done, with their fraction: 0 to ``config.epochs``. The rate so does not depend on the
            number of ranks.
    """
    if progress < config.warmup:
        return config.learning_rate * progress / config.warmup
    if config.schedule == "constant":
        return config.learning_rate
    falling = config.epochs - config.warmup
    done = min(1.0, (progress - config.warmup) / falling) if falling > 0 else 0.0  # the run ends at its peak
    return config.learning_rate * 0.5 * (1.0 + math.cos(math.pi * done))


def learning_rates(config: TrainConfig, schedule: Schedule, at: Progress, count: int) -> np.ndarray:
    """The learning rate of each of the ``count`` steps that follow, float32 [count]."""
    done = schedule.epochs_done(at)
    ahead = np.arange(count) / schedule.steps_per_epoch
    with np.errstate(over="ignore"):  # what is infinite in float32 makes the loss so, which is told
        return np.array([learning_rate(config, done + epochs) for epochs in ahead], np.float32)
