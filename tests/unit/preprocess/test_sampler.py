"""The permutation is a bijection, and random enough to train with."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpc_lstm.preprocess.sampler import _encrypt, permute, round_keys

FIXED = [3, 0, 1, 7, 4, 6, 2, 5]
KEYS = st.integers(0, 2**31 - 1)


@settings(deadline=None)
@given(length=st.integers(1, 5000), seed=KEYS, stream=st.integers(0, 5000), number=st.integers(0, 10**6))
def test_a_pass_takes_every_number_once(length: int, seed: int, stream: int, number: int) -> None:
    found = permute(np.arange(length), length, seed, stream, number)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(np.sort(found), np.arange(length))


@pytest.mark.parametrize("length", [2**20, 2**20 + 1, 2**20 - 1])
def test_a_long_pass_takes_every_number_once(length: int) -> None:
    assert np.bincount(permute(np.arange(length), length, 1), minlength=length).tolist() == [1] * length


@settings(deadline=None)
@given(length=st.integers(1, 2**62), seed=KEYS, data=st.data())
def test_any_length_stays_inside_and_distinct(length: int, seed: int, data: st.DataObject) -> None:
    positions = data.draw(st.lists(st.integers(0, length - 1), min_size=1, max_size=50, unique=True))
    found = permute(np.array(positions), length, seed)
    assert found.min() >= 0
    assert found.max() < length
    assert len(set(found.tolist())) == len(positions)


@settings(deadline=None)
@given(length=st.integers(1, 3000), seed=KEYS, data=st.data())
def test_random_access_is_the_whole_pass(length: int, seed: int, data: st.DataObject) -> None:
    whole = permute(np.arange(length), length, seed, 3, 4)
    positions = np.array(data.draw(st.lists(st.integers(0, length - 1), max_size=20)), np.int64)
    np.testing.assert_array_equal(permute(positions, length, seed, 3, 4), whole[positions])


def test_every_key_changes_the_order() -> None:
    orders = [permute(np.arange(1000), 1000, *key) for key in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))]
    for place, order in enumerate(orders):
        for other in orders[:place]:
            assert (order == other).sum() < 10


def test_all_orders_of_few_numbers_come_about_equally_often() -> None:
    draws, length = 6000, 5
    # One call of ``permute`` a seed would take most of a minute's tests: all seeds walk side by side.
    keys = [
        np.array(one, np.uint32)[:, None]
        for one in zip(*(round_keys(s, 0, 0) for s in range(draws)), strict=True)
    ]
    orders = np.tile(np.arange(length, dtype=np.uint64), (draws, 1))
    outside = np.ones(orders.shape, bool)
    while outside.any():
        orders = np.where(outside, _encrypt(orders, (length - 1).bit_length(), keys), orders)
        outside = orders >= length
    for seed in range(200):
        assert orders[seed].tolist() == permute(np.arange(length), length, seed).tolist()
    counts = Counter(map(tuple, orders.tolist()))
    assert len(counts) == 120
    chi_squared = sum((count - draws / 120) ** 2 / (draws / 120) for count in counts.values())
    assert chi_squared < 180  # 119 degrees of freedom: beyond it once in 4,000


def test_neighbours_are_not_kept_together() -> None:
    length = 100_003
    found = permute(np.arange(length), length, 7) / length
    assert abs(np.corrcoef(found[:-1], found[1:])[0, 1]) < 0.015
    assert abs(np.corrcoef(np.arange(length), found)[0, 1]) < 0.015
    assert abs(np.abs(np.diff(found)).mean() - 1 / 3) < 0.005


def test_numbers_are_the_same_on_every_machine_and_version() -> None:
    assert permute(np.arange(8), 8, 1, 2, 3).tolist() == FIXED


def test_a_position_outside_is_refused() -> None:
    with pytest.raises(IndexError):
        permute(np.array([10]), 10, 0)
