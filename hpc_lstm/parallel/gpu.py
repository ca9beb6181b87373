"""One GPU for each rank, assigned before TensorFlow or PyCUDA start CUDA.

A process sees the GPUs that CUDA_VISIBLE_DEVICES names when CUDA starts in it, and never others. So the rank's GPU is
written there, and TensorFlow and PyCUDA both find it as their only one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from hpc_lstm.parallel.gpu_discovery import ORDER, VISIBLE, Gpu, installed_gpus
from hpc_lstm.parallel.world import World


def assign_gpu(world: World) -> Gpu | None:
    """Make one GPU the only one that this rank's process sees; collective. None where the driver shows none.

    Local rank r takes entry r modulo n of the n that it may see. Where the launcher has bound one GPU to each rank,
    the rank keeps it. Call it before anything starts CUDA in this process.
    """
    gpu = preview_gpu(world)
    if gpu is not None:
        if VISIBLE not in os.environ:
            os.environ[ORDER] = "PCI_BUS_ID"  # so that NVML's numbers are CUDA's
        os.environ[VISIBLE] = gpu.entry
    return gpu


def preview_gpu(world: World) -> Gpu | None:
    """The GPU that ``assign_gpu`` would give this rank; collective; changes nothing."""
    gpus = installed_gpus()
    entries = visible_entries(os.environ.get(VISIBLE), gpus)
    entry = entry_of_rank(entries, world.local_rank)
    gpu = None if entry is None else gpu_by_entry(entry, gpus)
    key = None if gpu is None else (world.node, gpu.uuid or gpu.entry)
    sharers = world.allgather(key).count(key)
    return None if gpu is None else replace(gpu, sharers=sharers)


def entry_of_rank(entries: Sequence[str], local_rank: int) -> str | None:
    """The entry of a local rank; all entries are used equally often, to within one. None if there are none."""
    return entries[local_rank % len(entries)] if entries else None


def visible_entries(variable: str | None, gpus: Sequence[Gpu]) -> list[str]:
    """The entries that a process may use, as CUDA reads CUDA_VISIBLE_DEVICES: up to the first invalid one.

    Args:
        variable: value of CUDA_VISIBLE_DEVICES; None if it is not set.
        gpus: all GPUs of the node, in the order of their numbers.
    """
    if not gpus:
        return []
    if variable is None:
        # Where some GPUs are in MIG mode, CUDA's numbers are not NVML's.
        mig = any(not gpu.entry.isdigit() for gpu in gpus)
        return [(gpu.uuid or gpu.entry) if mig else gpu.entry for gpu in gpus]
    entries: list[str] = []
    uuids: list[str] = []
    for entry in (text.strip() for text in variable.split(",")):
        gpu = gpu_by_entry(entry, gpus)
        if gpu is None or (gpu.uuid or entry) in uuids:
            break
        uuids.append(gpu.uuid or entry)
        entries.append(entry)
    return entries


def gpu_by_entry(entry: str, gpus: Sequence[Gpu]) -> Gpu | None:
    """The GPU that an entry names, by number, UUID, or the unique beginning of a UUID; None if there is none."""
    if entry.isascii() and entry.isdecimal():
        return next((replace(gpu, entry=entry) for gpu in gpus if gpu.entry == str(int(entry))), None)
    if not entry.startswith(("GPU-", "MIG-")):
        return None
    matches = [gpu for gpu in gpus if gpu.uuid.startswith(entry)]
    if entry.startswith("MIG-") and not matches:
        # NVML may not list a MIG device that CUDA accepts.
        return Gpu(entry, "MIG device", entry, 0)
    return replace(matches[0], entry=entry) if len(matches) == 1 else None
