"""The weights that training begins with."""

from __future__ import annotations

import numpy as np

from hpc_lstm.config import ModelConfig
from hpc_lstm.model.initial_weights import initial_weights
from hpc_lstm.model.parameters import network_schema

SCHEMA = network_schema(ModelConfig(layers=2, units=24), 3)


def arrays(seed: int = 0) -> dict[str, np.ndarray]:
    return dict(zip(SCHEMA.names, SCHEMA.unflatten(initial_weights(SCHEMA, seed)), strict=True))


def test_they_depend_on_the_seed_alone_and_no_two_arrays_share_numbers() -> None:
    np.testing.assert_array_equal(initial_weights(SCHEMA, 4), initial_weights(SCHEMA, 4))
    assert not np.array_equal(arrays(4)["lstm_1/kernel"], arrays(5)["lstm_1/kernel"])
    found = arrays(4)
    assert not np.array_equal(found["lstm_1/recurrent_kernel"], found["lstm_2/recurrent_kernel"])


def test_recurrent_kernels_are_orthonormal() -> None:
    for layer in (1, 2):
        kernel = arrays()[f"lstm_{layer}/recurrent_kernel"]
        np.testing.assert_allclose(kernel @ kernel.T, np.eye(24), atol=1e-5)


def test_kernels_are_uniform_within_glorots_limit() -> None:
    for name, inputs, outputs in (
        ("lstm_1/kernel", 3, 96),
        ("lstm_2/kernel", 24, 96),
        ("dense/kernel", 24, 1),
    ):
        limit = np.sqrt(6 / (inputs + outputs))
        values = np.concatenate([arrays(seed)[name].ravel() for seed in range(200)])
        assert np.abs(values).max() <= limit
        # The standard deviation of a uniform distribution is its limit over the root of 3.
        assert abs(values.std() / (limit / np.sqrt(3)) - 1) < 0.05


def test_biases_are_0_but_at_the_forget_gates() -> None:
    found = arrays()
    expected = np.zeros(96)
    expected[24:48] = 1
    for layer in (1, 2):
        np.testing.assert_array_equal(found[f"lstm_{layer}/bias"], expected)
    assert found["dense/bias"] == 0
