"""Both engines against Keras itself, and their promises on going on to the bit."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plain_keras import PlainKeras
from small_network import INPUTS, TARGETS, WINDOW, checkpoint_of, restore, settings

from hpc_lstm import config as configuration
from hpc_lstm.errors import InputError
from hpc_lstm.model import network
from hpc_lstm.model.engine import Engine
from hpc_lstm.model.engines import keras as keras_engine
from hpc_lstm.model.engines import registry as engines
from hpc_lstm.model.engines.tensorflow_runtime import start_tensorflow

rng = np.random.default_rng(1)
# Beside Keras: enough to see the moments of Adam and their corrections change.
STEPS = 3


@pytest.fixture(params=["keras", "fused"])
def engine(request: pytest.FixtureRequest) -> Callable[..., Engine]:
    """Makes engines of one kind: ``engine(dropout, rank, **train)``."""

    def make(dropout: float = 0.0, rank: int = 0, **train: Any) -> Engine:
        made = engines.create_engine(settings(dropout, engine=request.param, **train), rank=rank, threads=2)
        assert made.name == request.param
        return made

    return make


def test_auto_takes_the_fused_one_where_it_can() -> None:
    def chosen(**train: Any) -> str:
        tables = {"data": {"store": "none"}, "train": train}
        return engines.create_engine(configuration.parse(tables, "test"), threads=1).name

    assert chosen() == "fused"
    assert chosen(engine="keras") == "keras"
    assert chosen(precision="bfloat16") == "keras"


@pytest.fixture(scope="module", params=itertools.product(["adam", "sgd"], [0.0, 0.05]), ids=str)
def keras_training(request: pytest.FixtureRequest) -> tuple[dict[str, Any], list[float], np.ndarray]:
    """Settings of ``train``, and the losses and last weights of Keras's own training with them."""
    # The engines make TensorFlow deterministic, too; Keras may be the first to use it.
    start_tensorflow(2, deterministic=True)
    import keras

    name, clip_norm = request.param
    rule = {"adam": keras.optimizers.Adam, "sgd": keras.optimizers.SGD}[name]
    config = settings()
    model = network.build_network(config.model, WINDOW, 2, config.train.seed)
    # A few steps take less time than to build their graph.
    optimizer = rule(0.02, global_clipnorm=clip_norm or None)
    model.compile(optimizer, "mse", jit_compile=False, run_eagerly=True)
    losses = []
    for inputs, targets in zip(INPUTS[:STEPS], TARGETS[:STEPS], strict=True):
        model.reset_metrics()  # older versions give the mean over all batches since
        losses.append(float(model.train_on_batch(inputs, targets)))
    weights = np.concatenate([w.ravel() for w in model.get_weights() if w.dtype == np.float32])
    return {"optimizer": name, "clip_norm": clip_norm}, losses, weights


def test_trains_as_keras_does(
    engine: Callable[..., Engine], keras_training: tuple[dict[str, Any], list[float], np.ndarray]
) -> None:
    train, expected, weights = keras_training
    ours = engine(**train)
    losses = [float(ours.step(INPUTS[k : k + 1], TARGETS[k : k + 1], 0.02)) for k in range(STEPS)]
    np.testing.assert_allclose(losses, expected, rtol=2e-5)
    np.testing.assert_allclose(ours.parameters(), weights, rtol=0, atol=2e-5)


def test_several_steps_a_call_are_single_steps_to_the_bit(engine: Callable[..., Engine]) -> None:
    rates = [0.01, 0.02, 0.03, 0.01, 0.05, 0.0]
    one = engine(0.2)
    start = checkpoint_of(one)
    mean = float(one.step(INPUTS, TARGETS, rates))
    together = checkpoint_of(one)
    restore(one, start)
    single = [float(one.step(INPUTS[k : k + 1], TARGETS[k : k + 1], rates[k])) for k in range(6)]
    assert mean == pytest.approx(np.mean(single), rel=1e-6)
    assert np.isfinite(single).all()
    np.testing.assert_array_equal(one.parameters(), together.parameters)
    np.testing.assert_array_equal(one.moments(), together.moments)


