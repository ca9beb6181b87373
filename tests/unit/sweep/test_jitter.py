"""The slowest of N ranks, against closed forms and against drawing lots."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpc_lstm.sweep.model.jitter import Jitter

RANKS = [1, 2, 3, 16, 128, 1024]


def test_without_jitter_nobody_is_waited_for() -> None:
    np.testing.assert_array_equal(Jitter(3.0).excess(RANKS), np.zeros(len(RANKS)))


def test_exponential_times_have_harmonic_maxima() -> None:
    """A gamma of skewness 2 is an exponential: E[max of N] = 1 + 1/2 + ... + 1/N times its mean."""
    harmonic = [sum(1 / i for i in range(1, n + 1)) for n in RANKS]
    excess = Jitter(mean=5.0, std=0.3, skew=2.0).excess(RANKS)
    np.testing.assert_allclose(excess, 0.3 * (np.array(harmonic) - 1), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("jitter", [Jitter(1, std=0.2), Jitter(1, persistent=0.2), Jitter(1, 0.12, 0, 0.16)])
def test_normal_times_have_their_known_maxima(jitter: Jitter) -> None:
    """E[max] of 2 and 3 normal numbers in closed form; of 1,024 by Harter's tables: David and Nagaraja, chapter 4."""
    known = {1: 0.0, 2: 1 / np.sqrt(np.pi), 3: 1.5 / np.sqrt(np.pi), 1000: 3.24144}
    np.testing.assert_allclose(
        jitter.excess(list(known)), 0.2 * np.array(list(known.values())), rtol=1e-3, atol=1e-4
    )


@settings(max_examples=15, deadline=None)
@given(
    std=st.floats(0.01, 1),
    skew=st.floats(0, 5),
    persistent=st.floats(0, 1),
    ranks=st.sampled_from([2, 7, 64]),
)
def test_the_maximum_is_that_of_drawn_times(std: float, skew: float, persistent: float, ranks: int) -> None:
    jitter = Jitter(100.0, std, skew, persistent)
    generator = np.random.default_rng(0)
    drawn = np.array([jitter.draw(generator, ranks, 1)[:, 0].max() for _ in range(3000)]) - 100
    error = drawn.std() / np.sqrt(len(drawn))
    assert abs(drawn.mean() - jitter.excess(ranks)[0]) < 5 * error + 0.01 * max(std, persistent)


def test_longer_intervals_tame_independent_jitter_but_not_slow_ranks() -> None:
    alone, slow = Jitter(1.0, std=0.2), Jitter(1.0, persistent=0.2)
    ranks = [2, 64, 1024]
    for steps in (4, 16, 64):
        relative = alone.over(steps).excess(ranks) / steps
        np.testing.assert_allclose(relative, alone.excess(ranks) / np.sqrt(steps), rtol=1e-3)
        np.testing.assert_allclose(slow.over(steps).excess(ranks) / steps, slow.excess(ranks), rtol=1e-3)


def test_sums_of_skewed_times_are_drawn_alike() -> None:
    """Four cycles drawn one by one, and at once: the same mean, spread and skewness."""
    jitter, generator = Jitter(10.0, 1.0, 3.0), np.random.default_rng(1)
    sums = jitter.draw(generator, 1, 400_000).reshape(-1, 4).sum(axis=1)
    once = jitter.over(4)
    deviations = sums - sums.mean()
    assert sums.mean() == pytest.approx(once.mean, rel=1e-3)
    assert sums.std() == pytest.approx(once.std, rel=0.02)
    assert (deviations**3).mean() / sums.std() ** 3 == pytest.approx(once.skew, rel=0.1)
