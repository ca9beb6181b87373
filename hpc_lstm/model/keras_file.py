"""The network as a Keras file, written and read without Keras: https://keras.io/api/models/model_saving_apis/.

A zip of three entries: ``metadata.json``; ``config.json``, the layers in Keras's notation; ``model.weights.h5``, their
arrays by layer. Only what the layers differ in from their defaults is written, so that every Keras 3 reads it: settings
that one version adds are unknown to the versions before.
"""

from __future__ import annotations

import io
import itertools
import json
import lzma
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hpc_lstm.config import ModelConfig
from hpc_lstm.errors import InputError, why_unreadable
from hpc_lstm.files import whole_file
from hpc_lstm.hdf5.reading import UNREADABLE
from hpc_lstm.model.parameters import Schema, network_schema

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
# Settings that change nothing in a forecast from float32 weights.
IRRELEVANT = {"dtype", "name"}
# Where Keras says that its own classes are.
MODULES = {"keras", "keras.layers"}
# Most outputs of a network: far above those of any head.
MOST_OUTPUTS = 2**16
# Most bytes of the entries of a file, beside those for each weight, an optimizer's vectors included.
DESCRIPTION_BYTES = 2**20
WEIGHTS_BYTES, BYTES_PER_WEIGHT = 16 * 2**20, 64
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
        "config.json": json.dumps(network_description(config, window, features, len(arrays[-1]))).encode(),
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
        outputs: numbers that it gives.
        flat: its weights [P].
    """

    config: ModelConfig
    window: int
    features: int
    outputs: int
    flat: np.ndarray


def read_keras_file(path: str | PathLike[str]) -> SavedNetwork:
    """The network in a Keras file, whether this package wrote it or Keras.

    Nothing in the file is executed, and no other file is read.

    Raises:
        InputError: the file is missing, damaged or holds another kind of network.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such model; `hpc-lstm train` writes it at the end of a run")
    try:
        with zipfile.ZipFile(path) as archive:
            config, window, features, outputs = _network_of(
                json.loads(_read(archive, "config.json", DESCRIPTION_BYTES))
            )
            schema = network_schema(config, features, outputs)
            content = _read(archive, "model.weights.h5", WEIGHTS_BYTES + BYTES_PER_WEIGHT * schema.length)
        flat = _read_weights(content, config.layers, schema)
    except _OtherNetworkError as error:
        raise InputError(f"{path}: {error}; only what `hpc-lstm train` writes is read") from None
    except (*UNREADABLE, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError) as error:
        reason = " ".join(str(error).split())[:200]
        damaged = f"not a readable Keras model ({reason}); train again, or restore an intact copy"
        raise InputError(f"{path}: {why_unreadable(error, damaged)}") from None
    return SavedNetwork(config, window, features, outputs, flat)


def network_description(config: ModelConfig, window: int, features: int, outputs: int = 1) -> dict[str, Any]:
    """The network in Keras's notation: stacked LSTM layers, dropout after each, a dense layer of outputs."""
    layers = [
        _layer("InputLayer", {"name": "window", "batch_shape": [None, window, features], "dtype": "float32"})
    ]
    width = features
    for number in range(1, config.layers + 1):
        settings = {"units": config.units, "return_sequences": number < config.layers}
        layers.append(_layer("LSTM", {"name": f"lstm_{number}", **settings}, [None, window, width]))
        layers.append(_layer("Dropout", {"name": f"dropout_{number}", "rate": config.dropout}))
        width = config.units
    layers.append(_layer("Dense", {"name": "dense", "units": outputs}, [None, width]))
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


class _OtherNetworkError(Exception):
    """The file holds a network that is not of the kind that this package trains."""


def _read(archive: zipfile.ZipFile, name: str, most_bytes: int) -> bytes:
    size = archive.getinfo(name).file_size
    if size > most_bytes:
        raise _OtherNetworkError(f"{name} has {size:,} bytes, more than such a network takes")
    return archive.read(name)


