"""Indicators against pandas, by their definitions, and against the package ``ta``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hpc_lstm.features.registry import parse_feature

RANDOM = np.random.default_rng(5)
PRICES = 100 * np.exp(np.cumsum(RANDOM.normal(0, 0.02, 1500)))
SERIES = pd.Series(PRICES)
# Rows after which the beginning of an average no longer counts.
WARM = 800


def feature(name: str, values: np.ndarray = PRICES) -> np.ndarray:
    return parse_feature(name).compute(values)


def test_returns_lag_and_volume_change() -> None:
    np.testing.assert_allclose(
        feature("returns(close)"), SERIES.pct_change().fillna(0), rtol=1e-12, atol=1e-15
    )
    np.testing.assert_array_equal(feature("lag(close, 3)"), SERIES.shift(3).fillna(PRICES[0]))
    volumes = np.array([0.0, 100.0, 100.0, 0.0, -1.0])
    expected = [0, np.log(101), 0, -np.log(101), 0]
    np.testing.assert_allclose(feature("volume-change", volumes), expected)


@pytest.mark.parametrize("length", [1, 2, 7, 20, 250])
def test_rolling_moments_are_those_of_pandas(length: int) -> None:
    rolling = SERIES.rolling(length, min_periods=1)
    mean, spread = rolling.mean(), rolling.std(ddof=0)
    exact = {"rtol": 1e-9, "atol": 1e-9}
    np.testing.assert_allclose(feature(f"bollinger-width(close, {length})"), 4 * spread / mean, **exact)
    np.testing.assert_allclose(feature(f"relative(close, {length})"), SERIES / mean - 1, **exact)
    if length > 1:
        expected = ((SERIES - mean) / spread).fillna(0)
        np.testing.assert_allclose(feature(f"zscore(close, {length})"), expected, rtol=1e-6, atol=1e-6)
    returns = np.log(SERIES).diff() ** 2
    expected = np.sqrt(returns.rolling(length, min_periods=1).mean()).fillna(0)
    np.testing.assert_allclose(feature(f"volatility(close, {length})"), expected, **exact)


def test_large_numbers_cost_no_digits_of_a_variance() -> None:
    values = 1e9 + RANDOM.normal(size=300)
    expected = pd.Series(values - 1e9).rolling(20, min_periods=1).std(ddof=0)
    found = (
        feature("bollinger-width(close, 20)", values)
        * pd.Series(values).rolling(20, min_periods=1).mean()
        / 4
    )
    np.testing.assert_allclose(found[1:], expected[1:], rtol=1e-5)


def wilder(values: np.ndarray, length: int) -> np.ndarray:
    """Wilder's average as his book has it: the plain mean of the first values, then one by one."""
    found = np.full(len(values), np.nan)
    found[length - 1] = values[:length].mean()
    for row in range(length, len(values)):
        found[row] = (found[row - 1] * (length - 1) + values[row]) / length
    return found


@pytest.mark.parametrize("length", [2, 14, 20])
def test_rsi_is_wilders_once_its_beginning_is_forgotten(length: int) -> None:
    change = np.diff(PRICES)
    ups, downs = (wilder(np.maximum(sign * change, 0), length) for sign in (1, -1))
    expected = 100 - 100 / (1 + ups / downs)
    np.testing.assert_allclose(feature(f"rsi(close, {length})")[WARM:], expected[WARM - 1 :], rtol=1e-9)


def test_rsi_at_its_ends() -> None:
    rising = feature("rsi(close, 5)", np.arange(1.0, 30))
    assert rising[0] == 50
    assert (rising[1:] == 100).all()
    assert (feature("rsi(close, 5)", np.arange(30.0, 1, -1))[1:] == 0).all()
    assert (feature("rsi(close, 5)", np.full(10, 7.0)) == 50).all()


def test_macd_is_that_of_pandas() -> None:
    def ema(series: pd.Series, span: int) -> pd.Series:
        return series.ewm(span=span, adjust=False).mean()

    macd = ema(SERIES, 12) - ema(SERIES, 26)
    found = feature("macd(close, 12, 26)")
    np.testing.assert_allclose(found[WARM:], macd[WARM:], rtol=1e-9, atol=1e-9)
    found = feature("macd-signal(close, 12, 26, 9)")
    np.testing.assert_allclose(found[WARM:], ema(macd, 9)[WARM:], rtol=1e-9, atol=1e-9)


def test_the_package_ta_has_the_same_indicators() -> None:
    """Values that it computed are in tests/data, with its version."""
    known = json.loads(
        (Path(__file__).parents[2] / "data" / "indicators_of_ta.json").read_text(encoding="utf-8")
    )
    random = np.random.default_rng(5)
    close = np.round(100 * np.exp(np.cumsum(random.normal(0, 0.02, 1500))), 4)
    for name, expected in known["features"].items():
        if name.startswith("atr"):
            continue
        np.testing.assert_allclose(feature(name, close)[known["rows"]], expected, rtol=1e-8, atol=1e-8)
