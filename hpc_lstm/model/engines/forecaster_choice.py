"""Whether a trained network forecasts on CPUs or on the GPU: where it is estimated to finish earlier.

An estimate decides, not a measurement, so that the same command gives the same numbers again.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpc_lstm.config import RunConfig
from hpc_lstm.errors import CudaError, InputError
from hpc_lstm.parallel.gpu_discovery import ORDER, VISIBLE
from hpc_lstm.parallel.world import World

if TYPE_CHECKING:
    from hpc_lstm.model.engine import Forecaster
    from hpc_lstm.model.keras_file import SavedNetwork

log = logging.getLogger(__name__)

AUTO, CPU, GPU = DEVICES = ("auto", "cpu", "gpu")
# As measured on an H100 and 16 cores of its host (docs/performance.md): floating-point operations a second of a CPU
# thread, for windows one by one and for many at a time, and the fewest windows that are worth a thread of their own.
ONE_RATE, MANY_RATE, PART = 1e10, 4e10, 6
# Seconds until the GPU's first forecast, with kernels from the cache; of a call, and of a row of a layer in it;
# operations a second.
START_S, CALL_S, ROW_S, GPU_RATE = 0.7, 3e-4, 3e-6, 3e13


@dataclass(frozen=True)
class Workload:
    """What a rank is to forecast, the same on every rank.

    Attributes:
        windows: in all.
        batch: windows of a call.
        threads: CPU threads.
    """

    windows: int
    batch: int
    threads: int = 1


def choose_gpu(config: RunConfig, work: Workload, device: str, world: World) -> bool:
    """Whether to forecast on the GPU: as ``device`` says, with "auto" by the work; the same on every rank, collective.

    Args:
        config: of the run, whose network it is.
        device: one of ``DEVICES``.

    Raises:
        InputError: it is none; on all ranks.
    """
    if device not in DEVICES:
        raise world.on_all_ranks(InputError(f'device "{device}": must be {", ".join(DEVICES)}'))
    return device == GPU or (device == AUTO and world.bcast(gpu_saves_time(config, work)))


def gpu_saves_time(config: RunConfig, work: Workload) -> bool:
    """Whether a GPU is estimated to do the work earlier than the CPUs, its start included."""
    model, rows = config.model, config.data.window
    inputs = [len(config.data.features), *[model.units] * (model.layers - 1)]
    operations = 8 * rows * model.units * sum(width + model.units for width in inputs) * work.windows
    threads = max(1, min(work.threads, work.batch // PART))
    cpu_s = operations / (MANY_RATE * threads if work.batch >= PART else ONE_RATE)
    calls = math.ceil(work.windows / work.batch)
    gpu_s = START_S + calls * (CALL_S + ROW_S * rows * model.layers) + operations / GPU_RATE
    return gpu_s < cpu_s


def load_gpu_forecaster(network: SavedNetwork, device: str, world: World) -> Forecaster | None:
    """The network on this rank's GPU; None: some rank has none that can be used, which the log says; collective.

    Raises:
        InputError: the same, and ``device`` is "gpu"; on all ranks.
    """
    forecaster, own = _on_gpu(network, world)
    problem = next(filter(None, world.allgather(own)), "")
    if not problem:
        log.info("forecasts are computed on the GPU")
        return forecaster
    if device == GPU:
        raise world.on_all_ranks(InputError(f'device "{GPU}": {problem}; take "{AUTO}" or "{CPU}"'))
    log.info("forecasts are computed on CPUs, not on the GPU: %s", problem)
    return None


def _on_gpu(network: SavedNetwork, world: World) -> tuple[Forecaster | None, str]:
    """The forecaster on this rank's GPU, or why there is none; collective."""
    from hpc_lstm.parallel.gpu import assign_gpu

    with _same_environment(ORDER, VISIBLE):  # CUDA reads it once
        if assign_gpu(world) is None:
            return None, "there is no GPU"
        from hpc_lstm.cuda.availability import cuda_problem

        if problem := cuda_problem():
            return None, problem
        from hpc_lstm.model.engines.cuda.forecasts import CudaForecaster

        try:
            return CudaForecaster(network), ""
        except CudaError as error:
            return None, str(error)


@contextmanager
def _same_environment(*names: str) -> Iterator[None]:
    """Put variables back after the block: a program that forecasts may later start ranks, each with its GPU."""
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
