"""Indicators against pandas, by their definitions, and against the package ``ta``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hpc_lstm.config import DataConfig
from hpc_lstm.features.registry import parse_feature
from hpc_lstm.features.rows import RowDates, SymbolRows

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
    # Not by rolling.std, which updates its variance from row to row: a spread of almost 0 is lost in rounding.
    mean, spread = rolling.mean(), rolling.apply(np.std, raw=True)
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
    high = np.round(close * (1 + np.abs(random.normal(0, 0.01, 1500))), 4)
    low = np.round(close * (1 - np.abs(random.normal(0, 0.01, 1500))), 4)
    for name, expected in known["features"].items():
        rows = SymbolRows({"close": close, "high": high, "low": low}, None)
        found = parse_feature(name).values(rows)[known["rows"]]
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)


def test_the_first_true_ranges_are_averaged_as_they_come() -> None:
    rows = SymbolRows(
        {"high": np.array([5.0, 9.0]), "low": np.array([3.0, 8.0]), "close": np.array([4.0, 8.5])}, None
    )
    # High less low, then high less the close before; the older one weighs 1 - 1/2.
    np.testing.assert_allclose(parse_feature("atr(2)").values(rows), [2.0, (5 + 0.5 * 2) / 1.5])


def calendar(name: str, *dates: str) -> np.ndarray:
    about = RowDates("AAPL", np.array(dates, "datetime64[D]").astype(np.int64), "D")
    return parse_feature(name).values(SymbolRows({}, about))


def test_the_calendar_goes_round() -> None:
    week = [f"2024-01-{day:02}" for day in range(1, 15)]  # from a Monday
    sine, cosine = calendar("weekday-sine", *week), calendar("weekday-cosine", *week)
    np.testing.assert_allclose(sine[:7], np.sin(2 * np.pi * np.arange(7) / 7), atol=1e-12)
    np.testing.assert_allclose(cosine[:7], np.cos(2 * np.pi * np.arange(7) / 7), atol=1e-12)
    np.testing.assert_array_equal(sine[:7], sine[7:])
    months = [f"2023-{month:02}-09" for month in range(1, 13)]
    np.testing.assert_allclose(
        calendar("month-sine", *months), np.sin(2 * np.pi * np.arange(12) / 12), atol=1e-12
    )
    np.testing.assert_allclose(
        calendar("month-cosine", *months), np.cos(2 * np.pi * np.arange(12) / 12), atol=1e-12
    )
    days = pd.date_range("2024-01-01", "2024-12-31")
    angle = 2 * np.pi * (days.day_of_year.to_numpy() - 1) / 365.2425
    np.testing.assert_allclose(calendar("day-of-year-sine", *map(str, days.date)), np.sin(angle), atol=1e-12)
    np.testing.assert_allclose(
        calendar("day-of-year-cosine", *map(str, days.date)), np.cos(angle), atol=1e-12
    )


def test_the_month_ends_on_its_last_weekday() -> None:
    days = pd.date_range("2023-01-01", "2025-12-31")
    last = {str(day.date()) for day in pd.date_range("2023-01-01", "2025-12-31", freq="BME")}
    found = calendar("month-end", *map(str, days.date))
    assert {str(day.date()) for day, end in zip(days, found, strict=True) if end} == last


def test_dates_of_an_intraday_store_are_its_days() -> None:
    moments = np.array(["2024-01-31T15:59", "2024-02-01T09:30"], "datetime64[ns]").astype(np.int64)
    rows = SymbolRows({}, RowDates("AAPL", moments, "ns"))
    assert parse_feature("month-end").values(rows).tolist() == [1, 0]


def test_a_symbol_is_told_from_others() -> None:
    assert calendar("symbol(AAPL)", "2024-01-01").tolist() == [1]
    assert calendar("symbol(IBM)", "2024-01-01").tolist() == [0]


def test_short_names_stand_for_several_columns() -> None:
    def features(**data) -> list[str]:
        return DataConfig(store="m.h5", **data).features

    assert features(features=["weekday", "close"]) == ["weekday-sine", "weekday-cosine", "close"]
    found = features(features=["symbol", "month"], symbols=["A", "B"])
    assert found == ["symbol(A)", "symbol(B)", "month-sine", "month-cosine"]
    with pytest.raises(ValueError, match=r"name them in data\.symbols"):
        features(features=["symbol"])
