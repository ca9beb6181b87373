"""The learning rate over a run."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hpc_lstm.config import TrainConfig
from hpc_lstm.training.learning_rate import learning_rate, learning_rates
from hpc_lstm.training.schedule import Progress, Schedule


def test_constant() -> None:
    config = TrainConfig(learning_rate=0.01, epochs=5)
    assert [learning_rate(config, p) for p in (0, 2.5, 5)] == [0.01] * 3


def test_warm_up_then_half_a_cosine() -> None:
    config = TrainConfig(learning_rate=0.02, epochs=10, warmup=2.0, schedule="cosine")
    assert learning_rate(config, 0) == 0
    assert learning_rate(config, 1) == pytest.approx(0.01)
    assert learning_rate(config, 2) == pytest.approx(0.02)
    assert learning_rate(config, 6) == pytest.approx(0.01)
    assert learning_rate(config, 10) == pytest.approx(0, abs=1e-12)


@given(
    epochs=st.integers(1, 20),
    warmup=st.floats(0, 30),
    schedule=st.sampled_from(["constant", "cosine"]),
    at=st.floats(0, 1),
    further=st.floats(0, 1),
)
@example(epochs=1, warmup=1.0, schedule="cosine", at=1.0, further=0.5)
def test_rises_to_its_peak_and_never_again(
    epochs: int, warmup: float, schedule: str, at: float, further: float
) -> None:
    config = TrainConfig(learning_rate=0.5, epochs=epochs, warmup=warmup, schedule=schedule)  # type: ignore[arg-type]
    early, late = sorted((at * epochs, further * epochs))
    first, second = learning_rate(config, early), learning_rate(config, late)
    assert 0 <= first <= 0.5
    if late <= warmup:
        assert first <= second
    elif early >= warmup:
        assert first >= second


def test_a_rate_beyond_float32_is_infinite_without_a_warning() -> None:
    schedule = Schedule(4, 1, 1, True, 0, False, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rates = learning_rates(TrainConfig(learning_rate=1e39), schedule, Progress(), 2)
    assert rates.dtype == np.float32
    assert np.isinf(rates).all()
