"""Refuses what no machine like this one can hold, before a library tries to and is killed or does not come back."""

from __future__ import annotations

import os
from pathlib import Path

from hpc_lstm.config import RunConfig
from hpc_lstm.errors import InputError

# Threads for each core of the node: more only wait for each other.
THREADS_PER_CORE = 4
NUMBER = 4  # bytes of a float32
# Vectors as long as the parameters that every engine has: the parameters, and their gradient.
VECTORS = 2
_CGROUP = Path("/sys/fs/cgroup")


def check_resources(config: RunConfig) -> None:
    """Refuse settings for which one rank needs more than the whole node has, by the least that any engine takes.

    Raises:
        InputError: more threads than ``THREADS_PER_CORE`` for each core, or more memory than there is; with the key.
    """
    cores = os.cpu_count() or 1
    if config.train.threads > THREADS_PER_CORE * cores:
        raise InputError(
            f"train.threads = {config.train.threads:,} is more than {THREADS_PER_CORE} for each of this node's "
            f"{cores} cores; 0 takes as many as a rank has cores"
        )
    memory = node_memory()
    weights, windows = parameter_bytes(config), batch_bytes(config)
    if weights + windows <= memory:
        return
    model, train, data = config.model, config.train, config.data
    what = (
        f"a network of model.layers = {model.layers:,} and model.units = {model.units:,} takes"
        if weights > windows
        else f"a batch of train.batch_size = {train.batch_size:,} windows of data.window = {data.window:,} rows takes"
    )
    raise InputError(
        f"{what} {max(weights, windows) / 2**30:,.1f} GiB of memory at least, and this node has "
        f"{memory / 2**30:,.1f} GiB; choose less"
    )


def parameter_bytes(config: RunConfig) -> int:
    """Bytes of the parameters and their gradient."""
    units, features = config.model.units, len(config.data.features)
    first, later = 4 * units * (features + units + 1), 4 * units * (2 * units + 1)
    return NUMBER * VECTORS * (first + (config.model.layers - 1) * later + units + 1)


def batch_bytes(config: RunConfig) -> int:
    """Bytes of the windows of one batch."""
    return NUMBER * config.train.batch_size * config.data.window * len(config.data.features)


def node_memory() -> int:
    """Bytes of memory that this process's node, or its container, has."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            memory = min(memory, int((_CGROUP / name).read_text()))
        except (OSError, ValueError):  # no such group, or "max"
            continue
    return memory
