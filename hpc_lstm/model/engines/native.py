"""The engine in C for CPUs: the network's loss and gradient by kernels/lstm.c.

Network, order of the parameters and mathematics are the Keras engine's; it is several times as fast
(``benchmarks/engines.py``).
"""

from __future__ import annotations

import os
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from hpc_lstm.config import ModelConfig, RunConfig
from hpc_lstm.errors import InputError
from hpc_lstm.model.engines import native_kernels
from hpc_lstm.model.engines.calls import steps_per_call
from hpc_lstm.model.engines.head import Head
from hpc_lstm.model.engines.native_workers import Workers
from hpc_lstm.model.engines.network_math import NetworkMath, TrainBatch, Vectors
from hpc_lstm.model.initial_weights import initial_weights
from hpc_lstm.model.optimizers.registry import create_optimizer
from hpc_lstm.model.parameters import network_schema
from hpc_lstm.native.compiler import NoCompiler
from hpc_lstm.parallel.gpu_discovery import installed_gpus

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from hpc_lstm.model.engines.device_vector import DeviceVector
    from hpc_lstm.model.keras_file import SavedNetwork

MAX_LAYERS = 16


class NativeEngine:
    """Trains the network on this rank's CPU cores; see ``engine.Engine`` for its arguments and methods.

    The batch is split into one part for each thread. Results are bit-identical for the same number of threads,
    processor and compiler. A dropout mask depends on seed, rank, step, layer, unit, row and the window's index in the
    batch alone.

    Raises:
        InputError: the engine cannot train this network, or its kernels are not there for this processor.
    """

    name: ClassVar[str] = "fused"
    arithmetic: ClassVar[str] = "fused"
    reads_device_batches: ClassVar[bool] = False
    cuts_windows: ClassVar[bool] = False
    asynchronous: ClassVar[bool] = False
    averages_within_calls: ClassVar[bool] = False

    def __init__(self, config: RunConfig, *, rank: int = 0, threads: int = 0) -> None:
        if problem := unsupported(config):
            raise InputError(f'train.engine: "fused" {problem}; use "auto"')
        train, window, features = config.train, config.data.window, len(config.data.features)
        self._head = Head.of(config)
        self._math = self.network_math(
            config.model, window, features, self._head, threads or len(os.sched_getaffinity(0))
        )
        self._window_shape = window, features
        self._config = config.model
        self.schema = network_schema(config.model, features, self._head.outputs)
        self._flat = initial_weights(self.schema, train.seed)
        self._gradient = np.empty_like(self._flat)
        self._optimizer = create_optimizer(train.optimizer, train.model_dump())
        self._moments = np.zeros(len(self._optimizer.slots) * self.schema.length, np.float32)
        self._clip_norm, self._step_count = train.clip_norm, 0
        self._dropout_key = int(np.random.SeedSequence([train.seed, rank]).generate_state(1)[0])
        self.steps_per_call = steps_per_call(train.batch_size, window, features)

    @staticmethod
    def network_math(model: ModelConfig, window: int, features: int, head: Head, threads: int) -> NetworkMath:
        """What computes a network.

        Raises:
            NoCompiler: there is no build of the kernels for this processor, and no C compiler.
        """
        sizes = native_kernels.NetworkSizes(
            *(model.layers, model.units, features, window, model.dropout, head.outputs, head.targets)
        )
        return Workers(native_kernels.Kernels(native_kernels.load_kernels(), sizes, head.loss), threads)

    @staticmethod
    def problem(config: RunConfig, *, threads: int, auto: bool) -> str:
        if auto and installed_gpus():
            from hpc_lstm.model.engines.tensorflow_runtime import keras_has_gpu

            if keras_has_gpu(threads, config.train.deterministic):
                return "Keras trains on the GPU"
        try:
            native_kernels.load_kernels()
        except NoCompiler as error:
            return str(error)
        return unsupported(config)

    def step(self, inputs: Any, targets: Any, learning_rate: ArrayLike) -> float:
        inputs, targets = (np.ascontiguousarray(array, np.float32) for array in (inputs, targets))
        self._check_windows(inputs, 4)
        if targets.shape != (*inputs.shape[:2], self._head.targets):
            raise ValueError(f"targets of shape {targets.shape} for inputs of shape {inputs.shape}")
        rates = np.broadcast_to(np.asarray(learning_rate, np.float32), len(inputs))
        losses = [self._take_step(*one) for one in zip(inputs, targets, rates, strict=True)]
        return float(np.mean(losses))

    def parameters(self) -> np.ndarray:
        return self._flat.copy()

    def set_parameters(self, flat: np.ndarray) -> None:
        if np.shape(flat) != self._flat.shape:
            raise ValueError(f"weights of shape {self._flat.shape} expected, got {np.shape(flat)}")
        self._flat[:] = flat

    def moments(self) -> np.ndarray:
        return self._moments.copy()

    def set_moments(self, flat: np.ndarray) -> None:
        if np.shape(flat) != self._moments.shape:
            raise ValueError(f"moments of shape {self._moments.shape} expected, got {np.shape(flat)}")
        self._moments[:] = flat

    def device_vectors(self, *, moments: bool) -> list[DeviceVector]:
        return []

    def state(self) -> dict[str, np.ndarray]:
        return {"steps": np.asarray(self._step_count)}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        self._step_count = int(state["steps"])

    def predict(self, inputs: Any) -> np.ndarray:
        windows = np.ascontiguousarray(inputs, np.float32)
        self._check_windows(windows, 3)
        return self._math.forecast(self._flat, windows)

    def save(self, path: str | PathLike[str]) -> None:
        from hpc_lstm.model.keras_file import write_keras_file

        write_keras_file(path, self._config, *self._window_shape, self.schema.unflatten(self._flat))

    def _check_windows(self, windows: np.ndarray, axes: int) -> None:
        if windows.ndim != axes or windows.shape[-2:] != self._window_shape:
            raise ValueError(
                f"windows of {self._window_shape} rows and features expected, got {windows.shape}"
            )

    def _take_step(self, inputs: np.ndarray, targets: np.ndarray, rate: np.float32) -> float:
        """One optimizer step on a batch [B, T, F]; its mean loss."""
        keys = np.array([self._dropout_key, self._step_count % 2**32], np.uint32)
        loss = self._math.loss_and_gradient(self._flat, TrainBatch(inputs, targets, keys), self._gradient)
        if self._clip_norm > 0:
            norm = float(np.sqrt(np.square(self._gradient, dtype=np.float64).sum()))
            self._gradient *= np.float32(self._clip_norm / max(norm, self._clip_norm))
        self._step_count += 1
        vectors = Vectors(self._flat, self._moments, self._gradient)
        self._math.update(self._optimizer, vectors, float(rate), self._step_count)
        return loss


