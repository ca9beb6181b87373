"""Small states of ranks, and how tests write and read them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hpc_lstm.checkpoint.restore import Restored, restore_checkpoint
from hpc_lstm.checkpoint.writer import CheckpointWriter
from hpc_lstm.config import CheckpointConfig, DataConfig, RunConfig, StorageConfig
from hpc_lstm.parallel.world import World
from hpc_lstm.storage.objects import ObjectStore

PREFIX = "run/checkpoints/main"
CONFIG = RunConfig(data=DataConfig(store="market.h5"))
LOG = logging.getLogger("test checkpoints")
LOG.setLevel(logging.INFO)


def state_of(rank: int, step: int) -> dict[str, Any]:
    """A state that no other rank and no other step has."""
    random = np.random.default_rng([rank, step])
    return {
        "weights": random.normal(0, 1e3, 101).astype(np.float32),
        "moments": random.normal(0, 1e-9, 202).astype(np.float32),
        "samples": int(random.integers(1, 1000)),
        "engine/seed": random.integers(0, 2**32, 2, dtype=np.uint32),
        "empty": np.empty(0, np.float32),
        "loss": np.nan,
        "data": f"rank {rank} at step {step}",
    }


def writer(
    store: ObjectStore,
    world: World,
    *,
    keep: int = 2,
    timeout_s: float = 20.0,
    max_failures: int = 3,
    present: int | None = None,
    completed: Callable[[int], None] = lambda step: None,
) -> CheckpointWriter:
    storage = StorageConfig(timeout_s=timeout_s, max_failures=max_failures)
    return CheckpointWriter(
        store,
        PREFIX,
        world,
        CheckpointConfig(keep=keep),
        storage,
        LOG,
        config=CONFIG,
        schema_digest="0" * 64,
        present=present,
        completed=completed,
    )


def save(target: CheckpointWriter, world: World, step: int, **more: Any) -> bool:
    more = {"epoch": step // 10, "samples": 64 * step, "validation": float("nan"), "wait": True, **more}
    return target.save(state_of(world.rank, step), step=step, **more)


def write(store: ObjectStore, world: World, *steps: int, **more: Any) -> None:
    """Whole checkpoints of these steps."""
    target = writer(store, world, **more)
    for step in steps:
        save(target, world, step)


def read(store: ObjectStore, world: World) -> Restored | None:
    return restore_checkpoint(world, store, PREFIX, LOG, averaged=("weights", "moments"), weight="samples")


def assert_state(found: dict[str, Any], rank: int, step: int) -> None:
    """``found`` is, to the bit, the state of that rank at that step."""
    assert_same_bits(found, state_of(rank, step))


def assert_same_bits(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, str):
            assert found[name] == value
        else:
            assert np.asarray(found[name]).dtype == np.asarray(value).dtype
            assert np.asarray(found[name]).shape == np.asarray(value).shape
            assert np.asarray(found[name]).tobytes() == np.asarray(value).tobytes()


def assert_restored(store: ObjectStore, world: World, step: int) -> None:
    found = read(store, world)
    assert found is not None
    assert found.manifest.step == step
    assert_state(found.state, world.rank, step)


def folder_of(root: Path, step: int) -> Path:
    return root / PREFIX / f"{step:09d}"
