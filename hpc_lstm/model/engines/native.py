"""The engine of our own for CPUs: the network's loss and gradient by one C function, kernels/lstm.c.

Same network, initial weights, order of the parameters and mathematics as the Keras engine's; several times as fast
(``benchmarks/engines.py``). Keras makes the initial weights and writes the model.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hpc_lstm.config import RunConfig
from hpc_lstm.errors import InputError
from hpc_lstm.model import network
from hpc_lstm.model.engines import native_kernels, tensorflow_runtime
from hpc_lstm.model.engines.device_vector import DeviceVector
from hpc_lstm.model.engines.keras import steps_per_call
from hpc_lstm.model.parameters import schema
from hpc_lstm.native import compiler

MAX_LAYERS = 16
# Windows below which a part of a batch is not worth a thread of its own.
LEAST_PART = 6


class FusedEngine:
    """Trains the network on this rank's CPU cores; see ``engine.Engine`` for what each method gives.

    The batch is cut into a part for each thread. Bits are the same for the same number of threads, processor and
    compiler. Dropout masks depend on seed, rank, step, layer, unit, the window's place in the batch and its row alone.

    Args:
        config: its ``data``, ``model`` and ``train`` sections count.
        rank: of this process; moves the dropout masks.
        threads: CPU threads; 0: all that this process may use.

    Raises:
        InputError: the settings ask for what this engine cannot do, or there is no C compiler.
    """

    name = "fused"

    def __init__(self, config: RunConfig, *, rank: int = 0, threads: int = 0) -> None:
        if why := unsuited(config):
            raise InputError(f'train.engine: "fused" {why}; use "auto"')
        train, window, features = config.train, config.data.window, len(config.data.features)
        network_of_c = native_kernels.Network(
            config.model.layers, config.model.units, features, window, config.model.dropout
        )
        self._kernels = native_kernels.Kernels(native_kernels.library(), network_of_c)
        self._window = window, features
        threads = threads or len(os.sched_getaffinity(0))
        tensorflow_runtime.start(threads, train.deterministic)
        self._model = network.build(config.model, window, features, train.seed)
        self.schema = schema(config.model, features)
        self._flat = self.schema.flatten([v.value.numpy() for v in self._model.trainable_variables])
        self._gradient = np.empty_like(self._flat)
        self._moments = np.zeros(2 * self.schema.length if train.optimizer == "adam" else 0, np.float32)
        self._clip_norm, self._taken = train.clip_norm, 0
        self._dropout_key = int(np.random.SeedSequence([train.seed, rank]).generate_state(1)[0])
        self.steps_per_call = steps_per_call(train.batch_size, window, features)
        self._workers = [native_kernels.Worker(self._kernels) for _ in range(threads)]
        self._packed = self._kernels.packed()
        self._pool = ThreadPoolExecutor(threads - 1, "lstm") if threads > 1 else None

    def step(self, inputs: Any, targets: Any, learning_rate: ArrayLike) -> float:
        inputs, targets = (np.ascontiguousarray(array, np.float32) for array in (inputs, targets))
        self._check(inputs, 4)
        if targets.shape != (*inputs.shape[:2], 1):
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
        return {"steps": np.asarray(self._taken)}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        self._taken = int(state["steps"])

    def predict(self, inputs: Any) -> np.ndarray:
        windows = np.ascontiguousarray(inputs, np.float32)
        self._check(windows, 3)
        outputs = np.empty(len(windows), np.float32)
        self._kernels.pack(self._flat, self._packed)
        self._in_parts(
            lambda worker, start, stop: worker.forecast(
                self._packed, windows[start:stop], outputs[start:stop]
            ),
            len(windows),
        )
        return outputs

    def save(self, path: str | PathLike[str]) -> None:
        network.save(self._model, self.schema.unflatten(self._flat), path)

    def _check(self, windows: np.ndarray, axes: int) -> None:
        if windows.ndim != axes or windows.shape[-2:] != self._window:
            raise ValueError(f"windows of {self._window} rows and features expected, got {windows.shape}")

    def _take_step(self, inputs: np.ndarray, targets: np.ndarray, rate: np.float32) -> float:
        size = len(inputs)
        keys = np.array([self._dropout_key, self._taken % 2**32], np.uint32)
        self._kernels.pack(self._flat, self._packed)
        errors = self._in_parts(
            lambda worker, start, stop: worker.error(
                self._packed, inputs[start:stop], targets[start:stop], start, keys
            ),
            size,
        )
        self._kernels.collect(self._workers[: len(errors)], 1 / size, self._gradient)
        if self._clip_norm > 0:
            norm = float(np.sqrt(np.square(self._gradient, dtype=np.float64).sum()))
            self._gradient *= np.float32(self._clip_norm / max(norm, self._clip_norm))
        self._taken += 1
        if len(self._moments):
            self._kernels.adam(self._flat, self._moments, self._gradient, float(rate), self._taken)
        else:
            self._flat -= rate * self._gradient
        return sum(errors) / size

    def _in_parts(self, work: Callable[[native_kernels.Worker, int, int], float], size: int) -> list[float]:
        """What ``work`` gives for each part of ``size`` windows, from start to stop; the first in this thread."""
        parts = max(1, min(len(self._workers), size // LEAST_PART))
        bounds = [part * size // parts for part in range(parts + 1)]
        others: list[Future[float]] = []
        if self._pool is not None:
            for worker, start, stop in zip(self._workers[1:], bounds[1:], bounds[2:], strict=False):
                others.append(self._pool.submit(work, worker, start, stop))
        try:
            return [work(self._workers[0], 0, bounds[1]), *(other.result() for other in others)]
        finally:
            wait(others)  # whatever ends this call, nobody writes any more


def unsuited(config: RunConfig) -> str:
    """Why this engine cannot train what ``config`` describes, or ""."""
    if config.train.precision != "float32":
        return f'computes in float32, and train.precision is "{config.train.precision}"'
    if config.model.layers > MAX_LAYERS:
        return f"takes up to {MAX_LAYERS} layers, and model.layers is {config.model.layers}"
    return ""


def problem(config: RunConfig) -> str:
    """Why this engine cannot train what ``config`` describes on this machine, or ""."""
    try:
        native_kernels.library()
    except compiler.NoCompiler as error:
        return str(error)
    return unsuited(config)
