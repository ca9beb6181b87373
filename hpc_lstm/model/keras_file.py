"""The network as a Keras file, written and read without Keras: https://keras.io/api/models/model_saving_apis/.

A zip of three entries: ``metadata.json``; ``config.json``, the layers in Keras's notation; ``model.weights.h5``, their
arrays by layer. Only what the layers differ in from their defaults is written, so that every Keras 3 reads it: settings
that one version adds are unknown to the versions before.
"""

from __future__ import annotations

import io
import itertools
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hpc_lstm.config import ModelConfig
from hpc_lstm.errors import InputError
from hpc_lstm.files import whole_file
from hpc_lstm.model.parameters import network_schema

# Settings of a layer that change what it computes, as Keras assumes them where a description is silent.
DEFAULTS: dict[str, Any] = {
    "activation": None,
    "recurrent_activation": "sigmoid",
    "use_bias": True,
    "go_backwards": False,
    "stateful": False,
    "return_state": False,
    "return_sequences": False,
}
ACTIVATION = {"LSTM": "tanh", "Dense": "linear"}
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


@dataclass(frozen=True)
class SavedNetwork:
    """A network read back from a file.

    Attributes:
        config: its layers.
        window, features: rows and columns of a window.
        flat: its weights [P].
    """

    config: ModelConfig
    window: int
    features: int
    flat: np.ndarray


def read_keras_file(path: str | PathLike[str]) -> SavedNetwork | None:
    """The network in a Keras file; None: it holds another kind of network, or in another form than that of today.

    Nothing in the file is executed.

    Raises:
        InputError: the file is missing or damaged.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such model; `hpc-lstm train` writes it at the end of a run")
    try:
        with zipfile.ZipFile(path) as archive:
            described = json.loads(archive.read("config.json"))
            content = io.BytesIO(archive.read("model.weights.h5"))
        found = _network_of(described)
        if found is None:
            return None
        schema = network_schema(found[0], found[2])
        with h5py.File(content, "r") as file:
            arrays = [np.asarray(file[name], np.float32) for name in _places(found[0].layers)]
    except (KeyError, TypeError):
        return None
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: not a readable Keras model ({error}); train again, or put back a whole copy"
        ) from None
    return (
        SavedNetwork(*found, schema.flatten(arrays))
        if schema.shapes == tuple(map(np.shape, arrays))
        else None
    )


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


def _network_of(described: Any) -> tuple[ModelConfig, int, int] | None:
    """Layers, window and features of a description; None: it differs from what ``network_description`` gives."""
    layers = described["config"]["layers"]
    _, window, features = layers[0]["config"]["batch_shape"]
    lstm = [layer["config"] for layer in layers if layer["class_name"] == "LSTM"]
    dropout = [layer["config"]["rate"] for layer in layers if layer["class_name"] == "Dropout"]
    if not lstm or len(set(dropout)) > 1:
        return None
    config = ModelConfig(layers=len(lstm), units=lstm[0]["units"], dropout=dropout[0] if dropout else 0.0)
    # Each layer as it is here; what else a description says must be what Keras assumes anyway.
    for given, own in itertools.zip_longest(
        layers, network_description(config, window, features)["config"]["layers"]
    ):
        if given is None or own is None or given["class_name"] != own["class_name"]:
            return None
        settings = DEFAULTS | {"activation": ACTIVATION.get(own["class_name"])} | own["config"]
        settings.pop("dtype", None)
        if any(key in settings and value != settings[key] for key, value in given["config"].items()):
            return None
    return config, window, features


def _places(layers: int) -> list[str]:
    """Where the arrays lie in the file of the weights, in their order."""
    cells = [f"layers/lstm{f'_{layer}' if layer else ''}/cell/vars" for layer in range(layers)]
    places = [f"{cell}/{number}" for cell in cells for number in range(3)]
    return [*places, "layers/dense/vars/0", "layers/dense/vars/1"]


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
