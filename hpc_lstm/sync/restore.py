"""Going on from the newest whole checkpoint, on as many ranks as wrote it or on another number."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpc_lstm.errors import CheckpointError
from hpc_lstm.sync import manifest as manifests
from hpc_lstm.sync.manifest import Manifest
from hpc_lstm.sync.objects import NotFoundError, ObjectStore
from hpc_lstm.sync.state_file import unpack
from hpc_lstm.world import World


@dataclass(frozen=True)
class Restored:
    """A checkpoint as this rank takes it over.

    Attributes:
        state: this rank's own; or, if another number of ranks wrote it, theirs merged: the same on every rank.
    """

    manifest: Manifest
    state: dict[str, Any]


def restore(
    world: World,
    store: ObjectStore,
    prefix: str,
    log: logging.Logger,
    *,
    averaged: Sequence[str],
    weight: str,
) -> Restored | None:
    """The newest whole checkpoint under ``prefix``, None if there is no checkpoint at all; collective.

    A checkpoint with a missing or altered file is passed over. What lies there of later steps, or belongs to no
    checkpoint, is then deleted: the run is about to take those steps again.

    Args:
        averaged: names of the arrays that are averaged when the number of ranks has changed; the rest is rank 0's.
        weight: name of the number by which each rank's arrays count; equally, where all are 0.

    Raises:
        CheckpointError: there are checkpoints, but none is whole.
    """
    steps = world.bcast(manifests.steps(store, prefix) if world.rank == 0 else [])
    for step in reversed(steps):
        manifest, trouble = world.bcast(
            _read_manifest(store, prefix, step) if world.rank == 0 else (None, "")
        )
        if manifest is not None:
            found, trouble = _read_state(world, store, prefix, manifest, averaged, weight)
            if found is not None:
                if world.rank == 0:
                    _clean_up(store, prefix, step)
                world.barrier()  # nobody writes before the cleaning is done
                return found
        log.warning("checkpoint of step %d passed over: %s", step, trouble)
    if steps:
        error = CheckpointError(
            f"none of the {len(steps)} checkpoints under {prefix} is whole; the log says why; "
            "bring their files back, or start a new run"
        )
        raise world.agreed(error)
    if world.rank == 0:
        _clean_up(store, prefix, -1)
    world.barrier()
    return None


def _read_manifest(store: ObjectStore, prefix: str, step: int) -> tuple[Manifest | None, str]:
    try:
        return manifests.read(store, prefix, step), ""
    except (NotFoundError, ValueError) as error:
        return None, str(error)


def _read_state(
    world: World, store: ObjectStore, prefix: str, manifest: Manifest, averaged: Sequence[str], weight: str
) -> tuple[Restored | None, str]:
    state: dict[str, Any] | None = None
    trouble = ""
    try:
        if manifest.ranks == world.size:
            state = _read_file(store, prefix, manifest, world.rank)
        elif world.rank == 0:
            state = _merge(store, prefix, manifest, averaged, weight)
    except (NotFoundError, ValueError) as error:
        trouble = str(error)
    troubles = [text for text in world.gather(trouble) if text]
    if troubles:
        return None, troubles[0]
    if manifest.ranks != world.size:
        state = world.bcast(state)
    assert state is not None
    return Restored(manifest, state), ""


def _read_file(store: ObjectStore, prefix: str, manifest: Manifest, rank: int) -> dict[str, Any]:
    file = manifest.files[rank]
    data = store.get(f"{manifests.folder(prefix, manifest.step)}/{file.name}", file.size)
    if len(data) != file.size or hashlib.sha256(data).hexdigest() != file.sha256:
        raise ValueError(f"{file.name} is not what was written: {len(data)} bytes of another SHA-256")
    return unpack(data)


def _merge(
    store: ObjectStore, prefix: str, manifest: Manifest, averaged: Sequence[str], weight: str
) -> dict[str, Any]:
    """One state of many ranks', read one after the other."""
    first = _read_file(store, prefix, manifest, 0)
    sums = {name: np.zeros(first[name].shape) for name in averaged}
    plain = {name: np.zeros(first[name].shape) for name in averaged}
    total = 0.0
    for rank in range(manifest.ranks):
        state = first if rank == 0 else _read_file(store, prefix, manifest, rank)
        share = float(state[weight])
        total += share
        for name in averaged:
            sums[name] += share * state[name]
            plain[name] += state[name]
    for name in averaged:
        mean = sums[name] / total if total else plain[name] / manifest.ranks
        first[name] = mean.astype(first[name].dtype)
    return first


def _clean_up(store: ObjectStore, prefix: str, restored: int) -> None:
    """Delete what comes after the restored step, and files that no manifest names."""
    whole = set(manifests.steps(store, prefix))
    for step in sorted(whole):
        if step > restored:
            manifests.remove(store, prefix, step)
    kept = {f"{manifests.folder(prefix, step)}/" for step in whole if step <= restored}
    for key, _ in store.list(f"{prefix}/"):
        if key.rpartition("/")[0] + "/" not in kept:
            store.delete(key)
