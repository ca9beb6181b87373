"""The host backend against NumPy and scikit-learn, symbol by symbol."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpc_lstm.preprocess import host

LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=6)


def rows_of(
    lengths: list[int], seed: int, columns: int = 3, gaps: float = 0.3
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows = rng.normal(50, 20, (sum(lengths), columns))
    rows[rng.random(rows.shape) < gaps] = np.nan
    return rows, np.concatenate([[0], np.cumsum(lengths)])


@pytest.mark.filterwarnings("ignore:All-NaN", "ignore:Mean of empty")
@settings(deadline=None)
@given(lengths=LENGTHS, seed=st.integers(0, 1000), gaps=st.sampled_from([0.0, 0.4, 1.0]))
def test_fits_leave_nan_out(lengths: list[int], seed: int, gaps: float) -> None:
    rows, offsets = rows_of(lengths, seed, gaps=gaps)
    low, high = host.fit_minmax(rows, offsets)
    count, mean, squares = host.fit_moments(rows, offsets)
    for symbol in range(len(lengths)):
        for column in range(3):
            values = rows[offsets[symbol] : offsets[symbol + 1], column]
            values = values[~np.isnan(values)]
            assert low[symbol, column] == min(values, default=np.inf)
            assert high[symbol, column] == max(values, default=-np.inf)
            assert count[symbol, column] == len(values)
            if len(values):
                np.testing.assert_allclose(mean[symbol, column], values.mean(), rtol=1e-13)
                np.testing.assert_allclose(
                    squares[symbol, column], ((values - values.mean()) ** 2).sum(), rtol=1e-12, atol=1e-20
                )


@settings(deadline=None)
@given(lengths=LENGTHS, seed=st.integers(0, 1000))
def test_transform_rounds_once(lengths: list[int], seed: int) -> None:
    rows, offsets = rows_of(lengths, seed, gaps=0)
    rng = np.random.default_rng(seed)
    scale, shift = rng.normal(0, 1, (2, len(lengths), 3))
    found = host.transform(rows, offsets, scale, shift)
    symbol = np.repeat(np.arange(len(lengths)), lengths)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, (rows * scale[symbol] + shift[symbol]).astype(np.float32))


@settings(deadline=None)
@given(rows=st.integers(1, 40), window=st.integers(1, 40), features=st.integers(1, 4), data=st.data())
def test_gather_copies_windows(rows: int, window: int, features: int, data: st.DataObject) -> None:
    resident = np.random.default_rng(rows).random((rows, features), np.float32)
    if rows < window:
        assert host.gather(resident, np.empty(0, np.int64), window).shape == (0, window, features)
        with pytest.raises(IndexError):
            host.gather(resident, np.array([0]), window)
        return
    starts = np.array(data.draw(st.lists(st.integers(0, rows - window), max_size=9)), np.int64)
    found = host.gather(resident, starts, window)
    assert found.shape == (len(starts), window, features)
    for batch, start in zip(found, starts, strict=True):
        np.testing.assert_array_equal(batch, resident[start : start + window])
    steps = host.gather(resident, np.stack([starts, starts]), window)
    np.testing.assert_array_equal(steps, np.stack([found, found]))
    found[...] = -1
    assert resident.min() >= 0
    with pytest.raises(IndexError):
        host.gather(resident, np.array([rows - window + 1]), window)
