"""The Keras engine against Keras itself, and its promises on going on to the bit."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpc_lstm import config as configuration
from hpc_lstm.config import RunConfig
from hpc_lstm.errors import InputError
from hpc_lstm.model import engine as engines
from hpc_lstm.model import forward, keras_engine, network, tensorflow_runtime
from hpc_lstm.model.keras_engine import KerasEngine

WINDOW, BATCH, UNITS = 6, 19, 4
rng = np.random.default_rng(0)
INPUTS = rng.normal(size=(6, BATCH, WINDOW, 2)).astype("f")
TARGETS = rng.normal(size=(6, BATCH, 1)).astype("f")


def settings(dropout: float = 0.0, **train: Any) -> RunConfig:
    tables = {
        "data": {"store": "market.h5", "features": ["close", "volume"], "window": WINDOW},
        "model": {"layers": 2, "units": UNITS, "dropout": dropout},
        "train": {"batch_size": BATCH, "deterministic": True, **train},
    }
    return configuration.parse(tables, "test")


def engine(dropout: float = 0.0, rank: int = 0, **train: Any) -> KerasEngine:
    return KerasEngine(settings(dropout, **train), rank=rank, threads=2)


def keras_losses(optimizer: Any, config: RunConfig) -> tuple[list[float], np.ndarray]:
    """Losses and last weights of Keras's own training of the same network."""
    model = network.build(config.model, WINDOW, 2, config.train.seed)
    model.compile(optimizer, "mse", jit_compile=False)
    losses = []
    for inputs, targets in zip(INPUTS, TARGETS, strict=True):
        model.reset_metrics()  # older versions give the mean over all batches since
        losses.append(float(model.train_on_batch(inputs, targets)))
    return losses, np.concatenate([w.ravel() for w in model.get_weights() if w.dtype == np.float32])


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("clip_norm", [0.0, 0.05])
def test_trains_as_keras_does(optimizer: str, clip_norm: float) -> None:
    ours = engine(optimizer=optimizer, clip_norm=clip_norm)
    import keras

    rule = {"adam": keras.optimizers.Adam, "sgd": keras.optimizers.SGD}[optimizer]
    expected, weights = keras_losses(rule(0.02, global_clipnorm=clip_norm or None), settings())
    losses = [float(ours.step(INPUTS[k : k + 1], TARGETS[k : k + 1], 0.02)) for k in range(6)]
    np.testing.assert_allclose(losses, expected, rtol=2e-5)
    np.testing.assert_allclose(ours.parameters(), weights, rtol=0, atol=2e-5)


def test_compiled_small_batches_train_as_large_ones_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of a batch that XLA compiles (all other tests) and parts that TensorFlow's LSTM operation computes."""
    compiled = engine()
    expected = [float(compiled.step(INPUTS[k : k + 1], TARGETS[k : k + 1], 0.02)) for k in range(6)]
    monkeypatch.setattr(forward, "MOST_COMPILED", 0)
    one = engine()
    losses = [float(one.step(INPUTS[k : k + 1], TARGETS[k : k + 1], 0.02)) for k in range(6)]
    np.testing.assert_allclose(losses, expected, rtol=2e-5)
    np.testing.assert_allclose(one.parameters(), compiled.parameters(), rtol=0, atol=2e-5)


