"""All-reduce of vectors in GPU memory by NCCL: https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/api.html."""

from __future__ import annotations

import ctypes
import importlib.util
import os
from contextlib import suppress
from ctypes import POINTER, byref, c_int, c_size_t, c_void_p
from pathlib import Path
from typing import ClassVar

from hpc_lstm.cuda.availability import NO_DRIVER
from hpc_lstm.cuda.driver import CudaDriver
from hpc_lstm.errors import ConfigError, CudaError
from hpc_lstm.native.shared_library import LibraryError, SharedLibrary
from hpc_lstm.parallel.world import World

LIBRARY = "libnccl.so.2"
FLOAT32, SUM = 7, 0  # ncclDataType_t, ncclRedOp_t
# From which on calls that are recorded in CUDA graphs may be mixed with others: 2.13, as ncclGetVersion writes it.
RECORDS_FROM = 21300
# Which forbid it where they are 0.
MIXING = ("NCCL_GRAPH_MIXING_SUPPORT", "NCCL_GRAPH_STREAM_ORDERING")
DEFAULT_STREAM = None  # CUDA's


class UniqueId(ctypes.Structure):
    """ncclUniqueId, which names a communicator before it is made."""

    _fields_ = [("internal", ctypes.c_byte * 128)]


class Nccl(SharedLibrary):
    """NCCL's functions.

    Raises:
        OSError: there is no such library.
    """

    functions: ClassVar = {
        "ncclGetVersion": (POINTER(c_int),),
        "ncclGetUniqueId": (POINTER(UniqueId),),
        "ncclCommInitRank": (POINTER(c_void_p), c_int, UniqueId, c_int),
        "ncclAllReduce": (c_void_p, c_void_p, c_size_t, c_int, c_int, c_void_p, c_void_p),
        "ncclCommDestroy": (c_void_p,),
        "ncclCommAbort": (c_void_p,),
    }
    error_string = "ncclGetErrorString"


class NcclAllreduce:
    """Sums float32 vectors in GPU memory over all ranks by NCCL, on the vectors' stream; creating it is collective.

    Raises:
        ConfigError: NCCL is not installed, on some rank.
        CudaError: there is no driver on some rank, or NCCL cannot connect the ranks' GPUs. The latter is raised on the
            rank that fails alone.
    """

    takes_stream: ClassVar[bool] = True

    def __init__(self, world: World) -> None:
        # What one rank alone may lack is settled before any rank waits for the others inside NCCL.
        self._nccl, self._driver = world.raise_on_all(lambda: (load_nccl(), load_driver()))
        self.can_be_recorded = all(world.allgather(world.raise_on_all(self._mixes)))
        root_id = world.raise_on_all(lambda: self._unique_id() if world.rank == 0 else UniqueId())
        unique_id = UniqueId.from_buffer_copy(world.bcast(bytes(root_id)))
        self._communicator = c_void_p()
        # Not by raise_on_all: the other ranks may be waiting inside NCCL for this one, and only an abort frees them.
        self._call("ncclCommInitRank", self._communicator, world.size, unique_id, world.rank)

    def allreduce_sum(self, address: int, length: int, stream: int | None = None) -> None:
        """Replace float32 [length] at a device address by its sum over all ranks, behind a stream's work; collective.

        Args:
            stream: None: the vector is written, and this waits for the sum.
        """
        place = DEFAULT_STREAM if stream is None else c_void_p(stream)
        self._call("ncclAllReduce", address, address, length, FLOAT32, SUM, self._communicator, place)
        if stream is not None:
            return
        try:
            self._driver.call("cuStreamSynchronize", DEFAULT_STREAM)
        except LibraryError as error:
            raise CudaError(f"NCCL: waiting for the sum failed: {error}") from None

    def close(self, *, failed: bool) -> None:
        """Destroy the communicator; collective unless ``failed``: then it is aborted, which waits for no other rank.

        Both would wait for ever for a CUDA graph with its sums that is not destroyed.
        """
        if not self._communicator:
            return
        communicator, self._communicator = self._communicator, c_void_p()
        if failed:
            with suppress(LibraryError):  # the error that led here is the one to report
                self._nccl.call("ncclCommAbort", communicator)
        else:
            self._call("ncclCommDestroy", communicator)

    def _mixes(self) -> bool:
        """Whether recorded sums and others may follow each other on this rank."""
        version = c_int()
        self._call("ncclGetVersion", byref(version))
        return version.value >= RECORDS_FROM and not any(os.environ.get(name) == "0" for name in MIXING)

    def _unique_id(self) -> UniqueId:
        unique_id = UniqueId()
        self._call("ncclGetUniqueId", unique_id)
        return unique_id

    def _call(self, name: str, *arguments: object) -> None:
        try:
            self._nccl.call(name, *arguments)
        except LibraryError as error:
            raise CudaError(
                f'NCCL: {error}; set NCCL_DEBUG=WARN to see why, or average.transport = "host"'
            ) from None


def load_driver() -> CudaDriver:
    """NVIDIA's driver.

    Raises:
        CudaError: there is none.
    """
    try:
        return CudaDriver()
    except OSError:
        raise CudaError(f'average.transport = "nccl": {NO_DRIVER}, or "host"') from None


def load_nccl() -> Nccl:
    """NCCL's library, from the system or from the wheel nvidia-nccl-cu12.

    Raises:
        ConfigError: there is none that works.
    """
    paths = [LIBRARY]
    try:
        wheel = importlib.util.find_spec("nvidia.nccl")
    except ModuleNotFoundError:
        wheel = None
    if wheel is not None:
        paths += [str(Path(folder) / "lib" / LIBRARY) for folder in wheel.submodule_search_locations or []]
    for path in paths:
        try:
            return Nccl(path)
        except (OSError, LibraryError):
            continue
    raise ConfigError(
        f'average.transport = "nccl": {LIBRARY} is not installed; pip install nvidia-nccl-cu12, load your '
        'site\'s NCCL module, or use "auto"'
    )
