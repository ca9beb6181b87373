"""What a checkpoint says of the rounds while one is under way on a thread."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hpc_lstm.checkpoint import state_file
from hpc_lstm.clusters import documents
from hpc_lstm.clusters.state import ClusterState, PendingContribution
from hpc_lstm.clusters.synchronizer import ClusterSynchronizer
from hpc_lstm.config import DataConfig, RunConfig, StorageConfig, SyncConfig
from hpc_lstm.parallel.world import World
from hpc_lstm.storage.folder import FolderStore
from hpc_lstm.timing.timeline import Timeline

LOG = logging.getLogger("test")
LENGTH = 1000


class Engine:
    """Weights that are trained by adding to them."""

    schema = SimpleNamespace(digest=lambda: "0" * 64)

    def __init__(self) -> None:
        self.weights = np.zeros(LENGTH, np.float32)

    def parameters(self) -> np.ndarray:
        return self.weights.copy()

    def set_parameters(self, flat: np.ndarray) -> None:
        self.weights = np.array(flat, np.float32)


def member(folder: Path, name: str, payload: Any) -> ClusterSynchronizer:
    sync = SyncConfig(cluster=name, run="run", expected=2, overlap=True, payload=payload, keep=1000)
    config = RunConfig(
        data=DataConfig(store="none"), storage=StorageConfig(url=f"file://{folder}"), sync=sync
    )
    world, engine = World(), Engine()
    one = ClusterSynchronizer(FolderStore(folder), "run/", world, config, engine, LOG, Timeline())  # type: ignore[arg-type]
    one.acquire_lease()
    one.join(0, None, False)
    return one


@pytest.mark.parametrize("payload", ["float32", "bfloat16"])
def test_every_checkpoint_during_overlapped_rounds_is_of_one_moment(tmp_path: Path, payload: str) -> None:
    both = [member(tmp_path, name, payload) for name in ("alpha", "beta")]
    seen: list[ClusterState] = []
    samples, until = 0, time.monotonic() + 60
    while both[0].round < 5:
        assert time.monotonic() < until
        samples += 10
        for one in both:
            one.engine.set_parameters(one.engine.parameters() + np.float32(0.1))
            one.synchronize(samples, due=True)
            for _ in range(5):  # as a thread mutates what it is about
                time.sleep(0.001)
                seen.append(
                    ClusterState.from_state_dict(
                        state_file.unpack_state(state_file.pack_state(one.state_dict()))
                    )
                )
    for one in both:
        one.close()
    bases = {0: np.zeros(LENGTH, np.float32).tobytes()}
    for number in range(1, max(state.round for state in seen) + 1):
        merged = json.loads((tmp_path / "run" / documents.result_key(number)).read_bytes())
        key = documents.payload_key(number, merged["payload"]["sha256"])
        bases[number] = (tmp_path / "run" / key).read_bytes()
    assert {state.round for state in seen} >= {0, 1, 2, 3, 4}
    for state in seen:
        assert state.base.tobytes() == bases[state.round]
        assert state.pending is None or state.pending.samples > state.samples
        assert len(state.residual) == (LENGTH if payload == "bfloat16" and state.round else 0)


def test_a_standing_comes_back() -> None:
    base, sent = np.arange(5, dtype=np.float32), np.ones(5, np.float32)
    state = ClusterState(
        3, base, 70, 1, PendingContribution(sent, 80, "a" * 64), np.full(5, 0.5, np.float32), 9, True
    )
    back = ClusterState.from_state_dict(state_file.unpack_state(state_file.pack_state(state.state_dict())))
    assert back.pending is not None
    assert back.pending.weights.tobytes() == sent.tobytes()
    assert (back.pending.samples, back.pending.payload) == (80, "a" * 64)
    assert (back.round, back.samples, back.staleness, back.dropped, back.finished) == (3, 70, 1, 9, True)
    assert back.base.tobytes() == base.tobytes()
    assert back.residual.tobytes() == state.residual.tobytes()
    assert (
        ClusterState.from_state_dict(state.while_contributing(base, 90).state_dict()).pending.payload
        == "a" * 64
    )  # type: ignore[union-attr]
    assert (
        ClusterState.from_state_dict(ClusterState().while_contributing(base, 90).state_dict()).pending.samples
        == 90
    )  # type: ignore[union-attr]