def test_adam_is_that_of_keras() -> None:
    """On gradients of very different sizes, over steps enough for the bias corrections to matter."""
    tf = tensorflow_runtime.start(2)
    import keras

    from hpc_lstm.model.optimizers import Adam

    start = rng.normal(size=50).astype("f")
    scales = np.logspace(-6, 3, 50)
    ours, theirs = tf.Variable(start), keras.Variable(start)
    rule, reference = Adam(tf, 50), keras.optimizers.Adam(0.01)
    for step in range(1, 60):
        gradient = tf.constant((rng.normal(size=50) * scales).astype("f"))
        rule.apply(ours, gradient, tf.constant(0.01), tf.constant(step, tf.int64))
        reference.apply([gradient], [theirs])
    np.testing.assert_allclose(ours.numpy(), np.asarray(theirs.value), rtol=1e-6, atol=1e-6)
    moments = np.concatenate([np.asarray(v.value) for v in reference.variables[2:]])
    np.testing.assert_allclose(rule.moments(), moments, rtol=1e-6)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_several_steps_a_call_are_single_steps_to_the_bit(precision: str) -> None:
    rates = [0.01, 0.02, 0.03, 0.01, 0.05, 0.0]
    together, alone = engine(0.2, precision=precision), engine(0.2, precision=precision)
    mean = float(together.step(INPUTS, TARGETS, rates))
    single = [float(alone.step(INPUTS[k : k + 1], TARGETS[k : k + 1], rates[k])) for k in range(6)]
    assert mean == pytest.approx(np.mean(single), rel=1e-6)
    assert np.isfinite(single).all()
    np.testing.assert_array_equal(together.parameters(), alone.parameters())
    np.testing.assert_array_equal(together.moments(), alone.moments())


def test_any_number_of_steps_is_compiled_once() -> None:
    one = engine()
    for count in (1, 3, 6, 2):
        one.step(INPUTS[:count], TARGETS[:count], 0.01)
    assert one._steps.experimental_get_tracing_count() == 1


def test_going_on_from_a_state_is_bit_identical() -> None:
    through = engine(0.2, rank=1, seed=3)
    through.step(INPUTS[:4], TARGETS[:4], 0.01)
    kept = through.parameters(), through.moments(), through.state()
    through.step(INPUTS[4:], TARGETS[4:], 0.01)

    resumed = engine(0.2, rank=1, seed=3)
    resumed.set_parameters(kept[0])
    resumed.set_moments(kept[1])
    resumed.set_state(kept[2])
    resumed.step(INPUTS[4:], TARGETS[4:], 0.01)
    np.testing.assert_array_equal(resumed.parameters(), through.parameters())
    np.testing.assert_array_equal(resumed.moments(), through.moments())

    # The state is needed: without the count of steps the masks and Adam's corrections differ.
    forgetful = engine(0.2, rank=1, seed=3)
    forgetful.set_parameters(kept[0])
    forgetful.set_moments(kept[1])
    forgetful.step(INPUTS[4:], TARGETS[4:], 0.01)
    assert not np.array_equal(forgetful.parameters(), through.parameters())


def test_ranks_start_alike_and_drop_differently() -> None:
    ranks = [engine(0.5, rank=r) for r in (0, 1)]
    np.testing.assert_array_equal(ranks[0].parameters(), ranks[1].parameters())
    losses = [float(e.step(INPUTS[:1], TARGETS[:1], 0.01)) for e in ranks]
    assert losses[0] != losses[1]


def test_dropout_masks_are_keras_like_and_new_each_time() -> None:
    """Kept values are scaled by 1 / (1 - rate); parts, layers and steps have masks of their own."""
    tf = tensorflow_runtime.start(2)
    import keras

    from hpc_lstm.model.forward import Forward
    from hpc_lstm.model.parameters import Schema

    model = keras.Sequential([keras.Input((1000,)), keras.layers.Dropout(0.25), keras.layers.Dropout(0.25)])
    one_layer = keras.Sequential([keras.Input((1000,)), keras.layers.Dropout(0.25)])
    empty = Schema(("none",), ((0,),))
    values, flat = tf.ones([16, 1000]), tf.zeros([0])
    masks = [
        Forward(tf, one_layer, empty, 2)(flat, values, tf.constant(seed, tf.int64)).numpy()
        for seed in ([0, 0], [0, 1], [1, 0])
    ]
    both = Forward(tf, model, empty, 2)(flat, values, tf.constant([0, 0], tf.int64)).numpy()
    for mask in masks:
        assert set(np.unique(mask)) == {0, np.float32(1 / 0.75)}
        assert (mask == 0).mean() == pytest.approx(0.25, abs=0.02)
    # Independent masks agree on being kept in 0.75^2 of the places; the same mask would in 0.75.
    halves = (masks[0][:8], masks[0][8:])
    for a, b in [*itertools.combinations(masks, 2), halves]:
        assert ((a > 0) & (b > 0)).mean() == pytest.approx(0.5625, abs=0.03)
    assert (both > 0).mean() == pytest.approx(0.5625, abs=0.03)