def test_going_on_from_a_state_is_bit_identical(engine: Callable[..., Engine]) -> None:
    through = engine(0.2, rank=1, seed=3)
    through.step(INPUTS[:4], TARGETS[:4], 0.01)
    kept = checkpoint_of(through)
    through.step(INPUTS[4:], TARGETS[4:], 0.01)

    resumed = engine(0.2, rank=1, seed=3)
    new = resumed.state()
    restore(resumed, kept)
    resumed.step(INPUTS[4:], TARGETS[4:], 0.01)
    np.testing.assert_array_equal(resumed.parameters(), through.parameters())
    np.testing.assert_array_equal(resumed.moments(), through.moments())

    # The state is needed: without the count of steps the masks and Adam's corrections differ.
    restore(resumed, dataclasses.replace(kept, state=new))
    resumed.step(INPUTS[4:], TARGETS[4:], 0.01)
    assert not np.array_equal(resumed.parameters(), through.parameters())


def test_ranks_start_alike_and_drop_differently(engine: Callable[..., Engine]) -> None:
    ranks = [engine(0.5, rank=r) for r in (0, 1)]
    np.testing.assert_array_equal(ranks[0].parameters(), ranks[1].parameters())
    losses = [float(e.step(INPUTS[:1], TARGETS[:1], 0.01)) for e in ranks]
    assert losses[0] != losses[1]


def test_predict_is_keras_without_dropout_and_any_number_fits(engine: Callable[..., Engine]) -> None:
    ours = engine(0.5)
    model = network.build_network(settings(0.5).model, WINDOW, 2, settings().train.seed)
    windows = rng.normal(size=(keras_engine.PREDICT_BATCH + 3, WINDOW, 2)).astype("f")
    expected = np.asarray(model(windows))
    for count in (0, 1, keras_engine.PREDICT_BATCH, len(windows)):
        found = ours.predict(windows[:count])
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected[:count], atol=1e-6)


def test_callers_arrays_are_neither_kept_nor_changed(engine: Callable[..., Engine]) -> None:
    one = engine(optimizer="adam")
    weights, moments = one.parameters() + 1, one.moments() + 1
    given, given_moments = weights.copy(), moments.copy()
    one.set_parameters(given)
    one.set_moments(given_moments)
    one.step(INPUTS[:2], TARGETS[:2], 0.1)
    np.testing.assert_array_equal(given, weights)
    np.testing.assert_array_equal(given_moments, moments)
    read = one.parameters()
    kept = read.copy()
    one.step(INPUTS[:2], TARGETS[:2], 0.1)
    np.testing.assert_array_equal(read, kept)
    read[:] = 7
    assert not (one.parameters() == 7).any()


def test_moments_of_another_length_are_refused(engine: Callable[..., Engine]) -> None:
    with pytest.raises(ValueError, match="moments"):
        engine(optimizer="adam").set_moments(np.zeros(3, np.float32))
    assert engine(optimizer="sgd").moments().shape == (0,)
    with pytest.raises(ValueError, match="moments"):
        engine(optimizer="sgd").set_moments(np.zeros(3, np.float32))


def test_a_saved_model_forecasts_the_same(
    engine: Callable[..., Engine], plain_keras: PlainKeras, tmp_path: Path
) -> None:
    one = engine(0.2)
    one.step(INPUTS, TARGETS, 0.05)
    path = tmp_path / "model.keras"
    one.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["model.keras"]
    loaded = engines.load_forecaster(path, threads=2)
    assert (loaded.window, loaded.features) == (WINDOW, 2)
    np.testing.assert_allclose(loaded.predict(INPUTS[0]), one.predict(INPUTS[0]), atol=1e-6)

    # Elsewhere: plain Keras, this package out of reach.
    found = plain_keras.open(path, INPUTS[0]).forecasts
    np.testing.assert_allclose(found, one.predict(INPUTS[0]), atol=1e-6)


def test_a_model_that_cannot_be_written_leaves_nothing(engine: Callable[..., Engine], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model\.keras: cannot be written"):
        engine().save(tmp_path / "no" / "model.keras")
    (tmp_path / "model.keras").mkdir()
    with pytest.raises(InputError, match=r"model\.keras: cannot be written"):
        engine().save(tmp_path / "model.keras")
    assert [p.name for p in tmp_path.iterdir()] == ["model.keras"]
