"""The functions of kernels/lstm.c, called with NumPy arrays."""

from __future__ import annotations

import ctypes

import numpy as np

from hpc_lstm.model.engines.network_math import Vectors
from hpc_lstm.model.losses.loss import Loss
from hpc_lstm.model.losses.mse import MeanSquaredError
from hpc_lstm.model.optimizers.optimizer import Optimizer
from hpc_lstm.native.library import load_library

# Windows computed together, measured: whole tiles on all processors, and their trace stays in the last level of the
# cache. Fewer if their workspace would be larger than this.
BLOCK_WINDOWS = 24
WORKSPACE_BYTES = 256 * 2**20
# Bytes of a cache line.
ALIGNMENT = 64


class NetworkSizes(ctypes.Structure):
    """``struct network`` of kernels/lstm.c."""

    _fields_ = [
        ("layers", ctypes.c_int32),
        ("units", ctypes.c_int32),
        ("features", ctypes.c_int32),
        ("rows", ctypes.c_int32),
        ("dropout", ctypes.c_float),
        ("outputs", ctypes.c_int32),
        ("targets", ctypes.c_int32),
    ]


def load_kernels() -> ctypes.CDLL:
    """The compiled kernels/lstm.c, checked on a small forecast.

    Raises:
        NoCompiler: there is no build of it for this processor, and it cannot be compiled here.
    """
    return load_library("lstm", _forecasts_right)


def _forecasts_right(library: ctypes.CDLL) -> bool:
    """Whether a library computes what the source says: a compiler's default may be another arithmetic."""
    kernels = Kernels(library, NetworkSizes(1, 1, 1, 2, 0.0, 1, 1), MeanSquaredError())
    weights = np.array([0.3, -1.2, 0.7, 2.0, 0.5, 0.9, -0.4, 0.1, 0.2, 1.0, -0.3, 0.6, 1.5, 0.25], np.float32)
    windows, outputs = np.array([[[0.8], [-0.6]], [[30.0], [1e-3]]], np.float32), np.empty((2, 1), np.float32)
    packed = kernels.empty_packed()
    kernels.pack(weights, packed)
    Worker(kernels).forecast(packed, windows, outputs)
    # The same forecast in float64: one layer of one unit.
    kernel, recurrent, bias = weights[:12].astype(float).reshape(3, 4)
    h = c = np.zeros(2)
    for x in windows[:, :, 0].T.astype(float):
        logits = np.outer(x, kernel) + np.outer(h, recurrent) + bias
        i, f, _, o = 1 / (1 + np.exp(-logits.T))
        c = f * c + i * np.tanh(logits[:, 2])
        h = o * np.tanh(c)
    return np.allclose(outputs[:, 0], h * weights[12] + weights[13], rtol=0, atol=1e-5)


class Kernels:
    """The functions of kernels/lstm.c for one network.

    Args:
        loss: that it is trained with.
    """

    def __init__(self, library: ctypes.CDLL, net: NetworkSizes, loss: Loss) -> None:
        size, pointer, number = ctypes.c_int64, ctypes.c_void_p, ctypes.c_float
        for name, result, arguments in (
            ("packed_size", size, [pointer]),
            ("gradient_size", size, [pointer]),
            ("workspace_size", size, [pointer, size]),
            ("pack", None, [pointer] * 3),
            ("sum_gradients", None, [pointer, pointer, ctypes.c_int32, number, pointer]),
            ("loss", ctypes.c_double, [pointer] * 6 + [size] * 3 + [pointer] * 3),
            ("forecast", None, [pointer] * 3 + [size] * 2 + [pointer] * 2),
        ):
            function = getattr(library, f"lstm_{name}")
            function.restype, function.argtypes = result, arguments
        self.library, self.net, self.outputs = library, ctypes.byref(net), net.outputs
        self.loss = ctypes.cast(getattr(library, f"loss_{loss.kernel}"), pointer)
        self.loss_constants = np.array(loss.constants or (0.0,), np.float32)

    def empty_packed(self) -> np.ndarray:
        """An array for packed weights."""
        return aligned_zeros(self.library.lstm_packed_size(self.net))

    def pack(self, flat: np.ndarray, packed: np.ndarray) -> None:
        """Copy weights [P] into the order that the products read them in."""
        self.library.lstm_pack(self.net, flat.ctypes.data, packed.ctypes.data)

    def sum_gradients(self, workers: list[Worker], scale: float, gradient: np.ndarray) -> None:
        """The sum of the workers' gradients, times ``scale``, into ``gradient`` [P]."""
        addresses = (ctypes.c_void_p * len(workers))(*(worker.gradient.ctypes.data for worker in workers))
        self.library.lstm_sum_gradients(self.net, addresses, len(workers), scale, gradient.ctypes.data)

    def update(self, optimizer: Optimizer, vectors: Vectors, rate: float, step: int) -> None:
        """Take an optimizer's step in place, in C if it has a kernel; see ``Optimizer.update``."""
        if not optimizer.kernel:
            optimizer.update(*vectors, rate, step)
            return
        function = getattr(self.library, f"lstm_{optimizer.kernel}")
        function.restype, function.argtypes = None, [ctypes.c_int64] + [ctypes.c_void_p] * 4
        constants = np.array(optimizer.kernel_constants(rate, step), np.float32)
        function(len(vectors.weights), *(vector.ctypes.data for vector in (*vectors, constants)))


class Worker:
    """One thread's gradient and workspace."""

    def __init__(self, kernels: Kernels) -> None:
        self._kernels = kernels
        self.gradient = aligned_zeros(kernels.library.lstm_gradient_size(kernels.net))
        window_bytes = 4 * kernels.library.lstm_workspace_size(kernels.net, 1)
        self._block_windows = max(1, min(BLOCK_WINDOWS, WORKSPACE_BYTES // window_bytes))
        self._workspace = aligned_zeros(kernels.library.lstm_workspace_size(kernels.net, self._block_windows))

    def loss(
        self, packed: np.ndarray, inputs: np.ndarray, targets: np.ndarray, first: int, keys: np.ndarray
    ) -> float:
        """The sum of the losses of some windows; its gradient goes into ``self.gradient``.

        Args:
            packed: the weights, by ``Kernels.pack``.
            inputs, targets: [n, T, F] and [n, K].
            first: index in the batch of the first window.
            keys: uint32 [2] that the dropout masks depend on.
        """
        kernels = self._kernels
        return kernels.library.lstm_loss(
            *(kernels.net, kernels.loss, kernels.loss_constants.ctypes.data),
            *(packed.ctypes.data, inputs.ctypes.data, targets.ctypes.data),
            *(len(inputs), first, self._block_windows),
            *(keys.ctypes.data, self._workspace.ctypes.data, self.gradient.ctypes.data),
        )

    def forecast(self, packed: np.ndarray, inputs: np.ndarray, outputs: np.ndarray) -> float:
        """Outputs of the network for windows [n, T, F], into ``outputs`` [n, O]; returns 0."""
        self._kernels.library.lstm_forecast(
            self._kernels.net,
            *(packed.ctypes.data, inputs.ctypes.data, len(inputs), self._block_windows),
            *(self._workspace.ctypes.data, outputs.ctypes.data),
        )
        return 0.0


def aligned_zeros(length: int) -> np.ndarray:
    """Float32 zeros [length] that begin at a cache line."""
    memory = np.zeros(length + ALIGNMENT // 4, np.float32)
    start = -(memory.ctypes.data // 4) % (ALIGNMENT // 4)
    return memory[start : start + length]
