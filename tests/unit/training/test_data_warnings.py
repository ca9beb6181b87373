"""What is said before a run trains, and what is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from simulated_ranks import on_ranks
from small_runs import settings, write_store

from hpc_lstm.market.store import MarketStore
from hpc_lstm.market.store_writer import StoreWriter
from hpc_lstm.parallel.world import World
from hpc_lstm.preprocess import backends, prepare
from hpc_lstm.training.data_warnings import data_warnings

RETURNS = {"features": ["log-returns"], "target": "log-returns", "scaling": "standard"}


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    """AAA is ten times as dear in the end; BBB begins 100 days later and goes on 100 days longer."""
    noise = np.exp(np.random.default_rng(1).normal(0, 0.005, 300))
    growing = 100 * np.exp(np.linspace(0, np.log(10), 300)) * noise
    path = tmp_path / "market.h5"
    with StoreWriter(path, ["open", "close"], "test") as writer:
        for symbol, close, first in (("AAA", growing, 15000), ("BBB", 80 * noise, 15100)):
            dates = np.arange(first, first + 300, dtype=np.int64)
            writer.append(symbol, dates, np.column_stack([close, close]))
    return path


def warnings(path: Path, world: World | None = None, **more) -> list[str]:
    world = world or World()
    data = settings(path, **more)
    with MarketStore(path) as store:
        prepared = prepare.prepare(store, data, world, backends.create_backend("host"))
        return data_warnings(store, data, prepared, world)


def test_returns_split_by_date_need_no_warning(store_path: Path) -> None:
    assert warnings(store_path, split_by="date", **RETURNS) == []


@pytest.mark.parametrize("scaling", ["minmax", "standard"])
def test_prices_that_grow_leave_the_fitted_range(store_path: Path, scaling: str) -> None:
    target, *others = warnings(store_path, split_by="date", scaling=scaling)
    assert target.startswith('data.target = "close" is a raw price')
    assert 'take "log-returns(close)"' in target
    if scaling == "minmax":
        (inputs,) = others
        assert "On validation these inputs lie outside of the range" in inputs
        assert "close (" in inputs


def test_test_windows_on_days_of_training_are_counted(store_path: Path) -> None:
    (overlap,) = warnings(store_path, **RETURNS)
    # AAA's test begins at window 250 of 295; BBB trains until 100 days after AAA's 206th window.
    targets_of_aaa = 15000 + 5 + np.arange(250, 295)
    last_of_bbb = 15100 + 5 + 205
    early = int((targets_of_aaa <= last_of_bbb).sum())
    assert overlap.startswith(
        f"{early} of 90 test windows lie on or before {np.datetime64(last_of_bbb, 'D')}"
    )
    assert on_ranks(3, lambda world: warnings(store_path, world, **RETURNS)) == [[overlap]] * 3


def test_one_symbol_split_by_itself_overlaps_with_nothing(tmp_path: Path) -> None:
    path = write_store(tmp_path / "one.h5", {"AAA": 100 + np.random.default_rng(2).uniform(-1, 1, 200)})
    assert warnings(path, **RETURNS) == []
