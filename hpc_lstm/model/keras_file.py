"""The network as a Keras file, written without Keras: https://keras.io/api/models/model_saving_apis/.

A zip of three entries: ``metadata.json``; ``config.json``, the layers in Keras's notation; ``model.weights.h5``, their
arrays by layer. Only what the layers differ in from their defaults is written, so that every Keras 3 reads it: settings
that one version adds are unknown to the versions before.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hpc_lstm.config import ModelConfig
from hpc_lstm.files import whole_file

# The version whose format this is; the date of the entries, so that equal networks are equal files.
KERAS_VERSION = "3.0.0"
ENTRY_DATE = (1980, 1, 1, 0, 0, 0)


def write_keras_file(
    path: str | PathLike[str],
    config: ModelConfig,
    window: int,
    features: int,
    arrays: Sequence[np.ndarray],
) -> None:
    """Write the network that ``config`` describes, whole or not at all.

    Args:
        window: rows in one window.
        features: columns of a row.
        arrays: its weights, in the order of ``parameters.network_schema``.

    Raises:
        InputError: it cannot be written.
    """
    entries = {
        "metadata.json": json.dumps({"keras_version": KERAS_VERSION, "date_saved": ""}).encode(),
        "config.json": json.dumps(network_description(config, window, features)).encode(),
        "model.weights.h5": _weights_file(config.layers, arrays),
    }
    with whole_file(Path(path)) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, content in entries.items():
            archive.writestr(zipfile.ZipInfo(name, ENTRY_DATE), content)


def network_description(config: ModelConfig, window: int, features: int) -> dict[str, Any]:
    """The network in Keras's notation: stacked LSTM layers, dropout after each, one dense output."""
    layers = [
        _layer("InputLayer", {"name": "window", "batch_shape": [None, window, features], "dtype": "float32"})
    ]
    width = features
    for number in range(1, config.layers + 1):
        settings = {"units": config.units, "return_sequences": number < config.layers}
        layers.append(_layer("LSTM", {"name": f"lstm_{number}", **settings}, [None, window, width]))
        layers.append(_layer("Dropout", {"name": f"dropout_{number}", "rate": config.dropout}))
        width = config.units
    layers.append(_layer("Dense", {"name": "dense", "units": 1}, [None, width]))
    shape = [None, window, features]
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": "hpc_lstm", "trainable": True, "layers": layers, "build_input_shape": shape},
        "registered_name": None,
        "build_config": {"input_shape": shape},
    }


def _layer(kind: str, config: dict[str, Any], input_shape: list[int | None] | None = None) -> dict[str, Any]:
    described = {"module": "keras.layers", "class_name": kind, "config": config, "registered_name": None}
    return {**described, "build_config": {"input_shape": input_shape}} if input_shape else described


def _weights_file(layers: int, arrays: Sequence[np.ndarray]) -> bytes:
    """The arrays in HDF5, under the names that Keras counts layers of a kind by: lstm, lstm_1, ..."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for layer in range(layers):
            suffix = f"_{layer}" if layer else ""
            _put(file, f"layers/lstm{suffix}/cell/vars", arrays[3 * layer : 3 * layer + 3])
            _put(file, f"layers/lstm{suffix}/vars", [])
            _put(file, f"layers/dropout{suffix}/vars", [])
        _put(file, "layers/dense/vars", arrays[3 * layers :])
        _put(file, "vars", [])
    return content.getvalue()


def _put(file: h5py.File, name: str, arrays: Sequence[np.ndarray]) -> None:
    group = file.create_group(name)
    for number, array in enumerate(arrays):
        group.create_dataset(str(number), data=np.asarray(array, np.float32))
