"""The functions of kernels/lstm.c as Python calls them, on NumPy's arrays."""

from __future__ import annotations

import ctypes

import numpy as np

from hpc_lstm.model.optimizers import Adam
from hpc_lstm.native import compiler

# Windows that are computed together, measured: whole tiles on all processors, and what is remembered of them stays
# in the last level of the cache. Fewer where they would take more than this.
AT_ONCE = 24
WORKSPACE_BYTES = 256 * 2**20
# Bytes of a line of the cache.
ALIGNMENT = 64


class Network(ctypes.Structure):
    """``struct network`` of kernels/lstm.c."""

    _fields_ = [
        ("layers", ctypes.c_int32),
        ("units", ctypes.c_int32),
        ("features", ctypes.c_int32),
        ("rows", ctypes.c_int32),
        ("dropout", ctypes.c_float),
    ]


def library() -> ctypes.CDLL:
    """The functions of kernels/lstm.c, tried out.

    Raises:
        NoCompiler: they cannot be compiled, or compute something else than what is written.
    """
    found = compiler.library("lstm")
    kernels = Kernels(found, Network(1, 1, 1, 2, 0.0))
    weights = np.array([0.3, -1.2, 0.7, 2.0, 0.5, 0.9, -0.4, 0.1, 0.2, 1.0, -0.3, 0.6, 1.5, 0.25], np.float32)
    windows, outputs = np.array([[[0.8], [-0.6]], [[30.0], [1e-3]]], np.float32), np.empty(2, np.float32)
    packed = kernels.packed()
    kernels.pack(weights, packed)
    Worker(kernels).forecast(packed, windows, outputs)
    kernel, recurrent, bias = weights[:12].astype(float).reshape(3, 4)
    h = c = np.zeros(2)
    for x in windows[:, :, 0].T.astype(float):
        sums = np.outer(x, kernel) + np.outer(h, recurrent) + bias
        i, f, _, o = 1 / (1 + np.exp(-sums.T))
        c = f * c + i * np.tanh(sums[:, 2])
        h = o * np.tanh(c)
    if not np.allclose(outputs, h * weights[12] + weights[13], rtol=0, atol=1e-5):
        raise compiler.NoCompiler(
            "the C compiler's code computes something else; name another compiler in CC"
        )
    return found


class Kernels:
    """The functions of kernels/lstm.c for one network."""

    def __init__(self, library: ctypes.CDLL, net: Network) -> None:
        size, pointer, number = ctypes.c_int64, ctypes.c_void_p, ctypes.c_float
        for name, result, arguments in (
            ("packed_size", size, [pointer]),
            ("gradient_size", size, [pointer]),
            ("workspace_size", size, [pointer, size]),
            ("pack", None, [pointer] * 3),
            ("collect", None, [pointer, pointer, ctypes.c_int32, number, pointer]),
            ("error", ctypes.c_double, [pointer] * 4 + [size] * 3 + [pointer] * 3),
            ("forecast", None, [pointer] * 3 + [size] * 2 + [pointer] * 2),
            ("adam", None, [size] + [pointer] * 4 + [number] * 4),
        ):
            function = getattr(library, f"lstm_{name}")
            function.restype, function.argtypes = result, arguments
        self.library, self.net = library, ctypes.byref(net)

    def packed(self) -> np.ndarray:
        """Room for packed weights."""
        return aligned(self.library.lstm_packed_size(self.net))

    def pack(self, flat: np.ndarray, packed: np.ndarray) -> None:
        """Put weights [P] where the products read them."""
        self.library.lstm_pack(self.net, flat.ctypes.data, packed.ctypes.data)

    def collect(self, workers: list[Worker], scale: float, gradient: np.ndarray) -> None:
        """The sum of the workers' gradients, times ``scale``, into ``gradient`` [P]."""
        each = (ctypes.c_void_p * len(workers))(*(worker.gradient.ctypes.data for worker in workers))
        self.library.lstm_collect(self.net, each, len(workers), scale, gradient.ctypes.data)

    def adam(
        self, flat: np.ndarray, moments: np.ndarray, gradient: np.ndarray, rate: float, step: int
    ) -> None:
        """Adam's step number ``step``, from 1, as ``optimizers.Adam`` takes it."""
        length = len(flat)
        rate *= (1 - Adam.BETA_2**step) ** 0.5 / (1 - Adam.BETA_1**step)
        vectors = (flat, moments[:length], moments[length:], gradient)
        addresses = (vector.ctypes.data for vector in vectors)
        self.library.lstm_adam(length, *addresses, rate, 1 - Adam.BETA_1, 1 - Adam.BETA_2, Adam.EPSILON)


class Worker:
    """A thread's own memory."""

    def __init__(self, kernels: Kernels) -> None:
        self._kernels = kernels
        self.gradient = aligned(kernels.library.lstm_gradient_size(kernels.net))
        one = 4 * kernels.library.lstm_workspace_size(kernels.net, 1)
        self._at_once = max(1, min(AT_ONCE, WORKSPACE_BYTES // one))
        self._workspace = aligned(kernels.library.lstm_workspace_size(kernels.net, self._at_once))

    def error(
        self, packed: np.ndarray, inputs: np.ndarray, targets: np.ndarray, first: int, keys: np.ndarray
    ) -> float:
        """The sum of the squared errors of some windows, the first of which is number ``first`` of the batch."""
        return self._kernels.library.lstm_error(
            self._kernels.net,
            *(packed.ctypes.data, inputs.ctypes.data, targets.ctypes.data),
            *(len(inputs), first, self._at_once),
            *(keys.ctypes.data, self._workspace.ctypes.data, self.gradient.ctypes.data),
        )

    def forecast(self, packed: np.ndarray, inputs: np.ndarray, outputs: np.ndarray) -> float:
        """Forecasts of some windows, into ``outputs``."""
        self._kernels.library.lstm_forecast(
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
