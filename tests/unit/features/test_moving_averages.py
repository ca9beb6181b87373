"""Moving averages against their definitions and pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hpc_lstm.features.ema import SPANS, exponential_moving_average
from hpc_lstm.features.sma import simple_moving_average
from hpc_lstm.features.trailing_mean import trailing_mean

PRICES = st.lists(st.one_of(st.floats(0.01, 1e6), st.just(float("nan"))), max_size=60)


@given(PRICES, st.integers(1, 70), st.sampled_from([0.0, 0.3, 0.9, 1.0]))
def test_trailing_mean_is_the_weighted_mean_of_the_last_values(
    prices: list[float], length: int, decay: float
) -> None:
    values = np.array(prices, np.float64)
    mean, weight = trailing_mean(values, length, decay)
    for row in range(len(values)):
        last = values[max(0, row + 1 - length) : row + 1]
        weights = decay ** np.arange(len(last))[::-1] * ~np.isnan(last)
        assert weight[row] == pytest.approx(weights.sum(), rel=1e-12)
        if weights.sum() == 0:
            assert np.isnan(mean[row])
        else:
            expected = (weights * np.nan_to_num(last)).sum() / weights.sum()
            assert mean[row] == pytest.approx(expected, rel=1e-12)


@given(PRICES, st.integers(1, 70))
def test_sma_is_that_of_pandas(prices: list[float], length: int) -> None:
    values = pd.Series(prices, dtype=np.float64)
    found = simple_moving_average(values.to_numpy(), length)
    # pandas keeps a running sum, whose rounding is that of the largest value so far.
    close = {"rtol": 1e-9, "atol": 1e-6}
    np.testing.assert_allclose(found, values.rolling(length, min_periods=1).mean(), **close)
    chart = simple_moving_average(values.to_numpy(), length, whole=True)
    np.testing.assert_allclose(chart, values.rolling(length).mean(), **close)


@given(st.lists(st.floats(0.01, 1e6), max_size=60), st.integers(1, 70))
@example(
    [262145.0, 0.01319153149293577], 1
)  # a small price after a large one, which must not be lost beside it
def test_ema_is_that_of_pandas(prices: list[float], span: int) -> None:
    values = pd.Series(prices, dtype=np.float64)
    found = exponential_moving_average(values.to_numpy(), span)
    np.testing.assert_allclose(found, values.ewm(span=span).mean(), rtol=1e-12)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000), span=st.integers(1, 12))
def test_rows_that_ema_does_not_look_at_could_not_change_it(seed: int, span: int) -> None:
    prices = 100 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.02, 40 * span)))
    np.testing.assert_allclose(
        exponential_moving_average(prices, span), pd.Series(prices).ewm(span=span).mean(), rtol=1e-13
    )
    assert (1 - 2 / (span + 1)) ** (SPANS * span) < np.finfo(np.float64).epsneg / 2


@given(st.floats(1e-6, 1e9), st.integers(1, 200), st.integers(1, 40), st.floats(0, 1))
def test_the_mean_of_equal_prices_is_that_price(price: float, rows: int, length: int, decay: float) -> None:
    assert set(trailing_mean(np.full(rows, price), length, decay)[0].tolist()) == {price}


def test_averages_of_a_known_series() -> None:
    assert simple_moving_average(np.array([1.0, 2, 3, 4]), 2).tolist() == [1, 1.5, 2.5, 3.5]
    assert exponential_moving_average(np.array([1.0, 2, 3]), 3) == pytest.approx([1, 5 / 3, 17 / 7])
    with_gap = np.array([4.0, np.nan, 8])
    assert simple_moving_average(with_gap, 2).tolist() == [4, 4, 8]
    assert exponential_moving_average(with_gap, 3) == pytest.approx([4, 4, (8 + 4 / 4) / (1 + 1 / 4)])
