"""``prepare`` on one rank and on several, against scikit-learn and a plain loop over windows."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_ranks import on_ranks

from hpc_lstm.config import DataConfig
from hpc_lstm.errors import InputError
from hpc_lstm.features.registry import FEATURES, feature_class, parse_feature
from hpc_lstm.features.symbol_indicator import SymbolIndicator
from hpc_lstm.market.store import MarketStore
from hpc_lstm.market.store_writer import StoreWriter
from hpc_lstm.parallel.world import World
from hpc_lstm.preprocess import prepare as preprocess
from hpc_lstm.preprocess import reading
from hpc_lstm.preprocess.host_backend import HostBackend
from hpc_lstm.preprocess.slices import PARTS

COLUMNS = ["open", "close", "volume"]
HOST = HostBackend()


class MemoryStore:
    """A market store's reading side, in memory."""

    path = "market.h5"
    date_unit = "D"
    columns = COLUMNS

    def __init__(self, lengths: list[int], seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        steps = rng.normal(0, 0.02, (int(self.offsets[-1]), len(COLUMNS)))
        self.values = 100 * np.exp(np.cumsum(steps, axis=0))
        self.symbols = [f"S{number}" for number in range(len(lengths))]
        self.bytes_read = 0
        self.longest_read = 0

    def rows(self, start: int, stop: int) -> np.ndarray:
        self.bytes_read += self.values[start:stop].nbytes
        self.longest_read = max(self.longest_read, stop - start)
        return self.values[start:stop].copy()

    def dates(self, start: int, stop: int) -> np.ndarray:
        return np.arange(start, stop, dtype=np.int64) + 10_000

    def symbol(self, name: str) -> int:
        return self.symbols.index(name)


def config(**changes: Any) -> DataConfig:
    plain = {"features": ["close"], "target": "close", "scaling": "minmax", "split_by": "symbol"}
    return DataConfig(**{"store": "market.h5", "window": 5, **plain, **changes})


def prepare(store: Any, data: DataConfig, ranks: int = 1, **more: Any) -> list[preprocess.Prepared]:
    return on_ranks(ranks, lambda world: preprocess.prepare(store, data, world, HOST, **more))


def price_column(name: str) -> str:
    if name.startswith("log-returns"):
        return name[12:-1] or "close"
    return name[4:].split(",")[0] if name[:4] in ("sma(", "ema(") else name


def series(store: MemoryStore, symbol: int, name: str, lag: int) -> np.ndarray:
    """A model column of a whole symbol, by definition."""
    rows = store.values[store.offsets[symbol] : store.offsets[symbol + 1]]
    price = rows[:, COLUMNS.index(price_column(name))]
    if name.startswith(("sma(", "ema(")):
        length = int(name[:-1].split(",")[1])
        averages = pd.Series(price)
        rolling = averages.rolling(length, min_periods=1) if name[0] == "s" else averages.ewm(span=length)
        return rolling.mean().to_numpy()
    if not name.startswith("log-returns"):
        return price
    found = np.full(len(price), np.nan)
    for row in range(lag, len(price)):
        found[row] = np.log(price[row]) - np.log(price[row - lag])
    return found


def expected(store: MemoryStore, data: DataConfig, part: str) -> tuple[np.ndarray, np.ndarray, list[Any]]:
    """All windows of a part by scikit-learn and a loop."""
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    inputs, targets, prices = [], [], []
    usable = 0
    for symbol in range(len(store.symbols)):
        rows = int(np.diff(store.offsets)[symbol])
        total = max(0, rows - data.window - data.horizon + 1)
        train = int(total * data.split[0] + 1e-9)
        seen = int(total * (data.split[0] + data.split[1]) + 1e-9) if data.split[2] else total
        if train == 0:
            continue
        low, high = {"train": (0, train), "validation": (train, seen), "test": (seen, total)}[part]
        columns = [np.nan_to_num(series(store, symbol, name, 1)) for name in data.features]
        columns.append(series(store, symbol, data.target, data.horizon))
        train_rows = train + data.window + data.horizon - 1
        oracle = (
            MinMaxScaler(feature_range=tuple(data.feature_range))
            if data.scaling == "minmax"
            else StandardScaler()
        )
        values = np.stack(columns, axis=1)  # each column is scaled on its own
        scaled = oracle.fit(values[:train_rows]).transform(values)
        price = series(store, symbol, price_column(data.target), 0)
        for start in range(low, high):
            end = start + data.window - 1
            inputs.append(scaled[start : end + 1, :-1])
            targets.append(scaled[end + data.horizon, -1:])
            date = store.offsets[symbol] + end + data.horizon + 10_000
            prices.append((usable, *price[[end, end + data.horizon - 1, end + data.horizon]], date))
        usable += 1
    return np.array(inputs), np.array(targets), prices


def check_part(wanted: tuple[np.ndarray, np.ndarray, list[Any]], windows: list[Any]) -> None:
    inputs, targets, prices = wanted
    found = [w.batch(np.arange(len(w))) for w in windows]
    assert sum(map(len, windows)) == len(inputs)
    assert max(map(len, windows)) - min(map(len, windows)) <= 1
    if not len(inputs):
        return
    np.testing.assert_allclose(np.concatenate([f[0] for f in found]), inputs, rtol=1e-6, atol=2e-6)
    np.testing.assert_allclose(np.concatenate([f[1] for f in found]), targets, rtol=1e-6, atol=2e-6)
    assert all(f[0].dtype == f[1].dtype == np.float32 for f in found)
    facts = [w.prices(np.arange(len(w))) for w in windows]
    together = [
        tuple(row) for p in facts for row in zip(p.symbol, p.last, p.before, p.actual, p.date, strict=True)
    ]
    assert together == prices


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    ranks=st.integers(1, 5),
    window=st.integers(1, 7),
    horizon=st.integers(1, 4),
    split=st.sampled_from([[0.7, 0.15, 0.15], [0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.3, 0.0, 0.7]]),
    features=st.sampled_from(
        [
            ["close"],
            ["log-returns"],
            ["close", "log-returns(volume)", "open"],
            ["sma(close, 4)", "ema(volume, 2)", "log-returns", "sma(open, 9)"],
        ]
    ),
    target=st.sampled_from(["close", "open", "log-returns", "log-returns(volume)"]),
    scaling=st.sampled_from(["minmax", "standard"]),
    at_once=st.sampled_from([1, 3, 16, 10_000]),
)
def test_every_rank_count_gives_the_windows_of_sklearn_and_a_loop(
    lengths: list[int],
    ranks: int,
    window: int,
    horizon: int,
    split: list[float],
    features: list[str],
    target: str,
    scaling: Any,
    at_once: int,
) -> None:
    store = MemoryStore(lengths)
    data = config(
        window=window, horizon=horizon, split=split, features=features, target=target, scaling=scaling,
        feature_range=[-1.0, 2.0],
    )  # fmt: skip
    wanted = {"train": expected(store, data, "train")}
    if not len(wanted["train"][0]) >= ranks:
        with pytest.raises(InputError):
            prepare(store, data, ranks)
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "ROWS_AT_ONCE", at_once)
        everyone = prepare(store, data, ranks)
        for part in PARTS:
            if part not in wanted:
                wanted[part] = expected(store, data, part)
            check_part(wanted[part], on_ranks(ranks, lambda w: everyone[w.rank].load_windows(part)))  # noqa: B023
    alone = everyone[0].scaler
    for other in everyone[1:]:
        np.testing.assert_array_equal(other.scaler.scale, alone.scale)
        np.testing.assert_array_equal(other.scaler.shift, alone.shift)


