"""The oracle's row of a table is the best forecast that the synthetic store states."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from simulated_ranks import on_ranks
from small_runs import settings, walk, write_store

from hpc_lstm.evaluation.evaluate import evaluate
from hpc_lstm.evaluation.window_forecasts import of_inputs
from hpc_lstm.market import synthetic
from hpc_lstm.market.appending import append_prices
from hpc_lstm.market.store import MarketStore
from hpc_lstm.market.universes.registry import names
from hpc_lstm.parallel.world import World
from hpc_lstm.preprocess import backends, prepare


def forecast_nothing(inputs: np.ndarray) -> np.ndarray:
    return np.zeros(len(inputs), np.float32)


def measure(path: Path, world: World, **more) -> dict:
    data = settings(path, target="log-returns", scaling="standard", **more)
    with MarketStore(path) as store:
        prepared = prepare.prepare(store, data, world, backends.create_backend("host"))
        return evaluate(of_inputs(forecast_nothing), prepared, world).metrics


@pytest.mark.parametrize("kind", names())
def test_it_is_as_good_as_the_store_states_and_the_best_of_all(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "market.h5"
    synthetic.synthesize(path, symbols=60, days=500, seed=5, kind=kind)
    with MarketStore(path) as store:
        close = store.rows(0, int(store.offsets[-1]))[:, 3].reshape(60, 500)
        promised = store.attributes["best_rmse_log"]
    table = measure(path, World())["test"]
    returns = np.diff(np.log(close), axis=1)[:, -table["windows"] // 60 :]
    # The log returns of all symbols have one variance, so that scaled errors are theirs over persistence's.
    assert table["oracle"]["rmsse"] == pytest.approx(promised / np.sqrt(np.square(returns).mean()), rel=0.03)
    others = [
        values["rmsse"] for name, values in table.items() if isinstance(values, dict) and "rmsse" in values
    ]
    assert table["oracle"]["rmsse"] == min(others)
    assert "The best that anyone could do on these synthetic prices" in table["verdict"]


def test_there_is_none_once_other_prices_are_added(tmp_path: Path) -> None:
    path, more = tmp_path / "market.h5", tmp_path / "more.csv"
    synthetic.synthesize(path, symbols=3, days=200, seed=5)
    days = np.datetime64("2000-01-03") + np.arange(200)
    lines = [
        f"AAA,{day},{','.join([f'{price:.4f}'] * 4)},5" for day, price in zip(days, walk(1, 200), strict=True)
    ]
    more.write_text("\n".join(["symbol,date,open,high,low,close,volume", *lines]) + "\n")
    append_prices(str(path), [more])
    table = measure(path, World())["test"]
    assert table["symbols"] == 4
    assert "oracle" not in table
    assert "synthetic" not in table["verdict"]


def test_any_number_of_ranks_and_symbols_of_other_lengths(tmp_path: Path) -> None:
    path = tmp_path / "market.h5"
    synthetic.synthesize(path, symbols=3, days=200, seed=5)
    whole = measure(path, World(), horizon=3)
    for found in on_ranks(4, lambda world: measure(path, world, horizon=3)):
        assert found["test"]["oracle"] == pytest.approx(whole["test"]["oracle"], rel=1e-9)


def test_a_store_of_version_0_1_has_one_and_other_prices_have_none(tmp_path: Path) -> None:
    path = tmp_path / "market.h5"
    synthetic.synthesize(path, symbols=3, days=200, seed=5)
    with h5py.File(path, "a") as file:
        del file.attrs["kind"]
        for dataset in ("symbols", "offsets", "values"):
            del file[dataset].attrs["digest"]
    assert "oracle" in measure(path, World())["test"]
    real = write_store(tmp_path / "real.h5", {"AAA": walk(1), "BBB": walk(2)})
    table = measure(real, World())["test"]
    assert "oracle" not in table
    assert "reached_gain" not in table