def test_predict_is_keras_without_dropout_and_any_number_fits() -> None:
    ours = engine(0.5)
    model = network.build(settings(0.5).model, WINDOW, 2, settings().train.seed)
    windows = rng.normal(size=(keras_engine.PREDICT_BATCH + 3, WINDOW, 2)).astype("f")
    expected = np.asarray(model(windows))[:, 0]
    for count in (0, 1, keras_engine.PREDICT_BATCH, len(windows)):
        found = ours.predict(windows[:count])
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected[:count], atol=1e-6)
    assert ours._forecast.experimental_get_tracing_count() == 1


def test_callers_arrays_are_neither_kept_nor_changed() -> None:
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


def test_moments_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="moments"):
        engine(optimizer="adam").set_moments(np.zeros(3, np.float32))
    assert engine(optimizer="sgd").moments().shape == (0,)
    with pytest.raises(ValueError, match="moments"):
        engine(optimizer="sgd").set_moments(np.zeros(3, np.float32))


def test_a_saved_model_forecasts_the_same(tmp_path: Path) -> None:
    one = engine(0.2)
    one.step(INPUTS, TARGETS, 0.05)
    path = tmp_path / "model.keras"
    one.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["model.keras"]
    loaded = engines.load(path, threads=2)
    assert (loaded.window, loaded.features) == (WINDOW, 2)
    np.testing.assert_array_equal(loaded.predict(INPUTS[0]), one.predict(INPUTS[0]))

    # Elsewhere: plain Keras, this package out of reach.
    np.save(tmp_path / "inputs.npy", INPUTS[0])
    script = (
        "import sys, importlib.abc\n"
        "class Hide(importlib.abc.MetaPathFinder):\n"  # an installed package is hidden too
        "    def find_spec(self, name, path, target=None):\n"
        "        if name.split('.')[0] == 'hpc_lstm': raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Hide())\n"
        "import keras, numpy as np\n"
        "model = keras.models.load_model(sys.argv[1] + '/model.keras')\n"
        "outputs = model.predict(np.load(sys.argv[1] + '/inputs.npy'), verbose=0)\n"
        "np.save(sys.argv[1] + '/outputs.npy', outputs)\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"KERAS_BACKEND": "tensorflow"}
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, cwd=tmp_path, env=environment)
    found = np.load(tmp_path / "outputs.npy")[:, 0]
    np.testing.assert_allclose(found, one.predict(INPUTS[0]), atol=1e-6)


def test_a_model_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model\.keras: cannot be written"):
        engine().save(tmp_path / "no" / "model.keras")
    (tmp_path / "model.keras").mkdir()
    with pytest.raises(InputError, match=r"model\.keras: cannot be written"):
        engine().save(tmp_path / "model.keras")
    assert [p.name for p in tmp_path.iterdir()] == ["model.keras"]


def test_a_missing_or_damaged_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such model"):
        engines.load(tmp_path / "model.keras")
    whole = tmp_path / "model.keras"
    engine().save(whole)
    for name, content in (("text", b"hello"), ("empty", b""), ("cut", whole.read_bytes()[:-500])):
        damaged = tmp_path / f"{name}.keras"
        damaged.write_bytes(content)
        with pytest.raises(InputError, match=f"{name}.keras: not a readable Keras model") as caught:
            engines.load(damaged)
        assert "\n" not in str(caught.value)


def test_starts_quietly_and_only_when_used(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from hpc_lstm.model import engine, keras_engine, network, parameters, schedule\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)\n"
        "from hpc_lstm.model import tensorflow_runtime\n"
        "tf = tensorflow_runtime.start(2, deterministic=True)\n"
        "assert tf.config.threading.get_inter_op_parallelism_threads() == 2\n"
        "assert tensorflow_runtime.start(1) is tf\n"
        "assert tensorflow_runtime.threads_in_force(tf) == 2\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