@settings(max_examples=40, deadline=None)
@given(
    data=st.data(),
    scaling=st.sampled_from(["minmax", "standard"]),
    target=st.sampled_from(["close", "log-returns"]),
    ranks=st.integers(1, 3),
)
def test_rows_after_the_last_train_target_reach_neither_scaler_nor_train_windows(
    data: Any, scaling: Any, target: str, ranks: int
) -> None:
    store = MemoryStore([30, 25])
    settings_ = config(scaling=scaling, target=target, horizon=2, features=["close", "log-returns"])
    before = prepare(store, settings_, ranks)
    total = 30 - 5 - 2 + 1
    first_unseen = int(total * 0.7 + 1e-9) + 5 + 2 - 1
    row = data.draw(st.integers(first_unseen, 29))
    store.values[row] *= data.draw(st.sampled_from([1e-3, 2.0, 1e6]))
    after = prepare(store, settings_, ranks)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one.scaler.scale, other.scaler.scale)
        np.testing.assert_array_equal(one.scaler.shift, other.scaler.shift)
        numbers = np.arange(len(one.train))
        for left, right in zip(one.train.batch(numbers), other.train.batch(numbers), strict=True):
            np.testing.assert_array_equal(left, right)


def test_the_last_train_target_does_reach_the_scaler() -> None:
    store = MemoryStore([30])
    before = prepare(store, config())[0].scaler
    last_train_target = int((30 - 5) * 0.7 + 1e-9) + 5 - 1
    store.values[last_train_target] *= 100
    assert prepare(store, config())[0].scaler.second[0, -1] > 10 * before.second[0, -1]


