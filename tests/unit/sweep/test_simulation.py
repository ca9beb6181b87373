"""Sums over ranks message by message, and ranks that compute and average, against what is known exactly."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpc_lstm.sweep.model import collectives
from hpc_lstm.sweep.model.collectives import Algorithm
from hpc_lstm.sweep.model.jitter import Jitter
from hpc_lstm.sweep.model.simulation import MeasuredCompute, Network, simulate

NETWORK = Network(barrier_alpha_s=1e-5, alpha_s=3e-5, byte_s=1e-9)


@pytest.mark.parametrize("algorithm", get_args(Algorithm))
@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 6, 7, 8, 100, 1024])
def test_messages_cost_what_the_formula_says(algorithm: Algorithm, ranks: int) -> None:
    latencies, volume = collectives.terms(algorithm, ranks)
    done = collectives.arrivals(algorithm, np.zeros(ranks), 2.0, 5.0)
    assert done.max() == pytest.approx(latencies * 2.0 + volume * 5.0)


@given(
    st.sampled_from(get_args(Algorithm)),
    st.lists(st.floats(0, 100), min_size=2, max_size=40),
    st.floats(0.01, 1),
)
def test_nobody_has_the_sum_before_the_last_has_come(
    algorithm: Algorithm, at: list[float], alpha: float
) -> None:
    done = collectives.arrivals(algorithm, np.array(at), alpha, 0.5)
    latencies, volume = collectives.terms(algorithm, len(at))
    assert done.min() >= max(at)
    assert done.max() <= max(at) + latencies * alpha + volume * 0.5 + 1e-9


@pytest.mark.parametrize("ranks", [1, 2, 8, 64])
def test_without_jitter_a_cycle_is_compute_and_messages(ranks: int) -> None:
    outcome = simulate(Jitter(0.01), NETWORK, 40_000, ranks, 50, np.random.default_rng(0))
    assert outcome.cycle_s == pytest.approx(0.01 + NETWORK.cycle_s(ranks, 40_000), rel=1e-9)
    assert outcome.busy_s == pytest.approx(0.01)


@pytest.mark.parametrize("ranks", [2, 8, 128])
@pytest.mark.parametrize("jitter", [Jitter(1.0, 0.1, 2.0), Jitter(1.0, 0.1), Jitter(1.0, 0.05, 1.0, 0.1)])
def test_stragglers_cost_the_expected_maximum(jitter: Jitter, ranks: int) -> None:
    free = Network(0.0, 0.0, 0.0)
    generator = np.random.default_rng(2)
    runs = [simulate(jitter, free, 0, ranks, 60, generator).cycle_s for _ in range(60)]
    expected = jitter.mean + jitter.excess(ranks)[0]
    assert np.mean(runs) == pytest.approx(expected, abs=5 * np.std(runs) / np.sqrt(len(runs)) + 1e-3)


def test_measured_times_are_drawn_as_they_were() -> None:
    times = np.random.default_rng(3).gamma(2, 0.1, (2, 4000)) + np.array([[1.0], [1.1]])
    means = times.mean(axis=1)
    quantiles = np.quantile(times - means[:, None], np.linspace(0, 1, 101))
    drawn = MeasuredCompute(means, quantiles).draw(np.random.default_rng(4), 2, 40_000)
    np.testing.assert_allclose(drawn.mean(axis=1), means, rtol=0.01)
    np.testing.assert_allclose(drawn.std(axis=1), times.std(axis=1), rtol=0.05)
