"""A trained run, opened from its directory: settings, scaling and network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hpc_lstm.clusters.run_owner import require
from hpc_lstm.config import RunConfig
from hpc_lstm.errors import InputError
from hpc_lstm.model.engines.forecaster_choice import AUTO, Workload, choose_gpu, load_gpu_forecaster
from hpc_lstm.parallel.world import World
from hpc_lstm.runs.directory import RunDirectory, at

if TYPE_CHECKING:
    from hpc_lstm.evaluation.intervals import Intervals
    from hpc_lstm.model.engines.head import Head
    from hpc_lstm.preprocess.scaler import Scaler


@dataclass(frozen=True)
class TrainedRun:
    """What forecasts are made with.

    Attributes:
        scaler: the scaling that was fitted on the run's train rows.
        predict: scaled inputs float32 [B, window, features] to outputs float32 [B, O].
        intervals: how outputs become intervals.
    """

    files: RunDirectory
    config: RunConfig
    scaler: Scaler
    predict: Callable[[np.ndarray], np.ndarray]
    intervals: Intervals

    @property
    def head(self) -> Head:
        """What the outputs mean."""
        from hpc_lstm.model.engines.head import Head

        return Head.of(self.config)


def on_fastest_device(trained: TrainedRun, work: Workload, world: World, device: str = AUTO) -> TrainedRun:
    """The same run, whose network is computed on the GPU where so much work is then done earlier; collective.

    Args:
        device: "auto", or "cpu" or "gpu" whatever the work.

    Raises:
        InputError: "gpu" is asked for, and on some rank it cannot be used; on all ranks.
    """
    if not choose_gpu(trained.config, work, device, world):
        return trained
    from hpc_lstm.model.keras_file import read_keras_file

    network = world.raise_on_all(lambda: read_keras_file(trained.files.model))
    forecaster = load_gpu_forecaster(network, device, world)
    return trained if forecaster is None else replace(trained, predict=forecaster.predict)


def open_run(run_dir: str | Path, threads: int = 1) -> TrainedRun:
    """Open a completed run.

    Args:
        threads: CPU threads of the network.

    Raises:
        InputError: no run directory, a run that was not completed, or a damaged file in it.
    """
    from hpc_lstm.evaluation.intervals import read_intervals
    from hpc_lstm.model.engines.head import Head
    from hpc_lstm.model.engines.registry import load_forecaster
    from hpc_lstm.preprocess.scaler import Scaler

    files = at(run_dir)
    config = files.load_config()
    scaler = Scaler.load(require(files, files.scaler))
    path = require(files, files.model)
    network = load_forecaster(path, threads=threads)
    head = Head.of(config)
    expected = (config.data.window, len(config.data.features), head.outputs)
    found = (network.window, network.features, network.outputs)
    if found != expected:
        window, features, outputs = found
        raise InputError(
            f"{path}: takes windows of {window} rows and {features} features and gives {outputs} outputs, but the "
            f"run's config.toml says {', '.join(map(str, expected))}: the files belong to different runs"
        )
    intervals = read_intervals(files, head, config.forecast)
    return TrainedRun(files, config, scaler, network.predict, intervals)