def _network_of(described: Any) -> tuple[ModelConfig, int, int, int]:
    """Layers, window, features and outputs of a network in Keras's notation.

    Raises:
        _OtherNetworkError: it differs from what ``network_description`` gives.
        LookupError, TypeError, ValueError: it is in no such notation.
    """
    if not _is_of_keras(described, "Sequential"):
        raise _OtherNetworkError("holds no keras.Sequential")
    layers = described["config"]["layers"]
    _, window, features = layers[0]["config"]["batch_shape"]
    if not all(type(number) is int and 0 < number < 2**31 for number in (window, features)):
        raise _OtherNetworkError(f"takes windows of {window} rows of {features} features")
    lstm = [layer["config"] for layer in layers if layer["class_name"] == "LSTM"]
    rates = [layer["config"]["rate"] for layer in layers if layer["class_name"] == "Dropout"]
    if not lstm:
        raise _OtherNetworkError("has no LSTM layer")
    config = ModelConfig(layers=len(lstm), units=lstm[0]["units"], dropout=rates[0] if rates else 0.0)
    outputs = next((layer["config"]["units"] for layer in layers if layer["class_name"] == "Dense"), 1)
    if not (type(outputs) is int and 0 < outputs <= MOST_OUTPUTS):
        raise _OtherNetworkError(f"has {outputs} outputs")
    # Each layer as it is here; what else a description says must be what Keras assumes anyway.
    for given, own in itertools.zip_longest(
        layers, network_description(config, window, features, outputs)["config"]["layers"]
    ):
        if given is None or own is None or not _is_of_keras(given, own["class_name"]):
            kind = "nothing" if given is None else given["class_name"]
            wanted = "the end" if own is None else own["class_name"]
            raise _OtherNetworkError(f"has {kind} where {wanted} is expected")
        settings = DEFAULTS | {"activation": ACTIVATION.get(own["class_name"])} | own["config"]
        for key, value in given["config"].items():
            if key in settings and key not in IRRELEVANT and value != settings[key]:
                raise _OtherNetworkError(f"{own['class_name']} has {key} = {str(value)[:60]}")
    return config, window, features, outputs


def _is_of_keras(described: Any, kind: str) -> bool:
    """Whether an object is Keras's own, and no class of a user that has the same name."""
    module, registered = described["module"], described.get("registered_name")
    return described["class_name"] == kind and module in MODULES and registered in (None, kind)


def _read_weights(content: bytes, layers: int, schema: Schema) -> np.ndarray:
    """The weights [P] from the bytes of ``model.weights.h5``."""
    if len(content) < 4 * schema.length:
        raise ValueError(f"{schema.length:,} weights in a file of {len(content):,} bytes")
    with h5py.File(io.BytesIO(content), "r") as file:
        arrays = []
        for place, shape in zip(_places(layers), schema.shapes, strict=True):
            dataset = _own_dataset(file, place)
            if dataset.shape != shape:
                raise _OtherNetworkError(f"{place} has the shape {dataset.shape}, not {shape}")
            arrays.append(np.asarray(dataset, np.float32))
    return schema.flatten(arrays)


def _own_dataset(file: h5py.File, place: str) -> h5py.Dataset:
    """An array that lies in the file itself: links and external storage would read other files.

    Compressed arrays are refused, too: Keras writes none, and a few bytes might fill the memory.
    """
    node = file
    for name in place.split("/"):
        if not isinstance(node.get(name, getlink=True), h5py.HardLink):
            raise _OtherNetworkError(f"{place} is a link")
        node = node[name]
    if (
        not isinstance(node, h5py.Dataset)
        or node.is_virtual
        or node.external
        or node.chunks
        or node.dtype.kind != "f"
    ):
        raise _OtherNetworkError(f"{place} is not a plain array of numbers")
    return node


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
