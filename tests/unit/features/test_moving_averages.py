"""Moving averages against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpc_lstm.features.moving_averages import ema, sma

PRICES = st.lists(st.one_of(st.floats(0.01, 1e6), st.just(float("nan"))), max_size=60)


@given(PRICES, st.integers(1, 70))
def test_sma_is_the_mean_of_the_last_values(prices: list[float], length: int) -> None:
    values = np.array(prices, np.float64)
    found = sma(values, length)
    assert found.shape == values.shape
    for row in range(len(values)):
        last = values[row + 1 - length : row + 1] if row + 1 >= length else np.array([np.nan])
        expected = np.mean(last)
        assert np.isnan(found[row]) == np.isnan(expected)
        if not np.isnan(expected):
            assert found[row] == pytest.approx(expected, rel=1e-9, abs=1e-6)


@given(PRICES, st.integers(1, 70))
def test_ema_weighs_values_by_their_age(prices: list[float], length: int) -> None:
    values = np.array(prices, np.float64)
    found = ema(values, length)
    share = 2 / (length + 1)
    for row in range(len(values)):
        seen = values[: row + 1]
        seen = seen[~np.isnan(seen)]
        if not len(seen):
            assert np.isnan(found[row])
            continue
        ages = np.arange(len(seen))[::-1]
        weights = np.where(ages == ages[0], (1 - share) ** ages, share * (1 - share) ** ages)
        assert weights.sum() == pytest.approx(1)
        assert found[row] == pytest.approx((weights * seen).sum(), rel=1e-9)


def test_averages_of_a_known_series() -> None:
    assert sma(np.array([1.0, 2, 3, 4]), 2).tolist()[1:] == [1.5, 2.5, 3.5]
    assert ema(np.array([1.0, 2, 3]), 3).tolist() == [1.0, 1.5, 2.25]
    assert ema(np.full(9, 7.0), 4).tolist() == [7.0] * 9