class NativeForecaster:
    """A trained network on this process's CPU cores; see ``engine.Forecaster``.

    Args:
        network: as a file holds it.
        threads: CPU threads; 0: all that this process may use.

    Raises:
        NoCompiler: there is no build of the kernels for this processor, and no C compiler.
    """

    engine: ClassVar[type[NativeEngine]] = NativeEngine

    def __init__(self, network: SavedNetwork, *, threads: int = 0) -> None:
        self.window, self.features, self._flat = network.window, network.features, network.flat
        self.outputs, head = network.outputs, Head.to_forecast(network.outputs)
        threads = threads or len(os.sched_getaffinity(0))
        self._math = self.engine.network_math(network.config, self.window, self.features, head, threads)
        self.shapes = network_schema(network.config, self.features, self.outputs).shapes

    def parameters(self) -> np.ndarray:
        """The weights, float32 [P]."""
        return self._flat.copy()

    def predict(self, inputs: Any) -> np.ndarray:
        """Outputs, float32 [n, O], of windows float32 [n, T, F]."""
        windows = np.ascontiguousarray(inputs, np.float32)
        if windows.ndim != 3 or windows.shape[1:] != (self.window, self.features):
            raise ValueError(f"windows of {(self.window, self.features)} expected, got {windows.shape}")
        return self._math.forecast(self._flat, windows)


def unsupported(config: RunConfig) -> str:
    """Why this engine cannot train what ``config`` describes on any machine, or ""."""
    if config.train.precision != "float32":
        return f'computes in float32, and train.precision is "{config.train.precision}"'
    if config.model.layers > MAX_LAYERS:
        return f"takes up to {MAX_LAYERS} layers, and model.layers is {config.model.layers}"
    return ""
