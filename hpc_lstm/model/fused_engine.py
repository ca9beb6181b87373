"""The engine of our own for CPUs: the network's loss and gradient by one C function, kernels/lstm.c.

Same network, initial weights, order of the parameters and mathematics as the Keras engine's; several times as fast
(``benchmarks/engines.py``). Keras makes the initial weights and writes the model.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hpc_lstm.config import RunConfig
from hpc_lstm.errors import InputError
from hpc_lstm.model import native, network, tensorflow_runtime
from hpc_lstm.model.device_vector import DeviceVector
from hpc_lstm.model.keras_engine import steps_per_call
from hpc_lstm.model.optimizers import Adam
from hpc_lstm.model.parameters import schema

MAX_LAYERS = 16
# Windows that are computed together, measured: whole tiles on all processors, and what is remembered of them stays
# in the last level of the cache. Fewer where they would take more than this.
AT_ONCE = 24
WORKSPACE_BYTES = 256 * 2**20
# Windows below which a part of a batch is not worth a thread of its own.
LEAST_PART = 6
ALIGNMENT = 64


class _Network(ctypes.Structure):
    """``struct network`` of kernels/lstm.c."""

    _fields_ = [
        ("layers", ctypes.c_int32),
        ("units", ctypes.c_int32),
        ("features", ctypes.c_int32),
        ("rows", ctypes.c_int32),
        ("dropout", ctypes.c_float),
    ]


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
        network_of_c = _Network(
            config.model.layers, config.model.units, features, window, config.model.dropout
        )
        self._kernels = _Kernels(_library(), network_of_c)
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
        self._workers = [_Worker(self._kernels) for _ in range(threads)]
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

    def _in_parts(self, work: Callable[[_Worker, int, int], float], size: int) -> list[float]:
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
        _library()
    except native.NoCompiler as error:
        return str(error)
    return unsuited(config)


def _library() -> ctypes.CDLL:
    """The functions of kernels/lstm.c, tried out.

    Raises:
        NoCompiler: they cannot be compiled, or compute something else than what is written.
    """
    library = native.library("lstm")
    kernels = _Kernels(library, _Network(1, 1, 1, 2, 0.0))
    weights = np.array([0.3, -1.2, 0.7, 2.0, 0.5, 0.9, -0.4, 0.1, 0.2, 1.0, -0.3, 0.6, 1.5, 0.25], np.float32)
    windows, outputs = np.array([[[0.8], [-0.6]], [[30.0], [1e-3]]], np.float32), np.empty(2, np.float32)
    packed = kernels.packed()
    kernels.pack(weights, packed)
    _Worker(kernels).forecast(packed, windows, outputs)
    kernel, recurrent, bias = weights[:12].astype(float).reshape(3, 4)
    h = c = np.zeros(2)
    for x in windows[:, :, 0].T.astype(float):
        sums = np.outer(x, kernel) + np.outer(h, recurrent) + bias
        i, f, _, o = 1 / (1 + np.exp(-sums.T))
        c = f * c + i * np.tanh(sums[:, 2])
        h = o * np.tanh(c)
    if not np.allclose(outputs, h * weights[12] + weights[13], rtol=0, atol=1e-5):
        raise native.NoCompiler("the C compiler's code computes something else; name another compiler in CC")
    return library


class _Kernels:
    """The functions of kernels/lstm.c for one network."""

    def __init__(self, library: ctypes.CDLL, net: _Network) -> None:
        self._library, self.net = library, ctypes.byref(net)
        size, pointer, number = ctypes.c_int64, ctypes.c_void_p, ctypes.c_float
        for name, result, arguments in (
            ("packed_size", size, []),
            ("gradient_size", size, []),
            ("workspace_size", size, [size]),
            ("pack", None, [pointer, pointer]),
            ("collect", None, [pointer, ctypes.c_int32, number, pointer]),
            (
                "error",
                ctypes.c_double,
                [pointer, pointer, pointer, size, size, size, pointer, pointer, pointer],
            ),
            ("forecast", None, [pointer, pointer, size, size, pointer, pointer]),
        ):
            function = getattr(library, f"lstm_{name}")
            function.restype, function.argtypes = result, [pointer, *arguments]
            setattr(self, f"call_{name}", function)
        library.lstm_adam.restype = None
        library.lstm_adam.argtypes = [
            size,
            pointer,
            pointer,
            pointer,
            pointer,
            number,
            number,
            number,
            number,
        ]

    call_error: Any
    call_forecast: Any
    call_pack: Any
    call_collect: Any
    call_packed_size: Any
    call_gradient_size: Any
    call_workspace_size: Any

    def packed(self) -> np.ndarray:
        """Room for packed weights."""
        return aligned(self.call_packed_size(self.net))

    def pack(self, flat: np.ndarray, packed: np.ndarray) -> None:
        """Put weights [P] where the products read them."""
        self.call_pack(self.net, flat.ctypes.data, packed.ctypes.data)

    def collect(self, workers: list[_Worker], scale: float, gradient: np.ndarray) -> None:
        """The sum of the workers' gradients, times ``scale``, into ``gradient`` [P]."""
        each = (ctypes.c_void_p * len(workers))(*(worker.gradient.ctypes.data for worker in workers))
        self.call_collect(self.net, each, len(workers), scale, gradient.ctypes.data)

    def adam(
        self, flat: np.ndarray, moments: np.ndarray, gradient: np.ndarray, rate: float, step: int
    ) -> None:
        """Adam's step number ``step``, from 1, as ``optimizers.Adam`` takes it."""
        length = len(flat)
        rate *= (1 - Adam.BETA_2**step) ** 0.5 / (1 - Adam.BETA_1**step)
        vectors = (flat, moments[:length], moments[length:], gradient)
        addresses = (vector.ctypes.data for vector in vectors)
        self._library.lstm_adam(length, *addresses, rate, 1 - Adam.BETA_1, 1 - Adam.BETA_2, Adam.EPSILON)


class _Worker:
    """A thread's own memory."""

    def __init__(self, kernels: _Kernels) -> None:
        self._kernels = kernels
        self.gradient = aligned(kernels.call_gradient_size(kernels.net))
        one = 4 * kernels.call_workspace_size(kernels.net, 1)
        self._at_once = max(1, min(AT_ONCE, WORKSPACE_BYTES // one))
        self._workspace = aligned(kernels.call_workspace_size(kernels.net, self._at_once))

    def error(
        self, packed: np.ndarray, inputs: np.ndarray, targets: np.ndarray, first: int, keys: np.ndarray
    ) -> float:
        """The sum of the squared errors of some windows, the first of which is number ``first`` of the batch."""
        return self._kernels.call_error(
            self._kernels.net,
            *(packed.ctypes.data, inputs.ctypes.data, targets.ctypes.data),
            *(len(inputs), first, self._at_once),
            *(keys.ctypes.data, self._workspace.ctypes.data, self.gradient.ctypes.data),
        )

    def forecast(self, packed: np.ndarray, inputs: np.ndarray, outputs: np.ndarray) -> float:
        """Forecasts of some windows, into ``outputs``."""
        self._kernels.call_forecast(
            self._kernels.net,
            *(packed.ctypes.data, inputs.ctypes.data, len(inputs), self._at_once),
            *(self._workspace.ctypes.data, outputs.ctypes.data),
        )
        return 0.0


def aligned(length: int) -> np.ndarray:
    """Float32 zeros [length] that begin with a line of the cache."""
    room = np.zeros(length + ALIGNMENT // 4, np.float32)
    start = -(room.ctypes.data // 4) % (ALIGNMENT // 4)
    return room[start : start + length]
