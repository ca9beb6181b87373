"""All-reduce of vectors in GPU memory by a CUDA-aware MPI, and whether the MPI of this process is one."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from typing import ClassVar

from hpc_lstm.parallel.mpi_library import loaded_mpi_library
from hpc_lstm.parallel.world import World

# MPICH reads its switch under three names, and takes these words for off.
MPICH_SWITCHES = ("MPIR_CVAR_ENABLE_GPU", "MPIR_PARAM_ENABLE_GPU", "MPICH_ENABLE_GPU")
OFF = ("0", "no", "false", "off")
# MPIX_GPU_SUPPORT_CUDA of MPICH's mpi.h.
GPU_SUPPORT_CUDA = 0


class MpiAllreduce:
    """Sums float32 vectors in GPU memory over all ranks by MPI itself."""

    takes_stream: ClassVar[bool] = False
    can_be_recorded = False

    def __init__(self, world: World) -> None:
        self._world = world

    def allreduce_sum(self, address: int, length: int, stream: int | None = None) -> None:
        """Replace float32 [length] at a device address by its sum over all ranks; collective."""
        self._world.allreduce_device(address, length)

    def close(self, *, failed: bool) -> None:
        """Nothing is held."""


def mpi_takes_device_memory(library: str) -> bool:
    """True if the MPI library that this process has loaded reports that it is CUDA-aware, and is not switched off.

    An MPI that does not report it is taken not to be.

    Args:
        library: its version, as ``World.library``.
    """
    if not gpu_support_enabled(library, os.environ):
        return False
    path = loaded_mpi_library()
    if path is None:
        return False
    try:
        reports = cuda_support_reports(ctypes.CDLL(str(path)))
    except OSError:
        return False
    return bool(reports) and all(reports.values())


def gpu_support_enabled(library: str, environment: Mapping[str, str]) -> bool:
    """False if the environment keeps this MPI from taking GPU memory, even where it is built to.

    Cray MPICH takes it only where MPICH_GPU_SUPPORT_ENABLED is 1, other MPICHs unless it is switched off.
    """
    if "CRAY MPICH" in library.upper():
        return environment.get("MPICH_GPU_SUPPORT_ENABLED") == "1"
    return all(environment.get(name, "1").strip().lower() not in OFF for name in MPICH_SWITCHES)


def cuda_support_reports(mpi: ctypes.CDLL) -> dict[str, bool]:
    """What an MPI library, after MPI_Init, reports of its CUDA support, by function; empty if it has neither function.

    Open MPI has the first, MPICH both.
    """
    reports = {}
    if hasattr(mpi, "MPIX_Query_cuda_support"):
        reports["MPIX_Query_cuda_support"] = bool(mpi.MPIX_Query_cuda_support())
    if hasattr(mpi, "MPIX_GPU_query_support"):
        supported = ctypes.c_int(0)
        failed = mpi.MPIX_GPU_query_support(GPU_SUPPORT_CUDA, ctypes.byref(supported))
        reports["MPIX_GPU_query_support"] = not failed and bool(supported.value)
    return reports