@pytest.mark.parametrize("features", [["close"], ["log-returns"], ["sma(open, 30)", "ema(close, 2)"]])
def test_a_rank_reads_its_rows_alone(features: list[str]) -> None:
    lengths, ranks = [400, 300, 500, 350], 4
    data = config(features=features, split=[0.6, 0.2, 0.2])
    row_bytes = 8 * len(COLUMNS)
    read = []
    for rank in range(ranks):
        stores = [MemoryStore(lengths) for _ in range(ranks)]
        everyone = on_ranks(ranks, lambda world: preprocess.prepare(stores[world.rank], data, world, HOST))  # noqa: B023
        index, lookback = everyone[rank].index, everyone[rank].columns.lookback
        needed = 2 * index.slice("train", rank, ranks).rows + index.slice("validation", rank, ranks).rows
        assert stores[rank].bytes_read == needed * row_bytes
        before = stores[rank].bytes_read
        on_ranks(ranks, lambda world: everyone[world.rank].load_windows("test"))  # noqa: B023
        assert stores[rank].bytes_read - before == index.slice("test", rank, ranks).rows * row_bytes
        read.append(needed)
        part = index.slice("train", rank, ranks)
        assert part.rows <= part.windows + len(part.symbol) * (data.window + data.horizon + lookback)
    assert max(read) < 0.6 * 2 * sum(lengths)


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(20, 40), min_size=1, max_size=4),
    ranks=st.integers(2, 5),
    at_once=st.sampled_from([1, 3, 16, 10_000]),
)
def test_every_feature_has_the_same_bits_however_the_store_is_shared_out(
    lengths: list[int], ranks: int, at_once: int
) -> None:
    store = MemoryStore(lengths)
    names = []
    for kind in map(feature_class, FEATURES):
        text = "S0" if kind is SymbolIndicator else "close"
        words = ", ".join(text if field.type == "str" else "3" for field in fields(kind))
        name = f"{kind.kind}({words})" if words else kind.kind
        if set(parse_feature(name).sources) <= set(store.columns):
            names.append(name)
    data = config(features=["close", *names])
    alone = prepare(store, data)[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "ROWS_AT_ONCE", at_once)
        everyone = prepare(store, data, ranks)
    np.testing.assert_array_equal(everyone[0].scaler.scale, alone.scaler.scale)
    for part in ("train", "validation"):
        whole = getattr(alone, part).batch(np.arange(len(getattr(alone, part))))
        shares = [getattr(p, part) for p in everyone]
        found = [share.batch(np.arange(len(share))) for share in shares]
        for place in (0, 1):
            np.testing.assert_array_equal(np.concatenate([f[place] for f in found]), whole[place])


def test_memory_is_the_scaled_slice_alone() -> None:
    store = MemoryStore([20_000] * 10)
    data = config(features=["close", "open"])
    prepared = prepare(store, data)[0]
    part = prepared.index.slice("train")
    assert prepared.train.nbytes == 4 * (2 * (part.windows + 10 * 4) + part.windows)
    assert store.longest_read <= reading.ROWS_AT_ONCE


@pytest.mark.parametrize(("value", "feature"), [(np.nan, "close"), (np.inf, "close"), (0.0, "log-returns")])
@pytest.mark.parametrize("rank", [0, 2])
def test_a_value_that_cannot_be_scaled_is_named_on_every_rank(value: float, feature: str, rank: int) -> None:
    store = MemoryStore([50, 50, 50])
    store.values[50 * rank + 7, 1] = value

    def failing(world: World) -> str:
        with pytest.raises(InputError) as caught:
            preprocess.prepare(store, config(features=[feature], target="open"), world, HOST)
        assert caught.value.on_all_ranks
        return str(caught.value)

    messages = set(on_ranks(3, failing))
    assert len(messages) == 1
    date = np.datetime64(10_000 + 50 * rank + 7, "D")
    assert all(text in messages.copy().pop() for text in (f"S{rank}", '"close"', str(date), "market.h5"))


