"""The engine in NumPy for processors that nothing compiles for: right, and slow.

It computes by ``model/reference.py``, in float64; dropout masks are those of the C engine.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from hpc_lstm.config import ModelConfig, RunConfig
from hpc_lstm.model.engines.head import Head
from hpc_lstm.model.engines.native import NativeEngine, NativeForecaster, unsupported
from hpc_lstm.model.engines.network_math import NetworkMath, TrainBatch, Vectors
from hpc_lstm.model.optimizers.optimizer import Optimizer
from hpc_lstm.model.parameters import network_schema
from hpc_lstm.model.reference import forecasts, loss_and_gradient, masks

# Windows forecast together: all that their layers compute is in memory.
FORECAST_WINDOWS = 256


class NumpyMath(NetworkMath):
    """One network in NumPy."""

    def __init__(self, model: ModelConfig, window: int, features: int, head: Head) -> None:
        self._model, self._window, self._loss = model, window, head.loss
        self._schema = network_schema(model, features, head.outputs)

    def loss_and_gradient(self, flat: np.ndarray, batch: TrainBatch, gradient: np.ndarray) -> float:
        inputs, targets, keys = batch
        model, key = self._model, (int(keys[0]), int(keys[1]))
        drops = [
            masks(key, model.dropout, layer, len(inputs), self._window, model.units)
            for layer in range(model.layers)
        ]
        loss, gradient[:] = loss_and_gradient(flat, self._schema, inputs, targets, drops, self._loss)
        return loss

    def update(self, optimizer: Optimizer, vectors: Vectors, rate: float, step: int) -> None:
        optimizer.update(*vectors, rate, step)

    def forecast(self, flat: np.ndarray, windows: np.ndarray) -> np.ndarray:
        found = np.empty((len(windows), *self._schema.shapes[-1]), np.float32)
        for start in range(0, len(windows), FORECAST_WINDOWS):
            part = slice(start, start + FORECAST_WINDOWS)
            found[part] = forecasts(flat, self._schema, windows[part])
        return found


class NumpyEngine(NativeEngine):
    """Trains the network by NumPy; see ``engine.Engine`` for its arguments and methods.

    Raises:
        InputError: the engine cannot train this network.
    """

    arithmetic: ClassVar[str] = "fused in NumPy"

    @staticmethod
    def network_math(model: ModelConfig, window: int, features: int, head: Head, threads: int) -> NumpyMath:
        return NumpyMath(model, window, features, head)

    @staticmethod
    def problem(config: RunConfig, *, threads: int, auto: bool) -> str:
        return unsupported(config)


class NumpyForecaster(NativeForecaster):
    """A trained network computed by NumPy; see ``engine.Forecaster``."""

    engine: ClassVar[type[NativeEngine]] = NumpyEngine
