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
from hpc_lstm.clusters import cluster, documents
from hpc_lstm.clusters.cluster import Clusters
from hpc_lstm.clusters.rounds import Sent, Standing
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


def member(folder: Path, name: str, payload: Any) -> Clusters:
    sync = SyncConfig(cluster=name, run="run", expected=2, overlap=True, payload=payload, keep=1000)
    config = RunConfig(
        data=DataConfig(store="none"), storage=StorageConfig(url=f"file://{folder}"), sync=sync
    )
    world, engine = World(), Engine()
    one = Clusters(FolderStore(folder), "run/", world, config, engine, LOG, Timeline())  # type: ignore[arg-type]
    one.take_name()
    one.begin(0, None, False)
    return one


@pytest.mark.parametrize("payload", ["float32", "bfloat16"])
def test_every_checkpoint_during_overlapped_rounds_is_of_one_moment(tmp_path: Path, payload: str) -> None:
    both = [member(tmp_path, name, payload) for name in ("alpha", "beta")]
    seen: list[Standing] = []
    samples, until = 0, time.monotonic() + 60
    while both[0].number < 5:
        assert time.monotonic() < until
        samples += 10
        for one in both:
            one.engine.set_parameters(one.engine.parameters() + np.float32(0.1))
            one.exchange(samples, due=True)
            for _ in range(5):  # as a thread mutates what it is about
                time.sleep(0.001)
                seen.append(cluster.unpack(state_file.unpack(state_file.pack(one.state()))))
    for one in both:
        one.close()
    bases = {0: np.zeros(LENGTH, np.float32).tobytes()}
    for number in range(1, max(standing.number for standing in seen) + 1):
        merged = json.loads((tmp_path / "run" / documents.merged_key(number)).read_bytes())
        key = documents.payload_key(number, merged["payload"]["sha256"])
        bases[number] = (tmp_path / "run" / key).read_bytes()
    assert {standing.number for standing in seen} >= {0, 1, 2, 3, 4}
    for standing in seen:
        assert standing.base.tobytes() == bases[standing.number]
        assert standing.sent is None or standing.sent.samples > standing.samples
        assert len(standing.residual) == (LENGTH if payload == "bfloat16" and standing.number else 0)


def test_a_standing_comes_back() -> None:
    base, sent = np.arange(5, dtype=np.float32), np.ones(5, np.float32)
    standing = Standing(3, base, 70, 1, Sent(sent, 80, "a" * 64), np.full(5, 0.5, np.float32), 9, True)
    back = cluster.unpack(state_file.unpack(state_file.pack(cluster.pack(standing))))
    assert back.sent is not None
    assert back.sent.weights.tobytes() == sent.tobytes()
    assert (back.sent.samples, back.sent.payload) == (80, "a" * 64)
    assert (back.number, back.samples, back.staleness, back.lost, back.departed) == (3, 70, 1, 9, True)
    assert back.base.tobytes() == base.tobytes()
    assert back.residual.tobytes() == standing.residual.tobytes()
    assert cluster.unpack(cluster.pack(standing.meeting(base, 90))).sent.payload == "a" * 64  # type: ignore[union-attr]
    assert cluster.unpack(cluster.pack(Standing().meeting(base, 90))).sent.samples == 90  # type: ignore[union-attr]
