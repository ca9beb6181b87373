"""Averages over simulated ranks, against NumPy's weighted mean in double precision."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_ranks import on_ranks

from hpc_lstm.parallel.averaging import Agreement, Averager
from hpc_lstm.parallel.world import World


class Vectors:
    """As much of an engine as averaging needs."""

    def __init__(self, weights: np.ndarray, moments: np.ndarray) -> None:
        self.weights, self.kept = weights, moments

    def parameters(self) -> np.ndarray:
        return self.weights.copy()

    def set_parameters(self, flat: np.ndarray) -> None:
        self.weights = flat

    def moments(self) -> np.ndarray:
        return self.kept.copy()

    def set_moments(self, flat: np.ndarray) -> None:
        self.kept = flat


def averager(world: World, what: str = "weights") -> Averager:
    return Averager(world, what)


def average(vectors: np.ndarray, samples: list[int], what: str) -> list[Vectors]:
    """What every rank has after an average; its moments are twice its weights."""

    def work(world: World) -> Vectors:
        engine = Vectors(vectors[world.rank].copy(), 2 * vectors[world.rank])
        averager(world, what).average(engine, samples[world.rank], sum(samples))  # type: ignore[arg-type]
        return engine

    return on_ranks(len(samples), work)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(0, 1000), min_size=1, max_size=5),
    st.integers(1, 40),
    st.integers(0, 2**32 - 1),
    st.sampled_from(["weights", "weights+moments"]),
)
def test_average_is_weighted_by_samples(samples: list[int], length: int, seed: int, what: str) -> None:
    vectors = np.random.default_rng(seed).normal(size=(len(samples), length)).astype(np.float32)
    engines = average(vectors, samples, what)
    shares = samples if sum(samples) else None
    expected = np.average(vectors.astype(np.float64), axis=0, weights=shares)
    for rank, engine in enumerate(engines):
        assert engine.weights.dtype == np.float32
        np.testing.assert_allclose(engine.weights, expected, rtol=0, atol=2e-6)
        assert engine.weights.tobytes() == engines[0].weights.tobytes(), "the same to the bit on every rank"
        own = what == "weights"
        np.testing.assert_allclose(engine.kept, 2 * (vectors[rank] if own else expected), rtol=0, atol=4e-6)


def test_alone_nothing_is_touched() -> None:
    weights = np.array([0.1, 0.2], np.float32)
    engine = Vectors(weights, weights)
    averager(World(), "weights+moments").average(engine, 7, 21)  # type: ignore[arg-type]
    assert engine.weights is weights
    assert engine.kept is weights


def test_a_rank_that_trained_on_nothing_has_no_say() -> None:
    vectors = np.array([[1, 2], [5, 6]], np.float32)
    for engine in average(vectors, [0, 3], "weights"):
        np.testing.assert_array_equal(engine.weights, [5, 6])


def test_plain_mean_leaves_its_argument() -> None:
    def work(world: World) -> tuple[np.ndarray, np.ndarray]:
        mine = np.full(3, world.rank, np.float32)
        return averager(world).mean_of(mine), mine

    for rank, (mean, mine) in enumerate(on_ranks(4, work)):
        np.testing.assert_array_equal(mean, np.full(3, 1.5, np.float32))
        np.testing.assert_array_equal(mine, np.full(3, rank, np.float32))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 500), st.floats(0, 5), st.booleans()), min_size=1, max_size=4))
def test_meeting(ranks: list[tuple[int, float, bool]]) -> None:
    def work(world: World) -> Agreement:
        samples, loss, stop = ranks[world.rank]
        world.signals._received.extend([15] * stop)
        return averager(world).agree(samples, samples * loss)

    total = sum(samples for samples, _, _ in ranks)
    for found in on_ranks(len(ranks), work):
        assert found.samples == total
        assert found.stop == any(stop for _, _, stop in ranks), "one rank's wish is everyone's"
        if total:
            assert found.loss == pytest.approx(sum(samples * loss for samples, loss, _ in ranks) / total)
        else:
            assert math.isnan(found.loss)
