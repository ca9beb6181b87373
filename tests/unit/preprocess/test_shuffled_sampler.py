"""The shuffled order of training."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpc_lstm.preprocess import sampler as order_module
from hpc_lstm.preprocess.sampler import ShuffledSampler


@settings(deadline=None)
@given(
    length=st.integers(10, 200), batch=st.integers(1, 70), steps=st.lists(st.integers(0, 3), max_size=4),
    block=st.sampled_from([7, 64, 16_384]),
)  # fmt: skip
def test_the_order_does_not_depend_on_how_it_is_asked_for(
    length: int, batch: int, steps: list[int], block: int
) -> None:
    whole = ShuffledSampler(length, batch, 5, 2).take(sum(steps))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order_module, "POSITIONS_AT_ONCE", block)
        order = ShuffledSampler(length, batch, 5, 2)
        pieces = [order.take(k) for k in steps]
    assert [piece.shape for piece in pieces] == [(k, batch) for k in steps]
    np.testing.assert_array_equal(np.concatenate([whole[:0], *pieces]), whole)


@settings(deadline=None)
@given(length=st.integers(1, 200), batch=st.integers(1, 30), before=st.integers(0, 8))
def test_a_resumed_order_goes_on_exactly(length: int, batch: int, before: int) -> None:
    order = ShuffledSampler(length, batch, 5)
    order.take(before)
    again = ShuffledSampler(length, batch, 5)
    again.take(3)
    again.set_state(order.state())
    np.testing.assert_array_equal(again.take(4), order.take(4))
    assert again.state() == order.state()


def test_each_pass_takes_every_window_once_in_another_order() -> None:
    numbers = ShuffledSampler(1000, 7, 1).take(3000 // 7 + 1).ravel()
    passes = numbers[:3000].reshape(3, 1000)
    for one in passes:
        np.testing.assert_array_equal(np.sort(one), np.arange(1000))
    assert (passes[0] == passes[1]).sum() < 10


def test_ranks_take_different_orders() -> None:
    assert (ShuffledSampler(1000, 1000, 1, 0).take(1) == ShuffledSampler(1000, 1000, 1, 1).take(1)).sum() < 10


def test_a_state_outside_is_refused() -> None:
    with pytest.raises(ValueError, match="no such position"):
        ShuffledSampler(10, 2, 0).set_state((0, 10))


def test_passing_over_batches_is_the_same_as_taking_them() -> None:
    taken, passed = ShuffledSampler(23, 7, 5), ShuffledSampler(23, 7, 5)
    taken.take(9)
    passed.advance(9)
    assert passed.state() == taken.state()
    np.testing.assert_array_equal(passed.take(4), taken.take(4))
