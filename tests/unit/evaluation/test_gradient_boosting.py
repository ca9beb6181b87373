"""Boosted trees as a baseline: fitted on all ranks' windows, alike on every rank."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from simulated_ranks import on_ranks
from small_runs import settings, write_store

from hpc_lstm.errors import InputError
from hpc_lstm.evaluation.baselines import gradient_boosting
from hpc_lstm.evaluation.evaluate import evaluate
from hpc_lstm.evaluation.window_forecasts import of_inputs
from hpc_lstm.market.store import MarketStore
from hpc_lstm.parallel.world import World
from hpc_lstm.preprocess import backends, prepare


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    """Prices that go up after a fall, and down after a rise: no linear function, but a tree, knows how far."""
    found = {}
    for seed, symbol in enumerate(("AAA", "BBB", "CCC")):
        random = np.random.default_rng(seed)
        returns = random.normal(0, 0.01, 700)
        for row in range(1, 700):
            returns[row] += 0.01 if abs(returns[row - 1]) > 0.008 else -0.01
        found[symbol] = 100 * np.exp(np.cumsum(returns))
    return write_store(tmp_path / "market.h5", found)


def measure(path: Path, world: World, limit_s: float = 60.0) -> dict:
    data = settings(path, features=["log-returns"], target="log-returns", scaling="standard")
    with MarketStore(path) as store:
        prepared = prepare.prepare(store, data, world, backends.create_backend("host"))
        return evaluate(
            of_inputs(lambda inputs: np.zeros(len(inputs), np.float32)), prepared, world, boosting_s=limit_s
        ).metrics


def test_it_finds_what_no_other_baseline_does(store_path: Path) -> None:
    metrics = measure(store_path, World())
    test = metrics["test"]
    assert test["gradient-boosting"]["rmsse"] < 0.9 * test["ar"]["rmsse"]
    assert test["against_best"]["baseline"] == "gradient-boosting"
    assert "does not beat the best simple forecast, gradient-boosting" in test["verdict"]
    (note,) = metrics["notes"]
    assert note.startswith("gradient-boosting: ")
    assert note.endswith(" trees on 1,458 of 1,458 train windows.")


def test_any_number_of_ranks_gives_the_same_trees(store_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradient_boosting, "MOST_VALUES", 500 * 5)
    whole = measure(store_path, World())
    assert "on 500 of 1,458 train windows" in whole["notes"][0]
    for found in on_ranks(3, lambda world: measure(store_path, world)):
        assert found["notes"] == whole["notes"]
        assert found["test"]["gradient-boosting"] == pytest.approx(
            whole["test"]["gradient-boosting"], rel=1e-6
        )


def test_it_stops_at_its_time_limit(store_path: Path) -> None:
    (note,) = measure(store_path, World(), limit_s=0.0)["notes"]
    assert note == "gradient-boosting: 10 trees on 1,458 of 1,458 train windows, stopped after 0 s."


def test_without_scikit_learn_it_says_what_to_install(
    store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    with pytest.raises(InputError, match=r'pip install "hpc-lstm\[boosting\]"'):
        measure(store_path, World())
