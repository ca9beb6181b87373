"""Sums over ranks of vectors that lie in GPU memory: by a CUDA-aware MPI, by NCCL, or through pinned host memory."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from typing import Protocol

from hpc_lstm.cuda.device import Device
from hpc_lstm.errors import ConfigError
from hpc_lstm.parallel.gpu import Gpu
from hpc_lstm.parallel.mpi_library import loaded_mpi_library
from hpc_lstm.parallel.pinned_allreduce import PinnedSum
from hpc_lstm.parallel.world import World

KEY = "average.transport"
# MPICH reads its switch under three names, and takes these words for off.
MPICH_SWITCHES = ("MPIR_CVAR_ENABLE_GPU", "MPIR_PARAM_ENABLE_GPU", "MPICH_ENABLE_GPU")
OFF = ("0", "no", "false", "off")
# MPIX_GPU_SUPPORT_CUDA of MPICH's mpi.h.
GPU_SUPPORT_CUDA = 0


class DeviceSum(Protocol):
    """Adds up a vector over all ranks, in place; collective."""

    def __call__(self, address: int, length: int) -> None:
        """The sum of float32 [length] at ``address`` over all ranks; there when it returns."""


def device_sum(
    transport: str, world: World, on_gpu: bool, device: Device | None, gpu: Gpu | None = None
) -> DeviceSum | None:
    """What averages weights on GPUs as ``average.transport`` says; None: the engine fetches them. Collective.

    Args:
        on_gpu: this rank's weights lie on a GPU.
        device: that GPU, where the backend drives it.
        gpu: the same as the ranks have shared them out; None: no other rank is on it.

    Raises:
        ConfigError: what is asked for cannot be had, on some rank.
    """
    if world.size == 1:
        return None
    everywhere = all(world.allgather(on_gpu))
    if transport in ("auto", "host"):
        aware = transport == "auto" and mpi_takes_device_memory(world.library)
        if all(world.allgather(aware)) and everywhere:
            return world.allreduce_device
        driven = all(world.allgather(device is not None))
        return PinnedSum(device, world) if device and driven and everywhere else None
    if not everywhere:
        raise world.on_all_ranks(
            ConfigError(
                f'{KEY} = "{transport}": the weights are not on a GPU on every rank; use "auto" or "host"'
            )
        )
    if transport == "mpi":
        if not all(world.allgather(mpi_takes_device_memory(world.library))):
            raise world.on_all_ranks(
                ConfigError(
                    f'{KEY} = "mpi": {world.library} does not take GPU memory here (is it built with CUDA, and '
                    'switched on?); use "auto", "host" or "nccl"'
                )
            )
        return world.allreduce_device
    from hpc_lstm.parallel.nccl import Nccl

    if max(world.allgather(gpu.sharers if gpu else 1)) > 1:
        raise world.on_all_ranks(
            ConfigError(
                f'{KEY} = "nccl": several ranks share a GPU, which NCCL refuses; use "auto" or "host"'
            )
        )
    return Nccl(world)


def mpi_takes_device_memory(library: str) -> bool:
    """True if the MPI library that this process has loaded says that it is CUDA-aware, and is not switched off.

    An MPI that does not answer is taken not to be.

    Args:
        library: its version, as ``World.library``.
    """
    if not switched_on(library, os.environ):
        return False
    path = loaded_mpi_library()  # opening it again gives the same
    if path is None:
        return False
    try:
        answers = answers_of(ctypes.CDLL(str(path)))
    except OSError:
        return False
    return bool(answers) and all(answers.values())


def switched_on(library: str, environment: Mapping[str, str]) -> bool:
    """False if the environment keeps this MPI from taking GPU memory, even where it is built to.

    Cray MPICH takes it only where MPICH_GPU_SUPPORT_ENABLED is 1, other MPICHs unless they are told not to.
    """
    if "CRAY MPICH" in library.upper():
        return environment.get("MPICH_GPU_SUPPORT_ENABLED") == "1"
    return all(environment.get(name, "1").strip().lower() not in OFF for name in MPICH_SWITCHES)


def answers_of(mpi: ctypes.CDLL) -> dict[str, bool]:
    """What an MPI library, after MPI_Init, says of CUDA, by the function that says it; empty if it has neither.

    Open MPI has the first, MPICH both.
    """
    answers = {}
    if hasattr(mpi, "MPIX_Query_cuda_support"):
        answers["MPIX_Query_cuda_support"] = bool(mpi.MPIX_Query_cuda_support())
    if hasattr(mpi, "MPIX_GPU_query_support"):
        supported = ctypes.c_int(0)
        failed = mpi.MPIX_GPU_query_support(GPU_SUPPORT_CUDA, ctypes.byref(supported))
        answers["MPIX_GPU_query_support"] = not failed and bool(supported.value)
    return answers
