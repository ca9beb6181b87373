"""The best weights of a run, against the definition."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hpc_lstm.training.early_stopping import EarlyStopping

LOSSES = st.lists(st.floats(0, 10) | st.just(math.nan), max_size=30)


@given(LOSSES)
def test_the_first_smallest_loss_is_kept(losses: list[float]) -> None:
    stopping = EarlyStopping()
    taken = [stopping.update(loss, 10 * i, np.full(3, i, np.float32)) for i, loss in enumerate(losses)]
    known = [loss for loss in losses if not math.isnan(loss)]
    if not known:
        assert (stopping.loss, stopping.step, stopping.weights.size) == (math.inf, 0, 0)
        assert not any(taken)
        return
    best = losses.index(min(known))
    assert (stopping.loss, stopping.step) == (losses[best], 10 * best)
    np.testing.assert_array_equal(stopping.weights, np.full(3, best, np.float32))
    assert max(i for i, better in enumerate(taken) if better) == best
    assert stopping.stale == len(losses) - 1 - best
    assert stopping.last == losses[-1] or math.isnan(losses[-1])


@given(LOSSES, st.integers(0, 4), st.floats(0, 3))
def test_stops_after_as_many_epochs_without_a_better_loss(
    losses: list[float], patience: int, min_delta: float
) -> None:
    stopping = EarlyStopping(patience, min_delta)
    best, stale = math.inf, 0
    for loss in losses:
        better = loss < best - min_delta
        best, stale = (loss, 0) if better else (best, stale + 1)
        assert stopping.update(loss, 0, np.zeros(1, np.float32)) == better
        assert stopping.should_stop == (patience > 0 and stale >= patience)


def test_weights_are_its_own() -> None:
    weights = np.ones(2, np.float32)
    stopping = EarlyStopping()
    stopping.update(1.0, 1, weights)
    weights[:] = 7
    np.testing.assert_array_equal(stopping.weights, [1, 1])
