"""Sums over ranks of vectors that lie in GPU memory: by a CUDA-aware MPI, or by NCCL."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Protocol

from hpc_lstm.errors import ConfigError
from hpc_lstm.world import World

KEY = "average.transport"


class DeviceSum(Protocol):
    """Adds up a vector over all ranks, in place; collective."""

    def __call__(self, address: int, length: int) -> None:
        """The sum of float32 [length] at ``address`` over all ranks; there when it returns."""


def device_sum(transport: str, world: World, on_gpu: bool) -> DeviceSum | None:
    """What averages weights on GPUs as ``average.transport`` says; None: through host memory. Collective.

    Args:
        on_gpu: this rank's weights lie on a GPU.

    Raises:
        ConfigError: what is asked for cannot be had, on some rank.
    """
    if transport == "host" or world.size == 1:
        return None
    everywhere = all(world.gather(on_gpu))
    if transport == "auto":
        aware = all(world.gather(mpi_takes_device_memory()))
        return world.sum_device if everywhere and aware else None
    if not everywhere:
        raise world.agreed(
            ConfigError(
                f'{KEY} = "{transport}": the weights are not on a GPU on every rank; use "auto" or "host"'
            )
        )
    if transport == "mpi":
        if not all(world.gather(mpi_takes_device_memory())):
            raise world.agreed(
                ConfigError(
                    f'{KEY} = "mpi": {world.library} does not take GPU memory here (is it built with CUDA, and '
                    'switched on?); use "auto", "host" or "nccl"'
                )
            )
        return world.sum_device
    from hpc_lstm.sync.nccl import Nccl

    if max(world.gather(world.gpu.sharers if world.gpu else 1)) > 1:
        raise world.agreed(
            ConfigError(
                f'{KEY} = "nccl": several ranks share a GPU, which NCCL refuses; use "auto" or "host"'
            )
        )
    return Nccl(world)


def mpi_takes_device_memory() -> bool:
    """True if the MPI library that this process has loaded says that it is CUDA-aware.

    Open MPI and MPICH both answer ``MPIX_Query_cuda_support``. Cray MPICH takes GPU memory only with
    MPICH_GPU_SUPPORT_ENABLED = 1. An MPI that does not answer is taken not to be.
    """
    if (
        os.environ.get("MPICH_GPU_SUPPORT_ENABLED", "1") == "0"
        or os.environ.get("MPIR_CVAR_ENABLE_GPU") == "0"
    ):
        return False
    library = _mpi_library()
    if library is None:
        return False
    try:
        query = ctypes.CDLL(str(library)).MPIX_Query_cuda_support
    except (OSError, AttributeError):
        return False
    return bool(query())


def _mpi_library() -> Path | None:
    """The libmpi that is loaded; opening it again gives the same."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return None
    paths = (Path(fields[5]) for line in lines if len(fields := line.split(None, 5)) == 6)
    return next(
        (path for path in paths if path.name.startswith(("libmpi.", "libmpi_cray.", "libmpich."))), None
    )
