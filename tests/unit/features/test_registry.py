"""Every kind of feature that the registry holds: causal, the same however it is cut, and named in the documents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from hpc_lstm.features.feature import Feature
from hpc_lstm.features.registry import (
    FEATURES,
    TARGETS,
    feature_class,
    feature_classes,
    parse_feature,
    target_class,
)
from hpc_lstm.features.rows import DailyMean, RowDates, SymbolRows

REPOSITORY = Path(__file__).parents[3]
KINDS = pytest.mark.parametrize("kind", feature_classes(), ids=lambda kind: kind.kind)


# What all symbols did on each day.
MARKET = {"close": DailyMean(np.arange(15_000, 15_400), np.sin(np.arange(400)))}


def named(kind: type[Feature], *numbers: int) -> Feature:
    """A feature with ``close`` as its text, if it takes one."""
    texts = [field.name for field in fields(kind) if field.type == "str"]
    own = [field.name for field in fields(kind)[len(texts) :]]
    return kind(**dict.fromkeys(texts, "close"), **dict(zip(own, numbers, strict=True)))


def numbers_of(kind: type[Feature]) -> list[str]:
    return [field.name for field in fields(kind) if field.type != "str"]


# As many numbers as any kind takes.
NUMBERS = st.tuples(*[st.integers(1, 12)] * max(len(numbers_of(kind)) for kind in feature_classes()))
SEEDS = st.integers(0, 10**6)


def some_features(numbers: tuple[int, ...]) -> Iterator[Feature]:
    """One of every kind; what fails names it. An example is for all: to draw it takes longer than to check it."""
    for kind in feature_classes():
        note(kind.kind)
        yield named(kind, *numbers[: len(numbers_of(kind))])


def walk(seed: int, rows: int) -> np.ndarray:
    """Prices [rows, 3], high, low and close."""
    random = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(random.normal(0, 0.02, rows)))
    spread = np.exp(np.abs(random.normal(0, 0.01, (2, rows))))
    return np.column_stack([close * spread[0], close / spread[1], close])


def values(feature: Feature, prices: np.ndarray, first: int = 0) -> np.ndarray:
    """The feature of rows that begin with row ``first`` of a symbol called close."""
    columns = dict(zip(("high", "low", "close"), np.ascontiguousarray(prices.T), strict=True))
    dates = 15_000 + first + np.arange(len(prices), dtype=np.int64)
    return feature.values(SymbolRows(columns, RowDates("close", dates, "D"), MARKET))


@settings(max_examples=60, deadline=None)
@given(
    numbers=NUMBERS,
    seed=SEEDS,
    rows=st.integers(2, 300),
    factor=st.sampled_from([1e-3, 1.01, 1e9, np.nan]),
    data=st.data(),
)
def test_rows_after_t_change_no_value_up_to_t(
    numbers: tuple[int, ...], seed: int, rows: int, factor: float, data: st.DataObject
) -> None:
    known = data.draw(st.integers(1, rows - 1), "known rows")
    prices = walk(seed, rows)
    others = prices.copy()
    others[known:] *= factor
    for feature in some_features(numbers):
        before = values(feature, prices)
        assert before.shape == (rows,)
        assert before.dtype == np.float64
        assert np.isfinite(before).all()
        np.testing.assert_array_equal(values(feature, others)[:known], before[:known])
        np.testing.assert_array_equal(values(feature, prices[:known]), before[:known])


@settings(max_examples=60, deadline=None)
@given(numbers=NUMBERS, seed=SEEDS, rows=st.integers(1, 300), data=st.data())
def test_a_slice_with_its_lookback_has_the_bits_of_the_whole_symbol(
    numbers: tuple[int, ...], seed: int, rows: int, data: st.DataObject
) -> None:
    prices = walk(seed, rows)
    first = data.draw(st.integers(0, rows - 1), "first")
    stop = data.draw(st.integers(first + 1, rows), "stop")
    for feature in some_features(numbers):
        whole = values(feature, prices)
        start = max(0, first - feature.lookback)
        found = values(feature, prices[start:stop].copy(), start)[first - start :]
        np.testing.assert_array_equal(found, whole[first:stop])


@settings(max_examples=30, deadline=None)
@given(numbers=NUMBERS, seed=SEEDS, horizon=st.integers(1, 5))
def test_a_target_is_causal_and_turns_back_into_the_price(
    numbers: tuple[int, ...], seed: int, horizon: int
) -> None:
    prices = walk(seed, 60)[:, 2]
    for feature in some_features(numbers):
        target = feature.as_target(horizon)
        if target is None:
            continue
        found = target.compute(prices)
        assert target.lookback <= horizon
        assert np.isnan(found[: target.lookback]).all()
        np.testing.assert_allclose(
            target.price(found[horizon:], prices[:-horizon]), prices[horizon:], rtol=1e-12
        )
        np.testing.assert_array_equal(target.compute(prices[:30]), found[:30])


@KINDS
def test_a_feature_leaves_its_prices_alone(kind: type[Feature]) -> None:
    prices = np.linspace(1, 2, 150).reshape(50, 3)
    given = {name: prices[:, number].copy() for number, name in enumerate(("high", "low", "close"))}
    about = RowDates("close", np.arange(50), "D")
    named(kind, *(3 for _ in numbers_of(kind))).values(SymbolRows(given, about, MARKET))
    np.testing.assert_array_equal(np.column_stack(list(given.values())), prices)


@KINDS
def test_settings_and_documents_name_it(kind: type[Feature]) -> None:
    usage = kind.usage()
    written = usage.replace("NAME", "close")
    for name in numbers_of(kind):
        written = written.replace(name, "7")
    assert parse_feature(written) == named(kind, *(7 for _ in numbers_of(kind)))
    assert f"`{usage}`" in (REPOSITORY / "docs" / "features.md").read_text(encoding="utf-8")


def test_a_kind_is_registered_by_its_own_name() -> None:
    assert [feature_class(name).kind for name in FEATURES] == list(FEATURES)
    assert [target_class(name).kind for name in TARGETS] == list(TARGETS)
