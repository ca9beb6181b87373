"""Which kernels of the CUDA engine are taken: as measured, else by the rule, and always ones that the GPU can run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from hpc_lstm import config as configuration
from hpc_lstm.config import RunConfig
from hpc_lstm.model.engines import speed_files
from hpc_lstm.model.engines.cuda import choice
from hpc_lstm.model.engines.cuda.choice import card_of, choose_plan, keras_is_faster, network_of
from hpc_lstm.model.engines.cuda.plan import Plan
from hpc_lstm.model.engines.speed_files import write_own_table
from hpc_lstm.model.engines.speed_table import CHAINS, KERAS, TILES, Measurement, SpeedTable


@dataclass
class Gpu:
    """A device as far as choices depend on it, an H100 unless it is said."""

    name: str = "NVIDIA Test"
    capability: tuple[int, int] = (9, 0)
    multiprocessors: int = 132
    driver: int = 12080
    largest: int = 16

    def resident_clusters(self, size: int) -> int:
        return min(120, self.multiprocessors) // size if size <= self.largest else 0


@pytest.fixture(autouse=True)
def nothing_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPC_LSTM_CACHE", str(tmp_path))
    monkeypatch.setattr(speed_files, "SHIPPED", tmp_path / "shipped")
    (tmp_path / "shipped").mkdir()


def config(units: int = 128, batch: int = 1024, **train: Any) -> RunConfig:
    tables = {
        "data": {"store": "none"},
        "model": {"units": units},
        "train": {"batch_size": batch, "precision": "bfloat16", **train},
    }
    return configuration.parse(tables, "test")


def chosen(settings: RunConfig, gpu: Gpu | None = None, kernels: str = "") -> Plan:
    found = choose_plan(settings, gpu or Gpu(), kernels)  # type: ignore[arg-type]
    assert isinstance(found, Plan), found
    return found


def refused(settings: RunConfig, gpu: Gpu | None = None, kernels: str = "") -> str:
    found = choose_plan(settings, gpu or Gpu(), kernels)  # type: ignore[arg-type]
    assert isinstance(found, str)
    return found


def table(settings: RunConfig, **speeds: float) -> SpeedTable:
    measured = Measurement(network_of(settings), dict(speeds))
    return SpeedTable(Gpu.name, Gpu.capability, Gpu.multiprocessors, (measured,))


def ship(one: SpeedTable) -> None:
    (speed_files.SHIPPED / "one.json").write_text(one.to_json())


def keep(one: SpeedTable) -> None:
    write_own_table(card_of(Gpu()), one)  # type: ignore[arg-type]


def test_without_measurements_the_rule_decides() -> None:
    assert chosen(config(128, 1024)).tiles == 0
    assert chosen(config(128, 8192)).tiles == 2


def test_the_users_measurements_come_first_then_those_of_the_package() -> None:
    settings = config(128, 1024)
    ship(table(settings, chains=1.0, tiles=2.0))
    assert chosen(settings).tiles > 0
    keep(table(settings, chains=2.0, tiles=1.0))
    assert chosen(settings).tiles == 0
    # What is not measured there is asked of the next one: of batches, those that are much larger or smaller.
    assert chosen(config(128, 4096)).tiles == 0
    assert chosen(config(128, 8192)).tiles > 0
    ship(table(config(256, 64), chains=1.0, tiles=2.0))
    assert chosen(config(256, 64)).tiles > 0


def test_a_run_that_must_give_the_same_bits_does_not_ask_what_may_change_meanwhile() -> None:
    settings = config(128, 1024, deterministic=True)
    keep(table(settings, chains=1.0, tiles=2.0))
    assert chosen(settings).tiles == 0
    assert chosen(config(128, 1024)).tiles > 0


def test_what_is_asked_for_is_taken_where_it_is_possible() -> None:
    settings = config(128, 64)
    assert chosen(settings, kernels=TILES).tiles > 0
    assert chosen(settings, kernels=CHAINS).tiles == 0
    older = Gpu(capability=(8, 0), largest=1)
    assert "no kernels for tiles" in refused(config(128, 64), older, kernels=TILES)
    assert chosen(config(512, 64, precision="float32")).tiles > 0
    found = chosen(config(512, 64, precision="float32"), kernels=CHAINS)
    assert found.forward.through_memory


def test_only_what_the_gpu_can_run_is_taken() -> None:
    """512 units are a cluster of 16 blocks, or 8 of 2 by the kernels for large batches."""
    settings = config(512, 64)
    assert chosen(settings).forward.split == 16
    found = chosen(settings, Gpu(largest=8))
    assert found.tiles == 0
    assert found.forward.through_memory
    assert chosen(config(512, 256), Gpu(largest=8)).wide
    keep(table(settings, chains=1.0, tiles=2.0))
    assert chosen(settings, Gpu(largest=8)).wide
    older = Gpu(capability=(8, 0), largest=1)
    assert chosen(settings, older).forward.through_memory
    assert chosen(config(128, 8192), older).forward.split == 1
    few = Gpu(capability=(8, 0), multiprocessors=3, largest=1)
    assert "512 units among more multiprocessors than this process has: 3" in refused(settings, few)
    assert "8.0 or newer" in refused(settings, Gpu(capability=(7, 5)))
    assert "up to 512 units" in refused(config(513))


def test_the_keras_engine_is_taken_where_it_was_measured_to_be_faster() -> None:
    gpu: Any = Gpu()
    settings = config(128, 1024)
    assert not keras_is_faster(settings, gpu)
    keep(table(settings, chains=1.0, tiles=2.0))
    assert not keras_is_faster(settings, gpu)
    keep(table(settings, chains=1.0, tiles=2.0, keras=3.0))
    assert keras_is_faster(settings, gpu)
    keep(table(settings, chains=4.0, tiles=2.0, keras=3.0))
    assert not keras_is_faster(settings, gpu)
    alone, without_clusters = config(64, 1024, precision="float32"), Gpu(largest=1)
    keep(table(alone, chains=1.0, keras=2.0))
    assert keras_is_faster(alone, without_clusters)  # type: ignore[arg-type]


def test_where_nothing_was_measured_a_rule_says_whether_the_keras_engine_is_faster() -> None:
    older: Any = Gpu(capability=(8, 0), largest=1)
    wide, narrow = config(512, 1024, precision="float32"), config(256, 1024, precision="float32")
    assert keras_is_faster(wide, older)
    assert not keras_is_faster(narrow, older)
    assert not keras_is_faster(config(512, 128, precision="float32"), older)
    assert not keras_is_faster(config(512, 1024), older)
    newer: Any = Gpu()
    assert not keras_is_faster(wide, newer)
    ship(replace(table(wide, chains=2.0, keras=1.0), capability=(8, 0)))
    assert not keras_is_faster(wide, older)
    ship(replace(table(narrow, chains=1.0, keras=2.0), capability=(8, 0)))
    assert keras_is_faster(narrow, older)


def test_names_of_ways_are_those_of_the_table() -> None:
    gpu: Any = Gpu()
    assert set(choice.possible_plans(config(), gpu)) == {CHAINS, TILES}
    assert KERAS not in choice.possible_plans(config(), gpu)