def test_a_gap_in_a_column_that_is_not_used_is_no_error() -> None:
    store = MemoryStore([50])
    store.values[:, 2] = np.nan
    assert len(prepare(store, config())[0].train) > 0


def test_the_indicator_of_a_symbol_that_the_run_has_not_is_refused() -> None:
    store = MemoryStore([40, 40, 40])
    prepare(store, config(features=["close", "symbol(S0)"]))
    with pytest.raises(InputError, match=r'"symbol\(S9\)": the run has no symbol S9; name one of data'):
        prepare(store, config(features=["close", "symbol(S9)"]))
    with pytest.raises(InputError, match="the run has no symbol S2"):
        prepare(store, config(features=["close", "symbol(S2)"], symbols=["S0", "S1"]))


def test_symbols_keep_the_order_of_the_store_and_short_ones_are_left_out() -> None:
    store = MemoryStore([50, 3, 50, 50])
    prepared = prepare(store, config(symbols=["S3", "S1", "S0"]))[0]
    assert prepared.scaler.symbols == ["S0", "S3"]
    assert prepared.skipped == ["S1"]


def test_a_given_scaler_is_used_and_places_its_symbols() -> None:
    store = MemoryStore([50, 60, 50])
    fitted = prepare(store, config())[0]
    store.values *= 3
    again = prepare(store, config(symbols=["S2"]), scaler=fitted.scaler)[0]
    assert again.scaler is fitted.scaler
    numbers = np.arange(len(again.validation))
    assert set(again.validation.prices(numbers).symbol) == {2}
    _, targets = again.validation.batch(numbers)
    actual = fitted.scaler.inverse_target(targets[:, 0], again.validation.prices(numbers).symbol)
    np.testing.assert_allclose(actual, again.validation.prices(numbers).actual, rtol=1e-5)


@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize("lookback", [0, 4, 60])
def test_prices_before_a_window_do_not_depend_on_the_ranks(ranks: int, lookback: int) -> None:
    store = MemoryStore([40, 9, 25])
    everyone = prepare(store, config(window=2, horizon=3), ranks)
    for part in ("train", "validation"):
        windows = [getattr(prepared, part) for prepared in everyone]
        found = [w.prices(np.arange(len(w)), lookback) for w in windows]
        histories = np.concatenate([prices.history for prices in found])
        rows = np.concatenate([prices.date for prices in found]) - 10_000 - 3  # of the windows' last rows
        for history, row in zip(histories, rows, strict=True):
            start = store.offsets[np.searchsorted(store.offsets, row, side="right") - 1]
            known = store.values[max(start, row - lookback) : row + 1, COLUMNS.index("close")]
            np.testing.assert_array_equal(history[-len(known) :], known)
            assert np.isnan(history[: -len(known)]).all()


def test_a_scaler_of_other_columns_or_symbols_is_refused() -> None:
    store = MemoryStore([50, 60])
    fitted = prepare(store, config(symbols=["S0"]))[0].scaler
    with pytest.raises(InputError, match="S1"):
        prepare(store, config(), scaler=fitted)
    with pytest.raises(InputError, match="columns"):
        prepare(store, config(symbols=["S0"], features=["open"]), scaler=fitted)


def test_more_ranks_than_train_windows_are_refused() -> None:
    with pytest.raises(InputError, match="1 train windows are fewer than 2 ranks"):
        prepare(MemoryStore([8]), config(split=[0.5, 0.5, 0.0]), 2)


def test_a_real_store_gives_the_same_windows_and_counts_its_bytes(tmp_path: Path) -> None:
    memory = MemoryStore([60, 3, 45])
    with StoreWriter(tmp_path / "market.h5", COLUMNS, "test") as writer:
        for number, name in enumerate(memory.symbols):
            start, stop = (int(edge) for edge in memory.offsets[number : number + 2])
            writer.append(name, memory.dates(start, stop), memory.values[start:stop])
    data = config(features=["close", "log-returns"], horizon=2)
    with MarketStore(tmp_path / "market.h5") as store:
        prepared = prepare(store, data)[0]
        index = prepared.index
        needed = 2 * index.slice("train").rows + index.slice("validation").rows
        assert store.bytes_read == needed * 8 * len(COLUMNS)
        for part in PARTS:
            check_part(expected(memory, data, part), [on_ranks(1, lambda _: prepared.load_windows(part))[0]])  # noqa: B023
        assert prepared.skipped == ["S1"]
        with pytest.raises(InputError, match="S2"):
            prepare(store, config(symbols=["S22"]))
