"""Measured speeds from end to end: the GPU measures, the user's cache keeps it, and engines are built by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpc_lstm import config as configuration
from hpc_lstm.cuda.device import Device
from hpc_lstm.jobs import gpu_speeds
from hpc_lstm.model.engines.cuda.choice import card_of, possible_plans
from hpc_lstm.model.engines.cuda.engine import CudaEngine
from hpc_lstm.model.engines.speed_files import own_table, write_own_table
from hpc_lstm.model.engines.speed_table import CHAINS, TILES
from hpc_lstm.parallel.world import World


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels are compiled as ever, but nothing was measured."""
    monkeypatch.setenv("HPC_LSTM_CACHE", str(tmp_path))


def config(units: int, batch: int, **train: Any) -> configuration.RunConfig:
    tables = {
        "data": {"store": "none", "window": 12},
        "model": {"units": units, "layers": 1},
        "train": {"batch_size": batch, "precision": "bfloat16", **train},
    }
    return configuration.parse(tables, "test")


def test_what_is_measured_is_what_engines_are_built_by(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = gpu_speeds.networks_to_measure
    monkeypatch.setattr(gpu_speeds, "networks_to_measure", lambda *of: measured(*of, batches=(128, 8192)))
    settings, lines = config(64, 300), list[str]()
    table = gpu_speeds.tune(settings, [64, 128], World(), lines.append)
    device = Device()
    assert table is not None
    assert table == own_table(card_of(device))
    assert [(one.network.units, one.network.batch) for one in table.measurements] == [
        (units, batch) for units in (64, 128) for batch in (128, 300, 8192)
    ]
    assert "kept in" in lines[-1]
    for one in table.measurements:
        assert one.network.window == 12
        ways = possible_plans(config(one.network.units, one.network.batch), device)
        assert {way for way, speed in one.samples_per_s.items() if speed} >= set(ways)
        sized = config(one.network.units, one.network.batch)
        best = max(ways, key=lambda way: one.samples_per_s[way] or 0)
        assert (CudaEngine(sized)._plan.tiles > 0) == (best == TILES)
    # The opposite of what was measured is obeyed, too; but not by a run that is to give the same bits.
    swapped = [
        type(one)(one.network, {CHAINS: one.samples_per_s[TILES], TILES: one.samples_per_s[CHAINS]})
        for one in table.measurements
    ]
    write_own_table(card_of(device), table.merged(swapped))
    for before, after in zip(table.measurements, swapped, strict=True):
        sized = config(before.network.units, before.network.batch)
        tiles = (after.samples_per_s[TILES] or 0) > (after.samples_per_s[CHAINS] or 0)
        if all(after.samples_per_s.values()):
            assert (CudaEngine(sized)._plan.tiles > 0) == tiles
    small = config(64, 128, deterministic=True)
    assert CudaEngine(small)._plan.tiles == 0


def test_the_driver_says_which_clusters_fit() -> None:
    device = Device()
    assert device.resident_clusters(1) == device.multiprocessors
    found = {size: device.resident_clusters(size) for size in (2, 3, 4, 5, 6, 7, 8, 16)}
    print(device.name, found)
    if device.capability < (9, 0):
        assert set(found.values()) == {0}
        return
    for size, number in found.items():
        assert 0 <= number <= device.multiprocessors // size
    assert found[2] > 0
    if device.name == "NVIDIA H100 80GB HBM3":  # whose groups of multiprocessors differ from one to the next
        for size, most in {3: 39, 4: 30, 5: 22, 6: 17, 7: 15, 8: 15}.items():
            assert 0.9 * most <= found[size] <= 1.1 * most
