"""The Keras file that is written without Keras: Keras itself opens it and finds the same network."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from hpc_lstm import config as configuration
from hpc_lstm.config import ModelConfig
from hpc_lstm.errors import InputError
from hpc_lstm.model import network
from hpc_lstm.model.engines import tensorflow_runtime
from hpc_lstm.model.engines.keras import SavedModel
from hpc_lstm.model.engines.native import NativeForecaster
from hpc_lstm.model.engines.registry import create_engine, load_forecaster
from hpc_lstm.model.initial_weights import initial_weights
from hpc_lstm.model.keras_file import read_keras_file, write_keras_file
from hpc_lstm.model.parameters import network_schema
from hpc_lstm.model.reference import forecasts

# In a process that knows nothing of this package.
PLAIN = """
import os, sys
os.environ["KERAS_BACKEND"] = "tensorflow"
import keras, numpy as np
model = keras.saving.load_model(sys.argv[1])
model.summary()
windows = np.load(sys.argv[2])
np.save(sys.argv[3], model.predict(windows, verbose=0)[:, 0])
np.save(sys.argv[4], np.concatenate([np.asarray(v).ravel() for v in model.trainable_variables]))
model.compile("adam", "mse")
model.fit(windows, np.zeros(len(windows)), verbose=0)
assert type(model).__module__.startswith("keras."), type(model)
print([layer.name for layer in model.layers], [layer.rate for layer in model.layers if hasattr(layer, "rate")])
"""


@pytest.mark.parametrize("layers", [1, 3])
def test_plain_keras_opens_it(tmp_path: Path, layers: int) -> None:
    config = ModelConfig(layers=layers, units=6, dropout=0.25)
    schema, random = network_schema(config, 2), np.random.default_rng(0)
    flat = initial_weights(schema, 1) + random.normal(0, 0.1, schema.length).astype("f")
    write_keras_file(tmp_path / "model.keras", config, 5, 2, schema.unflatten(flat))
    np.save(tmp_path / "windows.npy", random.normal(size=(9, 5, 2)).astype("f"))
    names = ["model.keras", "windows.npy", "found.npy", "weights.npy"]
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, *(str(tmp_path / name) for name in names)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "weights.npy"), flat)
    expected = forecasts(flat, schema, np.load(tmp_path / "windows.npy"))
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), expected, atol=1e-6)
    stack = [name for number in range(1, layers + 1) for name in (f"lstm_{number}", f"dropout_{number}")]
    assert done.stdout.splitlines()[-1] == f"{[*stack, 'dense']} {[0.25] * layers}"


def test_an_engine_trains_and_saves_without_tensorflow(tmp_path: Path) -> None:
    program = """
import sys
import numpy as np
from hpc_lstm import config
from hpc_lstm.model import network
from hpc_lstm.model.engines import tensorflow_runtime
from hpc_lstm.model.engines.keras import SavedModel
from hpc_lstm.model.engines.native import NativeForecaster
from hpc_lstm.model.engines.registry import create_engine, load_forecaster
engine = create_engine(config.parse({"data": {"store": "none", "window": 4}}, "test"))
engine.step(np.zeros((1, 64, 4, 1), "f"), np.zeros((1, 64, 1), "f"), 1e-3)
engine.save(sys.argv[1])
print(engine.name, sorted(name for name in ("tensorflow", "keras", "jax", "torch") if name in sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "model.keras")], capture_output=True, text=True
    )
    assert done.stdout == "fused []\n", done.stdout + done.stderr


def test_equal_networks_are_equal_files(tmp_path: Path) -> None:
    config = configuration.parse({"data": {"store": "none", "window": 4}}, "test")
    for name in ("one", "two"):
        create_engine(config).save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    with zipfile.ZipFile(tmp_path / "one") as archive:
        assert archive.namelist() == ["metadata.json", "config.json", "model.weights.h5"]


def test_a_folder_that_is_missing_is_one_line(tmp_path: Path) -> None:
    config = configuration.parse({"data": {"store": "none", "window": 4}}, "test")
    with pytest.raises(InputError, match="nowhere"):
        create_engine(config).save(tmp_path / "nowhere" / "model.keras")


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    config = ModelConfig(layers=2, units=7, dropout=0.5)
    schema = network_schema(config, 3)
    flat = initial_weights(schema, 3)
    write_keras_file(tmp_path / "model.keras", config, 6, 3, schema.unflatten(flat))
    found = read_keras_file(tmp_path / "model.keras")
    assert found is not None
    assert (found.config, found.window, found.features) == (config, 6, 3)
    np.testing.assert_array_equal(found.flat, flat)


def test_what_keras_wrote_of_this_network_is_read_and_anything_else_is_left_to_keras(tmp_path: Path) -> None:
    tensorflow_runtime.start_tensorflow(2)
    import keras

    config = ModelConfig(layers=2, units=7, dropout=0.5)
    model = network.build_network(config, 6, 3, seed=1)
    model.save(tmp_path / "model.keras")
    found = read_keras_file(tmp_path / "model.keras")
    assert found is not None
    np.testing.assert_array_equal(found.flat, initial_weights(network_schema(config, 3), 1))
    windows = np.random.default_rng(0).normal(size=(70, 6, 3)).astype("f")
    ours = load_forecaster(tmp_path / "model.keras", threads=2)
    assert isinstance(ours, NativeForecaster)
    theirs = SavedModel(tmp_path / "model.keras", threads=2)
    assert ours.shapes == theirs.shapes
    np.testing.assert_array_equal(ours.parameters(), theirs.parameters())
    np.testing.assert_allclose(ours.predict(windows), theirs.predict(windows), atol=1e-6)
    for other in (
        [keras.layers.LSTM(7, activation="relu"), keras.layers.Dense(1)],
        [keras.layers.LSTM(7, go_backwards=True), keras.layers.Dropout(0.5), keras.layers.Dense(1)],
        [keras.layers.GRU(7), keras.layers.Dropout(0.5), keras.layers.Dense(1)],
        [keras.layers.LSTM(7), keras.layers.Dropout(0.5), keras.layers.Dense(2)],
    ):
        keras.Sequential([keras.Input((6, 3)), *other]).save(tmp_path / "other.keras")
        assert read_keras_file(tmp_path / "other.keras") is None


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    with pytest.raises(InputError, match="no such model"):
        read_keras_file(path)
    config = ModelConfig(layers=1, units=3)
    schema = network_schema(config, 1)
    write_keras_file(path, config, 4, 1, schema.unflatten(initial_weights(schema, 0)))
    whole = path.read_bytes()
    for damaged in (b"", b"no zip", whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="not a readable Keras model"):
            read_keras_file(path)
