"""Losses: their derivatives, the same numbers in NumPy, TensorFlow and C, and the forecasts that they stand for."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from hpc_lstm import config as configuration
from hpc_lstm.errors import ConfigError
from hpc_lstm.model.engines import native_kernels
from hpc_lstm.model.losses import registry
from hpc_lstm.model.losses.loss import Loss
from hpc_lstm.model.losses.quantile import Quantile
from hpc_lstm.model.losses.student_t import StudentT, standard_quantile

NAMES = registry.names()[1:]
RANDOM = np.random.default_rng(3)


def create(name: str, **more) -> Loss:
    return registry.create_loss(name, configuration.TrainConfig(loss=name, **more).model_dump())


def examples(loss: Loss) -> tuple[np.ndarray, np.ndarray]:
    """Outputs [n, 2, m] and targets [n, 2], small and large."""
    outputs = RANDOM.normal(size=(200, 2, loss.outputs)) * RANDOM.choice([0.1, 1.0, 4.0], (200, 1, 1))
    targets = RANDOM.normal(size=(200, 2))
    return outputs, (targets > 0).astype(float) if loss.name == "binary-cross-entropy" else targets


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_is_the_derivative(name: str) -> None:
    loss = create(name)
    outputs, targets = examples(loss)
    step = 1e-6
    for number in range(loss.outputs):
        shift = np.zeros(loss.outputs)
        shift[number] = step
        up, down = (loss.values(np, outputs + sign * shift, targets) for sign in (1, -1))
        found = loss.gradient(outputs, targets)[..., number]
        np.testing.assert_allclose(found, (up - down) / (2 * step), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_c_computes_the_same(name: str) -> None:
    loss = create(name)
    outputs, targets = (np.ascontiguousarray(array, np.float32) for array in examples(loss))
    function = getattr(native_kernels.load_kernels(), f"loss_{loss.kernel}")
    pointer = ctypes.c_void_p
    function.restype = ctypes.c_float
    function.argtypes = [pointer, ctypes.c_float, pointer, ctypes.c_int, pointer]
    constants, gradient = np.array(loss.constants or (0.0,), np.float32), np.empty(loss.outputs, np.float32)
    wanted = loss.gradient(outputs.astype(float), targets.astype(float))
    values = loss.values(np, outputs.astype(float), targets.astype(float))
    for at in np.ndindex(targets.shape):
        found = function(
            *(outputs[at].ctypes.data, targets[at], constants.ctypes.data, loss.outputs, gradient.ctypes.data)
        )
        assert found == pytest.approx(values[at], rel=2e-5, abs=2e-6)
        np.testing.assert_allclose(gradient, wanted[at], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_finite_is_not_hidden(name: str) -> None:
    loss = create(name)
    outputs, targets = np.full((1, 1, loss.outputs), np.nan), np.zeros((1, 1))
    assert np.isnan(loss.values(np, outputs, targets)).all()
    function = getattr(native_kernels.load_kernels(), f"loss_{loss.kernel}")
    pointer = ctypes.c_void_p
    function.restype = ctypes.c_float
    function.argtypes = [pointer, ctypes.c_float, pointer, ctypes.c_int, pointer]
    given, gradient = outputs.astype(np.float32), np.zeros(loss.outputs, np.float32)
    constants = np.array(loss.constants or (0.0,), np.float32)
    found = function(given.ctypes.data, 0.0, constants.ctypes.data, loss.outputs, gradient.ctypes.data)
    assert np.isnan(found)


def test_likelihoods_are_those_of_the_distributions() -> None:
    import scipy.stats

    gaussian, student = create("gaussian"), create("student-t", degrees_of_freedom=3.5)
    outputs, targets = examples(gaussian)
    scale = np.log1p(np.exp(outputs[..., 1])) + 1e-4
    expected = -scipy.stats.norm.logpdf(targets, outputs[..., 0], scale)
    np.testing.assert_allclose(gaussian.values(np, outputs, targets), expected, rtol=1e-9)
    expected = -scipy.stats.t.logpdf(targets, 3.5, outputs[..., 0], scale)
    np.testing.assert_allclose(student.values(np, outputs, targets), expected, rtol=1e-9)
    levels = [0.01, 0.25, 0.5, 0.9, 0.999]
    for loss, distribution in ((gaussian, scipy.stats.norm()), (student, scipy.stats.t(3.5))):
        standard = (loss.quantiles(outputs, levels) - outputs[..., :1]) / scale[..., None]
        # Not by its inverse, which SciPy 1.11 has to eight digits.
        np.testing.assert_allclose(
            distribution.cdf(standard), np.broadcast_to(levels, standard.shape), rtol=1e-9
        )


@pytest.mark.parametrize("freedom", [1.0, 2.0, 4.0, 30.0, 1000.0])
def test_quantiles_of_the_t_distribution(freedom: float) -> None:
    import scipy.stats

    levels = [0.001, 0.05, 0.3, 0.5, 0.8, 0.999]
    found = [standard_quantile(level, freedom) for level in levels]
    np.testing.assert_allclose(found, scipy.stats.t.ppf(levels, freedom), rtol=1e-8, atol=1e-8)


def test_student_t_of_many_degrees_of_freedom_is_gaussian() -> None:
    gaussian, student = create("gaussian"), StudentT(1000.0)
    outputs, targets = examples(gaussian)
    near = np.abs(targets - outputs[..., 0]) < 2 * np.log1p(np.exp(outputs[..., 1]))
    found, expected = student.values(np, outputs, targets), gaussian.values(np, outputs, targets)
    np.testing.assert_allclose(found[near], expected[near], atol=0.02)


def test_the_pinball_loss_is_least_at_the_quantiles_and_forecasts_never_cross() -> None:
    loss = Quantile([0.1, 0.5, 0.9])
    sample = RANDOM.exponential(size=4000)

    def mean(quantiles: np.ndarray) -> float:
        return float(loss.values(np, np.broadcast_to(quantiles, (4000, 1, 3)), sample[:, None]).mean())

    best = np.quantile(sample, loss.known)
    for number in range(3):
        for change in (-0.1, 0.1):
            other = best.copy()
            other[number] += change
            assert mean(other) > mean(best)
    outputs = RANDOM.normal(size=(50, 3))
    found = loss.quantiles(outputs, [0.1, 0.3, 0.5, 0.7, 0.9])
    assert (np.diff(found, axis=-1) >= 0).all()
    np.testing.assert_array_equal(found[:, ::2], np.sort(outputs, -1))
    np.testing.assert_allclose(found[:, 1], np.sort(outputs, -1)[:, :2].mean(-1))
    # Sorting brings forecasts no further from the truth.
    truth = RANDOM.normal(size=(50, 1))
    unsorted, ordered = (
        loss.values(np, each[:, None], truth).sum() for each in (outputs, np.sort(outputs, -1))
    )
    assert ordered <= unsorted


def test_huber_is_squared_inside_and_absolute_outside() -> None:
    loss = create("huber", huber_delta=0.5)
    outputs = np.array([[[0.2]], [[3.0]], [[-3.0]]])
    np.testing.assert_allclose(loss.values(np, outputs, np.zeros((3, 1)))[:, 0], [0.02, 1.375, 1.375])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[train]\nloss = "qantile"', 'did you mean "quantile"'),
        ("[train]\nquantiles = [0.1, 0.9]", 'set loss = "quantile"'),
        ('[train]\nloss = "quantile"\nquantiles = [0.9, 0.1]', "ascending"),
        ('[train]\nloss = "quantile"\nquantiles = [0.0, 0.9]', "train.quantiles"),
        ('[train]\nloss = "binary-cross-entropy"', "is not a direction"),
        ('target = "direction"\n[train]\nloss = "mse"', "binary-cross-entropy"),
        ('target = ["direction", "close"]', "a separate run"),
        ("horizon = [5, 1]", "ascending"),
        ('horizon = "20..1"', "is not a range"),
        ('horizon = "1..99"', "at most 64"),
        ("horizon = []", "ascending"),
        ('target = ["close", "close"]', "named twice"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path, text: str, said: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(f'[data]\nstore = "m.h5"\n{text}\n')
    with pytest.raises(ConfigError, match=said):
        configuration.load(path)


def test_horizons_and_the_loss_that_auto_means() -> None:
    def parsed(**data):
        return configuration.parse({"data": {"store": "m.h5", **data}}, "test")

    assert parsed(horizon="1..4").data.horizons == [1, 2, 3, 4]
    assert parsed(horizon=[1, 5]).data.longest_horizon == 5
    assert parsed().data.horizons == [1]
    assert (parsed().loss, parsed(target="direction(open)").loss) == ("mse", "binary-cross-entropy")
