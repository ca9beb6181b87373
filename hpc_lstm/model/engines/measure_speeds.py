"""Measure how fast a GPU trains a network by each way that there is: what tables of speeds are made of.

Each way takes whole training steps on batches that lie in GPU memory, in several turns, whose median counts. One way is
measured after another: both at once may not fit the memory that each has in training.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from hpc_lstm.config import RunConfig
from hpc_lstm.cuda.device import Device
from hpc_lstm.errors import GpuMemoryError
from hpc_lstm.model.engine import Engine
from hpc_lstm.model.engines.cuda.choice import network_of, possible_plans
from hpc_lstm.model.engines.cuda.engine import CudaEngine
from hpc_lstm.model.engines.head import Head
from hpc_lstm.model.engines.speed_table import CHAINS, KERAS, TILES, Measurement

log = logging.getLogger(__name__)

TURNS, TURN_S = 3, 0.15
LONG_S = 1.0  # a call that takes longer is measured once


def measure_speeds(config: RunConfig, ways: Collection[str]) -> Measurement:
    """Training speeds of a network on this process's GPU.

    Args:
        config: its network and batch count.
        ways: those to measure; the Keras engine must have the GPU.

    Raises:
        CudaError: the GPU cannot be used.
    """
    device = Device()
    makers: dict[str, Callable[[], Engine]] = {
        CHAINS: lambda: CudaEngine(config, kernels=CHAINS),
        TILES: lambda: CudaEngine(config, kernels=TILES),
        KERAS: lambda: _keras_engine(config),
    }
    possible = (*possible_plans(config, device), KERAS)
    speeds = {
        way: _samples_per_s(way, make, config, device) if way in possible else None
        for way, make in makers.items()
        if way in ways
    }
    return Measurement(network_of(config), speeds)


class _Runner:
    """An engine with batches for it, warmed up."""

    def __init__(self, engine: Engine, config: RunConfig, device: Device) -> None:
        self._engine, self._count, self._batch = engine, engine.steps_per_call, config.train.batch_size
        random = np.random.default_rng(0)
        shape = (self._batch, config.data.window, len(config.data.features))
        # The same batch in every step of a call: what is in it does not matter.
        inputs = random.normal(size=shape).astype(np.float32)
        targets = random.normal(size=(self._batch, Head.of(config).targets)).astype(np.float32)
        self._inputs, self._targets = (
            device.to_device(np.broadcast_to(array, (self._count, *array.shape)), "batches to measure with")
            for array in (inputs, targets)
        )
        self._run(1)
        each = self._run(1)
        self._calls = max(1, round(TURN_S / each))
        self._once = self._rate(1, each) if each > LONG_S else None

    def samples_per_s(self) -> float:
        """Windows a second in one turn."""
        return self._once or self._rate(self._calls, self._run(self._calls))

    def _rate(self, calls: int, seconds: float) -> float:
        return calls * self._count * self._batch / seconds

    def _run(self, calls: int) -> float:
        """Seconds that so many calls take."""
        begin = time.perf_counter()
        loss: Any = None
        for _ in range(calls):
            loss = self._engine.step(self._inputs, self._targets, 1e-3)
        float(loss)  # waits for all of them
        return time.perf_counter() - begin


def _samples_per_s(way: str, make: Callable[[], Engine], config: RunConfig, device: Device) -> float | None:
    """Windows a second; None: the GPU's memory is too small, or TensorFlow refuses."""
    try:
        runner = _Runner(make(), config, device)
        return round(statistics.median(runner.samples_per_s() for _ in range(TURNS)), 1)
    except GpuMemoryError as error:
        log.info("%s: %s", way, error)
    except Exception as error:
        if way != KERAS:
            raise
        # TensorFlow has classes of its own for what it cannot do, its memory included.
        log.warning("the Keras engine is left out: %s", " ".join(str(error).split())[:200])
    return None


def _keras_engine(config: RunConfig) -> Engine:
    from hpc_lstm.model.engines.keras import KerasEngine

    return KerasEngine(config)
