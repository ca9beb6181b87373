"""The backends there are, and which one a run takes.

To add one: a file with what ``Backend`` asks for, and a line here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from hpc_lstm.config import TrainConfig
from hpc_lstm.errors import CudaError
from hpc_lstm.parallel.gpu import Gpu

if TYPE_CHECKING:
    from hpc_lstm.preprocess.backend import Backend

log = logging.getLogger(__name__)


def _host(rows_share: float) -> Backend:
    from hpc_lstm.preprocess.host_backend import HostBackend

    return HostBackend()


def _cuda(rows_share: float) -> Backend:
    from hpc_lstm.cuda.availability import cuda_problem

    if problem := cuda_problem():
        raise CudaError(problem)
    from hpc_lstm.preprocess.cuda_backend import CudaBackend

    return CudaBackend(rows_share)


BACKENDS: dict[str, Callable[[float], Backend]] = {"cuda": _cuda, "host": _host}


def create_backend(name: str, rows_share: float = 0.5) -> Backend:
    """The backend of a name in ``train.backend``.

    Every kernel is compiled and loaded here, so that what can go wrong goes wrong before the run begins.

    Args:
        name: "auto" is cuda where it can be used; the log says why if it is not.
        rows_share: of the GPU's free memory that the rows of a slice may take.

    Raises:
        CudaError: "cuda" cannot be used here.
    """
    try:
        return BACKENDS["cuda" if name == "auto" else name](rows_share)
    except CudaError as error:
        if name != "auto":
            raise CudaError(f'train.backend = "{name}": {error}; or set train.backend = "host"') from None
        log.info("backend host, not cuda: %s", error)
    return BACKENDS["host"](rows_share)


def backend_for_training(settings: TrainConfig, gpu: Gpu | None, *, device_batches: bool) -> Backend:
    """The backend for a run of training.

    Args:
        device_batches: the engine reads batches in GPU memory; otherwise "auto" is host.

    Raises:
        CudaError: see ``create_backend``.
    """
    name = "host" if settings.backend == "auto" and not device_batches else settings.backend
    return create_backend(name, gpu_rows_share(settings, gpu))


def gpu_rows_share(settings: TrainConfig, gpu: Gpu | None) -> float:
    """The share of a GPU's free memory for the rows of this rank, one of those on it."""
    return settings.gpu_rows_share / (gpu.sharers if gpu else 1)
