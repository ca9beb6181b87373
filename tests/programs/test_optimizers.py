"""Every optimizer's step, in NumPy, TensorFlow and C, against the Keras optimizer of the same name."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from small_network import INPUTS, TARGETS, checkpoint_of, restore, settings

from hpc_lstm import config as configuration
from hpc_lstm.config import TrainConfig
from hpc_lstm.errors import ConfigError
from hpc_lstm.model.engines import native_kernels
from hpc_lstm.model.engines.network_math import Vectors
from hpc_lstm.model.engines.registry import create_engine
from hpc_lstm.model.losses.mse import MeanSquaredError
from hpc_lstm.model.optimizers import registry
from hpc_lstm.model.optimizers.optimizer import Optimizer

NAMES = registry.names()
SIZE, STEPS, RATE = 50, 60, 0.01
rng = np.random.default_rng(1)
START = rng.normal(size=SIZE)
# Of very different sizes, over steps enough for bias corrections to matter.
GRADIENTS = rng.normal(size=(STEPS, SIZE)) * np.logspace(-6, 3, SIZE)


def create(name: str, **train: Any) -> Optimizer:
    return registry.create_optimizer(name, TrainConfig(optimizer=name, **train).model_dump())


def keras_optimizer(name: str, **train: Any) -> Any:
    """The one of the same name in ``keras.optimizers``, whatever the case of its letters."""
    import keras

    kinds = {key.lower(): kind for key, kind in vars(keras.optimizers).items() if isinstance(kind, type)}
    given = TrainConfig(optimizer=name, **train).model_dump()
    return kinds[name](RATE, **{key: given[key] for key in registry.SETTINGS.get(name, ())})


def numpy_steps(name: str, dtype: type, steps: int = STEPS) -> tuple[np.ndarray, np.ndarray]:
    """Weights and moments after some steps."""
    optimizer = create(name)
    weights, moments = START.astype(dtype), np.zeros(len(optimizer.slots) * SIZE, dtype)
    for step in range(1, steps + 1):
        optimizer.update(weights, moments, GRADIENTS[step - 1].astype(dtype), RATE, step)
    return weights, moments


@pytest.mark.parametrize("name", NAMES)
def test_the_step_is_that_of_keras(name: str) -> None:
    import keras

    reference, variable = keras_optimizer(name), keras.Variable(START.astype("f"))
    for gradient in GRADIENTS:
        reference.apply([keras.ops.convert_to_tensor(gradient.astype("f"))], [variable])
    weights, moments = numpy_steps(name, np.float32)
    np.testing.assert_allclose(weights, np.asarray(variable.value), rtol=1e-5, atol=1e-6)
    slots = [np.asarray(v.value) for v in reference.variables[2:]]  # after the count of steps and the rate
    np.testing.assert_allclose(moments, np.concatenate([np.empty(0), *slots]), rtol=2e-6)


@pytest.mark.parametrize("name", NAMES)
def test_float32_and_tensorflow_and_c_agree_with_float64(name: str) -> None:
    from hpc_lstm.model.engines.keras_optimizer import VariableOptimizer
    from hpc_lstm.model.engines.tensorflow_runtime import start_tensorflow

    tf = start_tensorflow(2)
    exact, exact_moments = numpy_steps(name, np.float64)
    assert exact.dtype == np.float64

    variable, variables = tf.Variable(START.astype("f")), VariableOptimizer(tf, create(name), SIZE)
    for step, gradient in enumerate(GRADIENTS, 1):
        variables.apply(
            variable, tf.constant(gradient.astype("f")), tf.constant(RATE), tf.constant(step, tf.int64)
        )

    network = native_kernels.NetworkSizes(1, 1, 1, 2, 0.0, 1, 1)
    kernels = native_kernels.Kernels(native_kernels.load_kernels(), network, MeanSquaredError())
    weights, moments = START.astype("f"), np.zeros(len(exact_moments), np.float32)
    for step, gradient in enumerate(GRADIENTS, 1):
        kernels.update(create(name), Vectors(weights, moments, gradient.astype("f")), RATE, step)

    in_float32 = numpy_steps(name, np.float32)
    for found in (in_float32, (variable.numpy(), variables.moments()), (weights, moments)):
        assert found[0].dtype == found[1].dtype == np.float32
        np.testing.assert_allclose(found[0], exact, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found[1], exact_moments, rtol=2e-5)


def test_a_first_step_is_as_published() -> None:
    """By hand, for one weight of 2 and a gradient of 3."""
    steps = {}
    for name in NAMES:
        optimizer, weights = (
            create(name, weight_decay=0.1) if name == "adamw" else create(name),
            np.array([2.0]),
        )
        optimizer.update(weights, np.zeros(len(optimizer.slots)), np.array([3.0]), RATE, 1)
        steps[name] = float(weights[0])
    expected = {
        "sgd": 2 - RATE * 3,
        "adam": 2 - RATE * 3 / (3 + 1e-7 / np.sqrt(0.001)),  # epsilon before the bias correction
        "adamw": 2 - RATE * 0.1 * 2 - RATE * 3 / (3 + 1e-7 / np.sqrt(0.001)),
        "rmsprop": 2 - RATE * 3 / np.sqrt(0.1 * 9 + 1e-7),
    }
    assert steps == pytest.approx(expected, rel=1e-12)


def test_adamw_without_decay_is_adam() -> None:
    adam, adamw = create("adam"), create("adamw", weight_decay=0.0)
    for xs in (np.float32, np.float64):
        found = []
        for optimizer in (adam, adamw):
            weights, moments = START.astype(xs), np.zeros(2 * SIZE, xs)
            optimizer.update(weights, moments, GRADIENTS[0].astype(xs), RATE, 1)
            found.append((weights.tobytes(), moments.tobytes()))
        assert found[0] == found[1]


@pytest.mark.parametrize("kind", ["keras", "fused"])
@pytest.mark.parametrize("name", NAMES)
def test_engines_take_each_and_resume_it(kind: str, name: str) -> None:
    engine = create_engine(settings(0.2, engine=kind, optimizer=name), threads=2)
    assert len(engine.moments()) == len(registry.optimizer_class(name).slots) * engine.schema.length
    before = float(engine.step(INPUTS[:3], TARGETS[:3], 0.01))
    kept = checkpoint_of(engine)
    engine.step(INPUTS[3:], TARGETS[3:], 0.01)
    through = checkpoint_of(engine)
    restore(engine, kept)
    engine.step(INPUTS[3:], TARGETS[3:], 0.01)
    np.testing.assert_array_equal(engine.parameters(), through.parameters)
    np.testing.assert_array_equal(engine.moments(), through.moments)
    assert np.isfinite(before)


def parse(**train: Any) -> TrainConfig:
    return configuration.parse({"data": {"store": "none"}, "train": train}, "job.toml").train


def test_a_wrong_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"^job\.toml: train\.optimizer: .*'adam' or 'adamw'.*\"adamw\"\?$"):
        parse(optimizer="adamww")
    with pytest.raises(ConfigError, match=r"^job\.toml: train\.optimizer: must be text, got 7$"):
        parse(optimizer=7)
    with pytest.raises(ConfigError, match=r"^job\.toml: train\.engine: .*'fused'.*\"keras\"\?$"):
        parse(engine="kears")


def test_weight_decay_is_for_adamw_alone() -> None:
    assert parse(optimizer="adamw", weight_decay=0.3).weight_decay == 0.3
    assert create("adamw").weight_decay == TrainConfig().weight_decay  # type: ignore[attr-defined]
    for name in ("adam", "sgd", "rmsprop"):
        with pytest.raises(ConfigError, match=rf'train\.weight_decay: "{name}" takes none; .*"adamw"'):
            parse(optimizer=name, weight_decay=0.3)
    # Every config.toml has the default written out.
    assert parse(optimizer="adam", weight_decay=TrainConfig().weight_decay).optimizer == "adam"


def test_names_are_known_without_tensorflow_or_settings() -> None:
    script = (
        "import sys\n"
        "from hpc_lstm.model.optimizers import registry\n"
        "registry.names()\n"
        "assert not {'tensorflow', 'keras', 'hpc_lstm.config'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
