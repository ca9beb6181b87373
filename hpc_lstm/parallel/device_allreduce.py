"""All-reduces of vectors in GPU memory, and which of them ``average.transport`` asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

from hpc_lstm.errors import ConfigError
from hpc_lstm.parallel.gpu import Gpu
from hpc_lstm.parallel.world import World

if TYPE_CHECKING:
    from hpc_lstm.cuda.device import Device

KEY = "average.transport"


class DeviceAllreduce(Protocol):
    """Sums float32 vectors in GPU memory over all ranks.

    Attributes:
        takes_stream: the sum is queued on a stream, instead of being there when ``allreduce_sum`` returns.
        can_be_recorded: a sum that takes a stream may be part of a CUDA graph; the same on all ranks.
    """

    takes_stream: ClassVar[bool]
    can_be_recorded: bool

    def allreduce_sum(self, address: int, length: int, stream: int | None = None) -> None:
        """Replace float32 [length] at a device address by its sum over all ranks; collective.

        Args:
            stream: if it is taken, what writes the vector may still be queued there, and the sum is queued behind it;
                otherwise the vector is written, and this waits for the sum.
        """

    def close(self, *, failed: bool) -> None:
        """Release what it holds; collective unless ``failed``, which says that other ranks may not get here."""


def create_device_allreduce(
    transport: str, world: World, on_gpu: bool, device: Device | None, gpu: Gpu | None = None
) -> DeviceAllreduce | None:
    """The all-reduce of weights on GPUs for a transport; None: weights are averaged in host memory. Collective.

    Args:
        transport: value of ``average.transport``.
        on_gpu: this rank's weights are in GPU memory.
        device: that GPU, where the CUDA backend drives it.
        gpu: the same GPU as it was assigned to this rank; None: no other rank uses it.

    Raises:
        ConfigError: the transport cannot be used on some rank.
    """
    if world.size == 1:
        return None
    everywhere = all(world.allgather(on_gpu))
    if transport in ("auto", "host") and not everywhere:
        return None
    from hpc_lstm.parallel.mpi_allreduce import MpiAllreduce, mpi_takes_device_memory
    from hpc_lstm.parallel.pinned_allreduce import PinnedAllreduce

    if transport in ("auto", "host"):
        aware = transport == "auto" and mpi_takes_device_memory(world.library)
        if all(world.allgather(aware)):
            return MpiAllreduce(world)
        driven = all(world.allgather(device is not None))
        return PinnedAllreduce(device, world) if device and driven else None
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
        return MpiAllreduce(world)
    from hpc_lstm.parallel.nccl import NcclAllreduce

    if max(world.allgather(gpu.sharers if gpu else 1)) > 1:
        raise world.on_all_ranks(
            ConfigError(
                f'{KEY} = "nccl": several ranks share a GPU, which NCCL refuses; use "auto" or "host"'
            )
        )
    return NcclAllreduce(world)
