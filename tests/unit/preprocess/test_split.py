"""The split by date: nothing of a day that the model was trained on is left to forecast, for any symbol."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from simulated_ranks import on_ranks, outcomes

from hpc_lstm.config import DataConfig
from hpc_lstm.errors import InputError
from hpc_lstm.market.store import MarketStore
from hpc_lstm.market.store_writer import StoreWriter
from hpc_lstm.parallel.world import World
from hpc_lstm.preprocess import prepare as preprocess
from hpc_lstm.preprocess import split as splitting
from hpc_lstm.preprocess.host_backend import HostBackend
from hpc_lstm.preprocess.prepare import window_index
from hpc_lstm.preprocess.slices import NEW, PARTS, WindowIndex
from hpc_lstm.preprocess.split import SplitDates, target_days

FIRST_DAY = 15_000
SPLITS: list[Any] = [
    [0.7, 0.15, 0.15],
    [0.5, 0.5, 0.0],
    [1.0, 0.0, 0.0],
    [0.3, 0.0, 0.7],
    [str(np.datetime64(FIRST_DAY + 25, "D")), str(np.datetime64(FIRST_DAY + 40, "D"))],
]


class DatedStore:
    """The symbols and dates of a market store, in memory."""

    path = Path("market.h5")
    date_unit = "D"

    def __init__(self, dates: list[list[int]]) -> None:
        self.symbols = [f"S{number}" for number in range(len(dates))]
        self.offsets = np.concatenate([[0], np.cumsum([len(each) for each in dates])]).astype(np.int64)
        self._dates = np.concatenate([np.array(each, np.int64) for each in dates]) + FIRST_DAY

    def dates(self, start: int, stop: int) -> np.ndarray:
        return self._dates[start:stop]


# Symbols that begin and end when they like, and have days without a price.
CALENDARS = st.lists(st.sets(st.integers(0, 59), min_size=1, max_size=60).map(sorted), min_size=1, max_size=5)


def windows_of(index: WindowIndex, store: Any, part: str) -> list[tuple[int, int]]:
    """Dates of last row and target of all windows of a part, symbol by symbol."""
    share, found = index.slice(part), []
    for first, count in zip(share.first.tolist(), share.count.tolist(), strict=True):
        for row in range(first, first + count):
            last = row + index.window - 1
            found.append(
                (
                    int(store.dates(last, last + 1)[0]),
                    int(store.dates(last + index.horizon, last + index.horizon + 1)[0]),
                )
            )
    return found


@settings(max_examples=150, deadline=None)
@given(
    calendars=CALENDARS,
    window=st.integers(1, 6),
    horizon=st.integers(1, 4),
    split=st.sampled_from(SPLITS),
    ranks=st.integers(1, 4),
)
def test_every_forecast_of_validation_and_test_is_made_after_all_training_days(
    calendars: list[list[int]], window: int, horizon: int, split: Any, ranks: int
) -> None:
    store: Any = DatedStore(calendars)
    data = DataConfig(store="market.h5", window=window, horizon=horizon, split=split)
    everyone = outcomes(ranks, lambda world: window_index(store, data, world))
    assert all(str(each) == str(everyone[0]) for each in everyone if isinstance(each, InputError))
    if isinstance(everyone[0], InputError):
        return
    for index, cut in everyone:
        assert cut == everyone[0][1]
        for part in PARTS:
            np.testing.assert_array_equal(index.slice(part).first, everyone[0][0].slice(part).first)
            np.testing.assert_array_equal(index.slice(part).count, everyone[0][0].slice(part).count)
    index, cut = everyone[0]
    found = {part: windows_of(index, store, part) for part in PARTS}
    last_train = max(target for _, target in found["train"])
    last_seen = max([last_train, *(target for _, target in found["validation"])])
    assert last_train <= cut.train_end <= cut.validation_end
    assert all(last >= last_train and target > last_train for last, target in found["validation"])
    assert all(last >= last_seen and target > last_seen for last, target in found["test"])
    # No window is lost but those that straddle a border, in symbols that are trained on.
    for symbol in index.symbols.tolist():
        days = store.dates(*store.offsets[symbol : symbol + 2])
        pairs = list(zip(days[window - 1 :], days[window - 1 + horizon :], strict=False))
        train = [pair for pair in pairs if pair[1] <= cut.train_end]
        validation = [pair for pair in pairs if pair[0] >= cut.train_end and pair[1] <= cut.validation_end]
        test = [pair for pair in pairs if pair[0] >= cut.validation_end]
        for part, expected in zip(PARTS, (train, validation, test), strict=True):
            share = index.slice(part)
            mine = share.symbol == index.symbols.tolist().index(symbol)
            assert share.count[mine].sum() == len(expected)


def outcome(store: Any, data: DataConfig, world: World) -> Any:
    try:
        return window_index(store, data, world)
    except InputError as error:
        return error


@given(
    rows=st.integers(8, 60),
    symbols=st.integers(1, 3),
    split=st.sampled_from([shares for shares in SPLITS if len(shares) == 3]),
)
def test_where_all_symbols_have_the_same_days_both_splits_are_the_same(
    rows: int, symbols: int, split: Any
) -> None:
    store: Any = DatedStore([list(range(rows))] * symbols)
    found = []
    for by in ("date", "symbol"):
        data = DataConfig(store="market.h5", window=4, split=split, split_by=by)
        index = outcome(store, data, World())
        found.append(
            None
            if isinstance(index, InputError)
            else [(index[0].slice(p).first.tolist(), index[0].slice(p).count.tolist()) for p in PARTS]
        )
    assert found[0] == found[1]


def test_known_rows_are_cut_as_if_there_were_no_others() -> None:
    before: Any = DatedStore([list(range(40)), list(range(10, 40))])
    grown: Any = DatedStore([list(range(55)), list(range(10, 55))])
    data = DataConfig(store="market.h5", window=4)
    old, cut = window_index(before, data, World())
    now, same = window_index(grown, data, World(), known=np.array([40, 30]))
    assert same == cut
    for part in PARTS:
        assert now.slice(part).count.tolist() == old.slice(part).count.tolist()
    assert now.total(NEW) == 30


def test_dates_are_the_first_days_of_validation_and_test() -> None:
    store: Any = DatedStore([list(range(60))])
    data = DataConfig(store="market.h5", window=4, split=SPLITS[-1])
    index, cut = window_index(store, data, World())
    assert cut == SplitDates(FIRST_DAY + 24, FIRST_DAY + 39)
    assert [windows_of(index, store, part)[0][1] for part in ("validation", "test")] == [
        FIRST_DAY + 25,
        FIRST_DAY + 40,
    ]


def test_a_first_day_before_all_targets_is_refused() -> None:
    store: Any = DatedStore([list(range(60))])
    data = DataConfig(store="market.h5", window=4, split=["1999-01-01", "2000-01-01"])
    with pytest.raises(
        InputError, match=r'"1999-01-01" as the first day of validation leaves no day to train on'
    ):
        window_index(store, data, World())


def test_shards_of_one_store_are_cut_on_the_same_days() -> None:
    store: Any = DatedStore([list(range(60)), list(range(30))])
    cuts = [
        window_index(store, DataConfig(store="market.h5", window=4, shard=shard), World())[1]
        for shard in ("1/2", "2/2", "")
    ]
    assert cuts[0] == cuts[1] == cuts[2]


def test_days_are_collected_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    store: Any = DatedStore([list(range(60)), list(range(5, 50, 3)), list(range(20, 60))])
    data = DataConfig(store="market.h5", window=4)
    _, whole = window_index(store, data, World())
    monkeypatch.setattr(splitting, "DATES_AT_ONCE", 7)
    assert window_index(store, data, World())[1] == whole


@pytest.mark.parametrize("unit", ["D", "ns"])
def test_days_that_a_file_has_are_the_same_again(unit: str) -> None:
    factor = 1 if unit == "D" else 86_400_000_000_000
    cut = SplitDates(15_000 * factor, 15_100 * factor)
    assert SplitDates.from_texts(cut.texts(unit), unit) == cut


def test_a_day_stands_for_its_end_where_dates_are_finer() -> None:
    found = SplitDates.from_texts({"train_ends": "1970-01-02", "validation_ends": "1970-01-03"}, "ns")
    day = 86_400_000_000_000
    assert found == SplitDates(2 * day - 1, 3 * day - 1)


def test_a_symbol_that_begins_after_training_is_measured_where_it_has_a_scaling(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    with StoreWriter(tmp_path / "market.h5", ["close"], "test") as writer:
        for name, first in (("OLD", 0), ("YOUNG", 80)):
            days = np.arange(first, 100, dtype=np.int64)
            writer.append(name, days, 100 + rng.normal(size=(len(days), 1)))
    data = DataConfig(store=str(tmp_path / "market.h5"), window=4)
    with MarketStore(data.store) as store:
        fitted = preprocess.prepare(store, data, World(), HostBackend())
        assert fitted.skipped == ["YOUNG"]
        kept = preprocess.prepare(
            store, data.model_copy(update={"symbols": ["OLD"]}), World(), HostBackend(), fitted.scaler,
            split_dates=SplitDates(-1, -1), to_train=False,
        )  # fmt: skip
        assert kept.index.total("train") == 0
        assert kept.index.total("test") == 100 - 4


@example([[0, 1, 2, 58, 59]], 1, 1, [0.3, 0.0, 0.7], 0, 3, None)  # begins after the last train day
@settings(max_examples=150, deadline=None)
@given(
    calendars=CALENDARS,
    window=st.integers(1, 6),
    horizon=st.integers(1, 4),
    split=st.sampled_from(SPLITS),
    embargo=st.integers(0, 4),
    begin=st.one_of(st.none(), st.integers(0, 50)),
    end=st.one_of(st.none(), st.integers(0, 59)),
)
def test_an_embargo_a_beginning_and_an_end_take_windows_away_and_add_none(
    calendars: list[list[int]],
    window: int,
    horizon: int,
    split: Any,
    embargo: int,
    begin: int | None,
    end: int | None,
) -> None:
    store: Any = DatedStore(calendars)
    plain = DataConfig(store="market.h5", window=window, horizon=horizon, split=split)
    asked = {"train_from": begin, "until": end}
    day = {key: str(np.datetime64(FIRST_DAY + n, "D")) for key, n in asked.items() if n is not None}
    data = plain.model_copy(update={"embargo": embargo, **day})
    try:
        whole, cut = window_index(store, plain, World(), to_train=False)
        index, less = window_index(store, data, World(), to_train=False)
    except InputError:
        return
    assert cut is not None
    assert less is not None
    assert SplitDates.from_texts(less.texts("D"), "D") == less, "as run.json keeps it"
    before = {part: windows_of(whole, store, part) for part in PARTS}
    after = {part: windows_of(index, store, part) for part in PARTS}
    first = -np.inf if begin is None else FIRST_DAY + begin
    last = np.inf if end is None else FIRST_DAY + end
    assert after["test"] == [pair for pair in before["test"] if pair[1] <= last]
    assert after["train"] == [pair for pair in before["train"] if first <= pair[1] <= less.train_end]
    days = sorted({target for pairs in before.values() for _, target in pairs})
    trained = [target for _, target in after["train"]]
    for part in ("validation", "test"):
        for known, target in after[part]:
            if trained and target <= last:
                between = [day for day in days if max(trained) < day <= known]
                assert len(between) >= min(
                    embargo, len([d for d in days if max(trained) < d <= cut.train_end])
                )


def test_target_days_are_those_of_all_symbols() -> None:
    store: Any = DatedStore([[0, 1, 2, 5], [1, 4, 6]])
    data = DataConfig(store="market.h5", window=2)
    for found in on_ranks(3, lambda world: target_days(store, np.array([0, 1]), data, world)):
        assert (found.astype(int) - FIRST_DAY).tolist() == [2, 5, 6]


@pytest.mark.parametrize(
    ("split", "trained", "validated"),
    [
        (["1970-01-05", "1970-01-09"], "1970-01-02T15:00", "1970-01-06T15:00"),
        # Of 39 moments with a target, 0.5 end with the 5th day and 0.9 with the 9th.
        ([0.5, 0.4, 0.1], "1970-01-03T15:00", "1970-01-07T15:00"),
        # Both borders lie within a day, the 4th and the 9th: what is before them on that day goes with the embargo.
        ([0.375, 0.5, 0.125], "1970-01-01T15:00", "1970-01-06T15:00"),
    ],
)
def test_an_embargo_is_of_days_where_a_day_has_several_dates(
    split: Any, trained: str, validated: str
) -> None:
    """Four moments a day, from 09:00 to 15:00, on ten days."""
    store: Any = DatedStore([[0]])
    moments = np.datetime64("1970-01-01T09", "ns") + np.array(
        [np.timedelta64(24 * day + 2 * at, "h") for day in range(10) for at in range(4)]
    )
    store.date_unit, store.offsets = "ns", np.array([0, 40])
    store._dates = moments.astype("datetime64[ns]").astype(np.int64)
    data = DataConfig(store="market.h5", window=1, split=split, embargo=2)
    _, cut = window_index(store, data, World())
    assert cut is not None
    assert cut.train_end == np.datetime64(trained, "ns").astype(np.int64)
    assert cut.validation_end == np.datetime64(validated, "ns").astype(np.int64)
