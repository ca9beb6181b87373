"""The network: stacked LSTM layers with dropout after each, and a dense layer of outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hpc_lstm.config import ModelConfig
from hpc_lstm.errors import InputError
from hpc_lstm.model.initial_weights import initial_weights
from hpc_lstm.model.parameters import network_schema

if TYPE_CHECKING:
    import keras


def build_network(
    config: ModelConfig, window: int, features: int, seed: int, precision: str = "float32", outputs: int = 1
) -> keras.Model:
    """A plain Keras model from windows [B, window, features] to [B, outputs].

    Initial weights depend on ``seed`` alone.

    Args:
        window: rows in one window.
        features: columns of a row.
        seed: of the initial weights and of the dropout layers.
        outputs: numbers that the network gives.
        precision: "float32", or "bfloat16" for arithmetic in bfloat16 with weights and output in float32.

    Raises:
        InputError: there are more layers than Keras can build.
    """
    import keras

    policy = "mixed_bfloat16" if precision == "bfloat16" else "float32"
    seeds = (int(s) for s in np.random.SeedSequence(seed).generate_state(config.layers) >> 1)
    layers: list[keras.Layer] = [keras.Input((window, features), name="window")]
    for number in range(1, config.layers + 1):
        layers.append(
            keras.layers.LSTM(
                config.units,
                return_sequences=number < config.layers,
                dtype=policy,
                name=f"lstm_{number}",
            )
        )
        layers.append(
            keras.layers.Dropout(config.dropout, seed=next(seeds), dtype=policy, name=f"dropout_{number}")
        )
    layers.append(keras.layers.Dense(outputs, dtype="float32", name="dense"))
    try:
        model = keras.Sequential(layers, name="hpc_lstm")
    except RecursionError:  # Keras goes through the layers by calls within calls
        raise InputError(
            f"model.layers: Keras, which is to train this network, cannot build {config.layers:,} layers; lower it"
        ) from None
    schema = network_schema(config, features, outputs)
    for variable, array in zip(
        model.trainable_variables, schema.unflatten(initial_weights(schema, seed)), strict=True
    ):
        variable.assign(array)
    return model
