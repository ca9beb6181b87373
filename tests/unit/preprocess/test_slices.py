"""The arithmetic of windows, against counting them one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpc_lstm.errors import InputError
from hpc_lstm.preprocess.slices import NEW, PARTS, WindowIndex

SPLITS = [[0.7, 0.15, 0.15], [0.1, 0.2, 0.7], [1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.34, 0.33, 0.33]]


def offsets(lengths: list[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)])


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=8),
    window=st.integers(1, 9),
    horizon=st.integers(1, 5),
    split=st.sampled_from(SPLITS),
    size=st.integers(1, 9),
    lookback=st.integers(0, 2),
)
def test_every_window_is_in_one_slice_and_needs_its_own_rows(
    lengths: list[int], window: int, horizon: int, split: list[float], size: int, lookback: int
) -> None:
    edges = offsets(lengths)
    try:
        index = WindowIndex.by_symbol(edges, range(len(lengths)), window, horizon, split, lookback)
    except InputError:
        assert all(int((n - window - horizon + 1) * split[0] + 1e-9) < 1 for n in lengths)
        return
    everything: list[int] = []
    last_target = {int(s): -1 for s in index.symbols}
    for part in PARTS:
        found: list[int] = []
        counts = []
        for rank in range(size):
            share = index.slice(part, rank, size)
            counts.append(share.windows)
            assert share.windows == share.count.sum()
            here: list[int] = []
            for g, place in enumerate(share.symbol):
                symbol = int(index.symbols[place])
                first, count = int(share.first[g]), int(share.count[g])
                here += range(first, first + count)
                assert share.symbol_start[g] == edges[symbol]
                assert share.row_start[g] == max(edges[symbol], first - lookback)
                assert share.row_stop[g] == first + count - 1 + window + horizon
                assert share.row_stop[g] <= edges[symbol + 1]
                target = first + window + horizon - 1
                assert target > last_target[symbol]
                last_target[symbol] = target + count - 1
            found += here
        assert found == [int(n) for n in _all(index, part)]
        assert len(found) == index.total(part)
        assert max(counts) - min(counts) <= 1
        everything += found
    expected = [
        int(edges[s]) + w for s in index.symbols for w in range(max(0, lengths[s] - window - horizon + 1))
    ]
    assert sorted(everything) == expected


def _all(index: WindowIndex, part: str) -> np.ndarray:
    share = index.slice(part)
    return np.concatenate(
        [np.arange(f, f + c) for f, c in zip(share.first, share.count, strict=True)] or [np.empty(0)]
    )


def test_shares_are_of_windows_and_decimal() -> None:
    index = WindowIndex.by_symbol(offsets([14]), [0], 4, 1, [0.7, 0.2, 0.1])
    assert [index.total(part) for part in PARTS] == [7, 2, 1]


def test_symbols_without_a_train_window_are_left_out_of_every_part() -> None:
    index = WindowIndex.by_symbol(offsets([20, 5, 20, 4]), [3, 2, 1, 0], 4, 1, [0.5, 0.25, 0.25])
    np.testing.assert_array_equal(index.symbols, [0, 2])
    np.testing.assert_array_equal(index.skipped, [1, 3])
    assert sum(index.total(part) for part in PARTS) == 32


def test_only_the_segment_that_ends_a_symbol_closes_it() -> None:
    index = WindowIndex.by_symbol(offsets([14, 14]), [0, 1], 4, 1, [1.0, 0.0, 0.0])
    closes = [index.slice("train", rank, 4).closes.tolist() for rank in range(4)]
    assert closes == [[False], [True], [False], [True]]


def test_too_long_a_window_says_how_many_rows_it_needs() -> None:
    with pytest.raises(InputError, match=r"at least 66 rows .* longest of 2 has 65"):
        WindowIndex.by_symbol(offsets([65, 20]), [0, 1], 60, 2, [0.2, 0.4, 0.4])
    index = WindowIndex.by_symbol(offsets([66]), [0], 60, 2, [0.2, 0.4, 0.4])
    assert index.total("train") == 1


@given(
    lengths=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 30)), min_size=1, max_size=5),
    split=st.sampled_from([[0.7, 0.15, 0.15], [0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.4, 0.0, 0.6]]),
    horizon=st.integers(1, 4),
)
def test_known_rows_are_split_as_if_there_were_no_others(
    lengths: list[tuple[int, int]], split: list[float], horizon: int
) -> None:
    known, new = np.array(lengths).T
    lengths_now, symbols = (known + new).tolist(), range(len(lengths))
    try:
        before = WindowIndex.by_symbol(offsets(known.tolist()), symbols, 4, horizon, split)
    except InputError:
        return
    index = WindowIndex.by_symbol(offsets(lengths_now), symbols, 4, horizon, split, known=known)
    moved = offsets(lengths_now)[before.symbols] - offsets(known.tolist())[before.symbols]
    for part in PARTS:
        old, now = before.slice(part), index.slice(part)
        np.testing.assert_array_equal(now.first, old.first + moved[old.symbol])
        np.testing.assert_array_equal(now.count, old.count)
    assert before.total(NEW) == 0
    for symbol, count in zip(*np.unique(index.slice(NEW).symbol, return_counts=True), strict=True):
        assert count == 1, "one segment a symbol"
        assert new[index.symbols[symbol]] > 0
    usable = before.symbols
    expected = np.maximum(0, (known + new)[usable] - 3 - horizon) - np.maximum(0, known[usable] - 3 - horizon)
    assert index.total(NEW) == expected.sum()
