"""What is the Keras engine's alone; see test_engines.py for what all engines promise."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_network import INPUTS, TARGETS, WINDOW, checkpoint_of, restore, settings

from hpc_lstm import config as configuration
from hpc_lstm.errors import InputError
from hpc_lstm.model.engines import keras as keras_engine
from hpc_lstm.model.engines import registry as engines
from hpc_lstm.model.engines import tensorflow_runtime
from hpc_lstm.model.engines.keras import KerasEngine
from hpc_lstm.model.losses import registry as losses
from hpc_lstm.model.reference import loss_and_gradient

rng = np.random.default_rng(1)


def engine(dropout: float = 0.0, rank: int = 0, **train: Any) -> KerasEngine:
    return KerasEngine(settings(dropout, **train), rank=rank, threads=2)


def test_several_steps_a_call_are_single_steps_in_bfloat16() -> None:
    one = engine(0.2, precision="bfloat16")
    start = checkpoint_of(one)
    mean = float(one.step(INPUTS, TARGETS, 0.02))
    together = one.parameters()
    restore(one, start)
    single = [float(one.step(INPUTS[k : k + 1], TARGETS[k : k + 1], 0.02)) for k in range(6)]
    assert mean == pytest.approx(np.mean(single), rel=1e-6)
    np.testing.assert_array_equal(one.parameters(), together)


@pytest.mark.parametrize("loss", losses.names()[1:])
def test_every_loss_of_several_outputs_is_that_of_the_mathematics(loss: str) -> None:
    """One step of gradient descent at rate 1 shows the gradient."""
    tables = settings(loss="mse", optimizer="sgd").model_dump()
    target = "direction" if loss == "binary-cross-entropy" else ["close", "open"]
    tables["data"] |= {"horizon": [1, 4], "target": target}
    tables["train"] |= {"loss": loss}
    one = KerasEngine(configuration.parse(tables, "test"), threads=2)
    targets = rng.normal(size=(1, len(INPUTS[0]), one._head.targets)).astype("f")
    if loss == "binary-cross-entropy":
        targets = (targets > 0).astype("f")
    before = one.parameters()
    found = float(one.step(INPUTS[:1], targets, 1.0))
    drops = [np.ones(())] * 2
    expected, gradient = loss_and_gradient(before, one.schema, INPUTS[0], targets[0], drops, one._head.loss)
    assert found == pytest.approx(expected, rel=2e-5)
    np.testing.assert_allclose(before - one.parameters(), gradient, rtol=1e-4, atol=1e-5)
    assert one.predict(INPUTS[0]).shape == (len(INPUTS[0]), one._head.outputs)


def test_any_number_of_windows_is_compiled_once() -> None:
    one = engine()
    for count in (1, keras_engine.PREDICT_BATCH + 3):
        one.predict(np.zeros((count, WINDOW, 2), np.float32))
    assert one._forecast.experimental_get_tracing_count() == 1


def test_any_number_of_steps_is_compiled_once() -> None:
    one = engine()
    for count in (1, 3, 6, 2):
        one.step(INPUTS[:count], TARGETS[:count], 0.01)
    assert one._steps.experimental_get_tracing_count() == 1


def test_dropout_masks_are_keras_like_and_new_each_time() -> None:
    """Kept values are scaled by 1 / (1 - rate); parts, layers and steps have masks of their own."""
    tf = tensorflow_runtime.start_tensorflow(2)
    import keras

    from hpc_lstm.model.engines.keras_forward import Forward
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


def test_a_missing_or_damaged_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such model"):
        engines.load_forecaster(tmp_path / "model.keras")
    whole = tmp_path / "model.keras"
    engine().save(whole)
    for name, content in (("text", b"hello"), ("empty", b""), ("cut", whole.read_bytes()[:-500])):
        damaged = tmp_path / f"{name}.keras"
        damaged.write_bytes(content)
        with pytest.raises(InputError, match=f"{name}.keras: not a readable Keras model") as caught:
            engines.load_forecaster(damaged)
        assert "\n" not in str(caught.value)


def test_starts_quietly_and_only_when_used(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from hpc_lstm.model import engine, network, parameters\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)\n"
        "from hpc_lstm.model.engines import keras, tensorflow_runtime\n"
        "tf = tensorflow_runtime.start_tensorflow(2, deterministic=True)\n"
        "assert tf.config.threading.get_inter_op_parallelism_threads() == 2\n"
        "assert tensorflow_runtime.start_tensorflow(1) is tf\n"
        "assert tensorflow_runtime.threads_in_force(tf) == 2\n"
        # What Keras can do without is not imported with it, but can be later.
        "assert not {'matplotlib', 'pandas', 'sklearn'} & set(sys.modules)\n"
        "import pandas\n"
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
