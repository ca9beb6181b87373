"""The flat weight vector: order, round trip, digest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpc_lstm.config import ModelConfig
from hpc_lstm.model.parameters import Schema, network_schema

small = st.integers(1, 5)
shapes = st.lists(st.lists(small, min_size=1, max_size=3).map(tuple), min_size=1, max_size=6)


@given(layers=small, units=small, features=small)
def test_length_is_that_of_the_lstm_equations(layers: int, units: int, features: int) -> None:
    found = network_schema(ModelConfig(layers=layers, units=units), features)
    inputs = [features] + [units] * (layers - 1)
    assert found.length == sum(4 * units * (width + units + 1) for width in inputs) + units + 1
    assert len(set(found.names)) == len(found.names)


@given(shapes)
def test_flatten_and_unflatten_are_inverse(list_of_shapes: list[tuple[int, ...]]) -> None:
    arrays = [np.random.default_rng(i).normal(size=s).astype("f") for i, s in enumerate(list_of_shapes)]
    described = Schema(tuple(f"a{i}" for i in range(len(arrays))), tuple(list_of_shapes))
    flat = described.flatten(arrays)
    assert flat.dtype == np.float32
    assert flat.tolist() == [x for a in arrays for x in a.ravel().tolist()]
    for before, after in zip(arrays, described.unflatten(flat), strict=True):
        np.testing.assert_array_equal(before, after)


def test_other_shapes_are_refused() -> None:
    described = Schema(("a",), ((2, 3),))
    with pytest.raises(ValueError, match="schema"):
        described.flatten([np.zeros((3, 2))])
    with pytest.raises(ValueError, match="schema"):
        described.unflatten(np.zeros(7, np.float32))


def test_digest_tells_vectors_apart_and_is_stable() -> None:
    one = network_schema(ModelConfig(layers=2, units=8), 3)
    others = [
        (ModelConfig(layers=2, units=8), 4),
        (ModelConfig(layers=1, units=8), 3),
        (ModelConfig(units=9), 3),
    ]
    digests = {one.digest(), *(network_schema(config, features).digest() for config, features in others)}
    assert len(digests) == 4
    # Dropout has no weights. The value is fixed: clusters of different releases compare it.
    assert one.digest() == network_schema(ModelConfig(layers=2, units=8, dropout=0.5), 3).digest()
    assert one.digest() == "62771ec1b51d9a769f217841ed2b44b405252f86b2b37094407665625a182146"
