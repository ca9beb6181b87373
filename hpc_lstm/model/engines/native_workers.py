"""A batch in parts on several threads, each with memory of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from hpc_lstm.model.engines.native_kernels import Kernels, Worker
from hpc_lstm.model.engines.network_math import NetworkMath, TrainBatch, Vectors
from hpc_lstm.model.optimizers.optimizer import Optimizer

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

# Windows below which a part of a batch is not worth a thread of its own.
MIN_PART = 6


class Workers(NetworkMath):
    """One network by the kernels, on some threads.

    The batch is split into one part for each; results are bit-identical for the same number of threads.
    """

    def __init__(self, kernels: Kernels, threads: int) -> None:
        self._kernels, self._packed = kernels, kernels.empty_packed()
        self._workers = [Worker(kernels) for _ in range(threads)]
        self._pool = _thread_pool(threads - 1) if threads > 1 else None

    def forecast(self, flat: np.ndarray, windows: np.ndarray) -> np.ndarray:
        outputs = np.empty((len(windows), self._kernels.outputs), np.float32)
        self._kernels.pack(flat, self._packed)
        self._in_parallel(
            lambda worker, start, stop: worker.forecast(
                self._packed, windows[start:stop], outputs[start:stop]
            ),
            len(windows),
        )
        return outputs

    def loss_and_gradient(self, flat: np.ndarray, batch: TrainBatch, gradient: np.ndarray) -> float:
        inputs, targets, keys = batch
        self._kernels.pack(flat, self._packed)
        losses = self._in_parallel(
            lambda worker, start, stop: worker.loss(
                self._packed, inputs[start:stop], targets[start:stop], start, keys
            ),
            len(inputs),
        )
        self._kernels.sum_gradients(self._workers[: len(losses)], 1 / len(inputs), gradient)
        return sum(losses) / len(inputs)

    def update(self, optimizer: Optimizer, vectors: Vectors, rate: float, step: int) -> None:
        self._kernels.update(optimizer, vectors, rate, step)

    def _in_parallel(self, work: Callable[[Worker, int, int], float], size: int) -> list[float]:
        """The results of ``work(worker, start, stop)`` for each part of ``size`` windows; the first in this thread."""
        parts = max(1, min(len(self._workers), size // MIN_PART))
        if self._pool is None or parts == 1:
            return [work(self._workers[0], 0, size)]
        from concurrent.futures import wait

        bounds = [part * size // parts for part in range(parts + 1)]
        others = [
            self._pool.submit(work, worker, start, stop)
            for worker, start, stop in zip(self._workers[1:], bounds[1:], bounds[2:], strict=False)
        ]
        try:
            return [work(self._workers[0], 0, bounds[1]), *(other.result() for other in others)]
        finally:
            wait(others)  # also after an error, no thread may still write into the arrays


def _thread_pool(threads: int) -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(threads, "lstm")
