"""Restoring the newest complete checkpoint, on as many ranks as wrote it or on another number."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, cast

import numpy as np

from hpc_lstm.checkpoint import manifest as manifests
from hpc_lstm.checkpoint.manifest import Manifest
from hpc_lstm.checkpoint.provenance import Provenance
from hpc_lstm.checkpoint.state_file import unpack_state
from hpc_lstm.checkpoint.state_layout import StateLayout
from hpc_lstm.errors import CheckpointError
from hpc_lstm.parallel.world import World
from hpc_lstm.storage.objects import ObjectStore

T = TypeVar("T")


@dataclass(frozen=True)
class Restored:
    """A checkpoint as this rank restores it.

    Attributes:
        state: this rank's own; or, if another number of ranks wrote it, theirs merged, the same on every rank.
    """

    manifest: Manifest
    state: dict[str, Any]


def restore_checkpoint(
    world: World,
    store: ObjectStore,
    prefix: str,
    log: logging.Logger,
    *,
    averaged: Sequence[str],
    weight: str,
    provenance: Provenance | None = None,
    layout: StateLayout | None = None,
    accept: Callable[[Manifest], None] = lambda _: None,
) -> Restored | None:
    """The newest complete checkpoint under ``prefix``, None if there is no checkpoint at all; collective.

    A checkpoint with a missing or altered file is skipped. Files of later steps, and those that belong to no
    checkpoint, are then deleted: the run is about to repeat those steps. A file that is there but cannot be fetched is
    an error of the store: nothing is skipped or deleted then.

    Args:
        averaged: names of the arrays that are averaged if the number of ranks has changed; the rest is rank 0's.
        weight: name of the number that weights each rank's arrays; equal weights if all are 0.
        provenance: what the checkpoint must be by its signature, on rank 0; None: nothing.
        layout: what the states may hold; another is damage.
        accept: raises an error, on rank 0, if the run cannot go on from the checkpoint of a manifest.

    Raises:
        CheckpointError: there are checkpoints, but none is complete.
        StorageError: the store cannot be read; or the newest checkpoint that is not damaged is by somebody else.
            Nothing is deleted then.
    """
    steps = _on_first(world, partial(manifests.complete_steps, store, prefix))
    for step in reversed(steps):
        manifest, trouble = _on_first(
            world, partial(_read_manifest, store, prefix, step, provenance or Provenance())
        )
        if manifest is not None:
            _on_first(world, partial(accept, manifest))
            reader = _Reader(store, prefix, manifest, layout)
            found, trouble = _read_state(world, reader, averaged, weight)
            if found is not None:
                # Collective: no rank writes before the cleaning is done.
                _on_first(world, partial(_clean_up, store, prefix, step))
                return found
        log.warning("checkpoint of step %d skipped: %s", step, trouble)
    if steps:
        error = CheckpointError(
            f"none of the {len(steps)} checkpoints under {prefix} is complete; the log says why; "
            "restore their files, or start a new run"
        )
        raise world.on_all_ranks(error)
    _on_first(world, partial(_clean_up, store, prefix, -1))
    return None


def _on_first(world: World, work: Callable[[], T]) -> T:
    """Run ``work`` on rank 0; its result is returned, and its error raised, on all ranks."""
    return cast(T, world.bcast(world.raise_on_all(lambda: work() if world.rank == 0 else None)))


def _read_manifest(
    store: ObjectStore, prefix: str, step: int, provenance: Provenance
) -> tuple[Manifest | None, str]:
    try:
        return manifests.read_manifest(store, prefix, step, provenance), ""
    except manifests.DAMAGED as error:
        return None, str(error)


@dataclass(frozen=True)
class _Reader:
    """Reads the files of one checkpoint."""

    store: ObjectStore
    prefix: str
    manifest: Manifest
    layout: StateLayout | None

    def read(self, rank: int) -> dict[str, Any]:
        """The state of a rank.

        Raises:
            DAMAGED: its file is missing, altered, or not of the layout.
        """
        file = self.manifest.files[rank]
        data = self.store.get(
            f"{manifests.step_prefix(self.prefix, self.manifest.step)}/{file.name}", file.size
        )
        if len(data) != file.size or hashlib.sha256(data).hexdigest() != file.sha256:
            raise ValueError(f"{file.name} is not what was written: {len(data)} bytes of another SHA-256")
        try:
            return unpack_state(data, self.layout)
        except ValueError as error:
            raise ValueError(f"{file.name}: {error}") from None


def _read_state(
    world: World, reader: _Reader, averaged: Sequence[str], weight: str
) -> tuple[Restored | None, str]:
    same_ranks = reader.manifest.ranks == world.size

    def read() -> tuple[dict[str, Any] | None, str]:
        try:
            if same_ranks:
                return reader.read(world.rank), ""
            return _merge(reader, averaged, weight) if world.rank == 0 else None, ""
        except manifests.DAMAGED as error:
            return None, str(error)

    state, trouble = world.raise_on_all(read)
    troubles = [text for text in world.allgather(trouble) if text]
    if troubles:
        return None, troubles[0]
    if not same_ranks:
        state = world.bcast(state)
    assert state is not None
    return Restored(reader.manifest, state), ""


def _merge(reader: _Reader, averaged: Sequence[str], weight: str) -> dict[str, Any]:
    """The states of all ranks merged into one; only one of them is in memory at a time."""
    manifest = reader.manifest
    first = reader.read(0)
    shapes = {name: np.shape(first.get(name, 0)) for name in averaged}
    sums = {name: np.zeros(shape) for name, shape in shapes.items()}
    plain = {name: np.zeros(shape) for name, shape in shapes.items()}
    total = 0.0
    for rank in range(manifest.ranks):
        state = first if rank == 0 else reader.read(rank)
        if weight not in state or any(n not in state or np.shape(state[n]) != shapes[n] for n in averaged):
            raise ValueError(f"{manifest.files[rank].name} does not hold what is averaged")
        share = float(state[weight])
        total += share
        for name in averaged:
            sums[name] += share * np.asarray(state[name], np.float64)
            plain[name] += state[name]
    for name in averaged:
        mean = sums[name] / total if total else plain[name] / manifest.ranks
        first[name] = mean.astype(first[name].dtype)
    return first


def _clean_up(store: ObjectStore, prefix: str, restored: int) -> None:
    """Delete checkpoints after the restored step, and files that belong to no checkpoint."""
    whole = set(manifests.complete_steps(store, prefix))
    for step in sorted(whole):
        if step > restored:
            manifests.delete_checkpoint(store, prefix, step)
    for key, _ in store.list(f"{prefix}/"):
        owner = manifests.step_of(prefix, key)
        if owner is not None and (owner > restored or owner not in whole):
            store.delete(key)
    store.discard_unfinished(f"{prefix}/")
