"""NCCL's all-reduce, called by its C interface: https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/api.html."""

from __future__ import annotations

import ctypes
import importlib.util
from pathlib import Path

from hpc_lstm.errors import ConfigError, CudaError, HpcLstmError
from hpc_lstm.parallel.world import World

FLOAT32, SUM = 7, 0


class _UniqueId(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_byte * 128)]


class Nccl:
    """Adds up float32 vectors in GPU memory over all ranks; collective, as is making it.

    Raises:
        ConfigError: NCCL is not installed, on some rank.
        CudaError: there is no driver on some rank, or the ranks' GPUs cannot be joined. Where joining fails, the
            ranks do not agree on it: see below.
    """

    def __init__(self, world: World) -> None:
        # What can go wrong alone goes wrong before any rank waits for the others inside NCCL.
        self._library, self._driver = world.raise_on_all(lambda: (load(), load_driver()))
        unique = world.raise_on_all(lambda: self._unique_id() if world.rank == 0 else _UniqueId())
        unique = _UniqueId.from_buffer_copy(world.bcast(bytes(unique)))
        self._communicator = ctypes.c_void_p()
        self._library.ncclCommInitRank.argtypes = [ctypes.c_void_p, ctypes.c_int, _UniqueId, ctypes.c_int]
        made = self._library.ncclCommInitRank(
            ctypes.byref(self._communicator), world.size, unique, world.rank
        )
        # Not together: the others may be waiting inside NCCL for this rank, and only an end of all frees them.
        self._check(made, "ncclCommInitRank")

    def __call__(self, address: int, length: int) -> None:
        """The sum of float32 [length] at ``address`` over all ranks, in place; there when it returns."""
        where, stream = ctypes.c_void_p(address), ctypes.c_void_p(None)
        code = self._library.ncclAllReduce(
            where, where, ctypes.c_size_t(length), FLOAT32, SUM, self._communicator, stream
        )
        self._check(code, "ncclAllReduce")
        if code := self._driver.cuStreamSynchronize(stream):
            raise HpcLstmError(f"NCCL: waiting for the sum failed with CUDA error {code}")

    def _unique_id(self) -> _UniqueId:
        unique = _UniqueId()
        self._check(self._library.ncclGetUniqueId(ctypes.byref(unique)), "ncclGetUniqueId")
        return unique

    def _check(self, code: int, call: str) -> None:
        if code:
            self._library.ncclGetErrorString.restype = ctypes.c_char_p
            said = self._library.ncclGetErrorString(code).decode()
            raise CudaError(
                f'NCCL: {call}: {said}; set NCCL_DEBUG=WARN to see why, or average.transport = "host"'
            )


def load_driver() -> ctypes.CDLL:
    """NVIDIA's driver, by its C interface.

    Raises:
        CudaError: there is none.
    """
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError:
        raise CudaError(
            'average.transport = "nccl": there is no NVIDIA driver (libcuda.so.1); use a node with a GPU, or "host"'
        ) from None


def load() -> ctypes.CDLL:
    """NCCL's library, from the system or from the wheel nvidia-nccl-cu12.

    Raises:
        ConfigError: there is none.
    """
    places = ["libnccl.so.2"]
    try:
        wheel = importlib.util.find_spec("nvidia.nccl")
    except ModuleNotFoundError:
        wheel = None
    if wheel is not None:
        places += [
            str(Path(folder) / "lib" / "libnccl.so.2") for folder in wheel.submodule_search_locations or []
        ]
    for place in places:
        try:
            return ctypes.CDLL(place)
        except OSError:
            continue
    raise ConfigError(
        'average.transport = "nccl": libnccl.so.2 is not installed; pip install nvidia-nccl-cu12, load your '
        'site\'s NCCL module, or use "auto"'
    )
