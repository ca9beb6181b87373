"""What all symbols of a store did on a day, as a feature of each of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from simulated_ranks import on_ranks
from small_runs import settings, walk

from hpc_lstm.features.columns import find_columns
from hpc_lstm.market.store import MarketStore
from hpc_lstm.market.store_writer import StoreWriter
from hpc_lstm.parallel.world import World
from hpc_lstm.preprocess import backends, market_means, prepare

HOST = backends.create_backend("host")


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    """Symbols with other days each, and prices of which no log can be taken."""
    random = np.random.default_rng(0)
    with StoreWriter(tmp_path / "market.h5", ["open", "close"], "test") as writer:
        for number in range(7):
            days = np.sort(random.choice(np.arange(15_000, 15_200), 120, replace=False)).astype(np.int64)
            close = walk(number, 120)
            values = np.column_stack([close - 0.5, close])
            if number == 3:
                values[40:42, 0] = [0.0, np.nan]
            writer.append(f"S{number}", days, values)
    return tmp_path / "market.h5"


def by_pandas(store: MarketStore, column: int) -> pd.Series:
    returns = []
    for symbol in range(len(store.symbols)):
        first, stop = (int(row) for row in store.offsets[symbol : symbol + 2])
        prices = pd.Series(store.rows(first, stop)[:, column], store.dates(first, stop))
        with np.errstate(divide="ignore", invalid="ignore"):
            returns.append(np.log(prices.where(prices > 0)).diff().dropna())
    return pd.concat(returns).groupby(level=0).mean()


@pytest.mark.parametrize("ranks", [1, 2, 5])
def test_it_is_the_mean_over_all_symbols_and_the_same_bits_on_any_number_of_ranks(
    store_path: Path, ranks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with MarketStore(store_path) as store:
        columns = find_columns(["market", "market(open)"], ["close"], [1], store.columns, "m.h5")
        alone = market_means.with_market(store, columns, World()).market
        monkeypatch.setattr(market_means, "DATES_AT_ONCE", 100)
        for found in on_ranks(ranks, lambda world: market_means.with_market(store, columns, world).market):
            assert sorted(found) == ["close", "open"]
            for name, mean in found.items():
                np.testing.assert_array_equal(mean.values, alone[name].values)
                expected = by_pandas(store, store.columns.index(name))
                np.testing.assert_allclose(mean.at(expected.index.to_numpy()), expected, atol=2e-10)
        assert alone["close"].at(np.array([14_000, 16_000])).tolist() == [0, 0]


def test_windows_have_it_whichever_symbols_are_trained_on(store_path: Path) -> None:
    data = settings(store_path, features=["market"], symbols=["S2"], scaling="standard")
    with MarketStore(store_path) as store:
        prepared = prepare.prepare(store, data, World(), HOST)
        inputs, _ = prepared.train.batch(np.array([5]))
        scaler = prepared.scaler
        found = (inputs[0, :, 0] - scaler.shift[0, 0]) / scaler.scale[0, 0]
        dates = store.dates(*map(int, store.offsets[2:4]))[5 : 5 + data.window]
        np.testing.assert_allclose(found, by_pandas(store, 1).loc[dates], rtol=1e-4, atol=1e-6)


def test_a_column_that_the_store_lacks_is_named(store_path: Path) -> None:
    with MarketStore(store_path) as store, pytest.raises(Exception, match='no column "price"'):
        find_columns(["market(price)"], ["close"], [1], store.columns, "m.h5")
