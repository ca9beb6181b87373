"""Every kind of feature that the registry holds: causal, the same however it is cut, and named in the documents."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpc_lstm.config import DataConfig
from hpc_lstm.features.feature import Feature
from hpc_lstm.features.registry import FEATURES, parse_feature

REPOSITORY = Path(__file__).parents[3]
KINDS = pytest.mark.parametrize("kind", FEATURES, ids=lambda kind: kind.kind)


def some_feature(kind: type[Feature], data: st.DataObject) -> Feature:
    numbers = {field.name: data.draw(st.integers(1, 12), field.name) for field in fields(kind)[1:]}
    return kind("close", **numbers)


def walk(data: st.DataObject, rows: int) -> np.ndarray:
    random = np.random.default_rng(data.draw(st.integers(0, 10**6), "seed"))
    return 100 * np.exp(np.cumsum(random.normal(0, 0.02, rows)))


@KINDS
@settings(max_examples=60, deadline=None)
@given(data=st.data(), rows=st.integers(2, 300))
def test_rows_after_t_change_no_value_up_to_t(kind: type[Feature], data: st.DataObject, rows: int) -> None:
    feature, prices = some_feature(kind, data), walk(data, rows)
    before = feature.compute(prices)
    assert before.shape == (rows,)
    assert before.dtype == np.float64
    assert np.isfinite(before).all()
    known = data.draw(st.integers(1, rows - 1), "known rows")
    prices[known:] *= data.draw(st.sampled_from([1e-3, 1.01, 1e9, np.nan]), "what becomes of the rest")
    np.testing.assert_array_equal(feature.compute(prices)[:known], before[:known])
    np.testing.assert_array_equal(feature.compute(prices[:known]), before[:known])


@KINDS
@settings(max_examples=60, deadline=None)
@given(data=st.data(), rows=st.integers(1, 300))
def test_a_slice_with_its_lookback_has_the_bits_of_the_whole_symbol(
    kind: type[Feature], data: st.DataObject, rows: int
) -> None:
    feature, prices = some_feature(kind, data), walk(data, rows)
    whole = feature.compute(prices)
    first = data.draw(st.integers(0, rows - 1), "first")
    stop = data.draw(st.integers(first + 1, rows), "stop")
    start = max(0, first - feature.lookback)
    found = feature.compute(prices[start:stop].copy())[first - start :]
    np.testing.assert_array_equal(found, whole[first:stop])


@KINDS
@settings(max_examples=30, deadline=None)
@given(data=st.data(), horizon=st.integers(1, 5))
def test_a_target_is_causal_and_turns_back_into_the_price(
    kind: type[Feature], data: st.DataObject, horizon: int
) -> None:
    prices = walk(data, 60)
    target = some_feature(kind, data).as_target(horizon)
    if target is None:
        return
    values = target.compute(prices)
    assert target.lookback <= horizon
    assert np.isnan(values[: target.lookback]).all()
    np.testing.assert_allclose(
        target.price(values[horizon:], prices[:-horizon]), prices[horizon:], rtol=1e-12
    )
    np.testing.assert_array_equal(target.compute(prices[:30]), values[:30])


@KINDS
def test_a_feature_leaves_its_prices_alone(kind: type[Feature]) -> None:
    prices = np.linspace(1, 2, 50)
    kind("close", *(3 for _ in fields(kind)[1:])).compute(prices)
    np.testing.assert_array_equal(prices, np.linspace(1, 2, 50))


@KINDS
def test_settings_and_documents_name_it(kind: type[Feature]) -> None:
    usage = kind.usage()
    parameters = fields(kind)[1:]
    written = usage.replace("NAME", "open")
    for parameter in parameters:
        written = written.replace(parameter.name, "7")
    assert parse_feature(written) == kind("open", *(7 for _ in parameters))
    assert f"`{usage}`" in (REPOSITORY / "docs" / "features.md").read_text(encoding="utf-8")
    assert usage in str(DataConfig.model_fields["features"].description)
