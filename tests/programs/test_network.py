"""The network that a configuration describes."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from hpc_lstm.config import ModelConfig
from hpc_lstm.errors import InputError
from hpc_lstm.model import network
from hpc_lstm.model.engines import tensorflow_runtime
from hpc_lstm.model.parameters import network_schema

CONFIG = ModelConfig(layers=2, units=5, dropout=0.3)


def weights(seed: int, precision: str = "float32") -> list[np.ndarray]:
    tensorflow_runtime.start_tensorflow(2)
    return network.build_network(CONFIG, 7, 3, seed, precision).get_weights()


def test_is_the_stack_of_plain_keras_layers() -> None:
    tensorflow_runtime.start_tensorflow(2)
    import keras

    model = network.build_network(CONFIG, 7, 3, seed=1)
    kinds = [type(layer) for layer in model.layers]
    lstm, dropout, dense = keras.layers.LSTM, keras.layers.Dropout, keras.layers.Dense
    assert kinds == [lstm, dropout, lstm, dropout, dense]
    assert model.input_shape == (None, 7, 3)
    assert model.output_shape == (None, 1)
    assert [layer.rate for layer in model.layers if isinstance(layer, dropout)] == [0.3, 0.3]


def test_more_layers_than_keras_can_build_are_refused() -> None:
    tensorflow_runtime.start_tensorflow(2)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(200)  # a thousand layers take long
    try:
        with pytest.raises(InputError, match=r"^model.layers: Keras, .* cannot build 100 layers; lower it$"):
            network.build_network(ModelConfig(layers=100, units=1), 2, 1, seed=1)
    finally:
        sys.setrecursionlimit(limit)


def test_schema_is_the_order_and_shape_of_keras_variables() -> None:
    tensorflow_runtime.start_tensorflow(2)
    model = network.build_network(CONFIG, 7, 3, seed=1)
    described = network_schema(CONFIG, 3)
    assert [v.path for v in model.trainable_variables] == [
        # Keras keeps an LSTM layer's arrays in a cell within it.
        "hpc_lstm/" + (name.replace("/", "/lstm_cell/") if name.startswith("lstm") else name)
        for name in described.names
    ]
    assert [tuple(v.shape) for v in model.trainable_variables] == list(described.shapes)


def test_initial_weights_depend_on_the_seed_alone() -> None:
    first, again, other, half = weights(4), weights(4), weights(5), weights(4, "bfloat16")
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert all(np.array_equal(a, b) and b.dtype == np.float32 for a, b in zip(first, half, strict=True))
    assert not np.array_equal(first[0], other[0])
    # The layers do not share their numbers.
    assert not np.array_equal(first[1], first[4])
