"""The Keras file that is written without Keras: Keras itself opens it and finds the same network."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from plain_keras import PlainKeras, check_model_opens

from hpc_lstm import config as configuration
from hpc_lstm.config import ModelConfig
from hpc_lstm.errors import InputError
from hpc_lstm.model import network
from hpc_lstm.model.engines import tensorflow_runtime
from hpc_lstm.model.engines.registry import create_engine, load_forecaster
from hpc_lstm.model.initial_weights import initial_weights
from hpc_lstm.model.keras_file import read_keras_file, write_keras_file
from hpc_lstm.model.parameters import network_schema


@pytest.mark.parametrize(("layers", "outputs"), [(1, 1), (3, 5)])
def test_plain_keras_opens_it(plain_keras: PlainKeras, tmp_path: Path, layers: int, outputs: int) -> None:
    check_model_opens(plain_keras, tmp_path, layers, outputs, eagerly=layers > 1)


def test_an_engine_trains_and_saves_without_tensorflow(tmp_path: Path) -> None:
    program = """
import sys
import numpy as np
from hpc_lstm import config
from hpc_lstm.model.engines.registry import create_engine
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
    assert (found.config, found.window, found.features) == (config, 6, 3)
    np.testing.assert_array_equal(found.flat, flat)


@pytest.mark.parametrize("outputs", [1, 5])
def test_what_keras_wrote_of_this_network_is_read(tmp_path: Path, outputs: int) -> None:
    tensorflow_runtime.start_tensorflow(2)
    import keras

    # An engine before may have made TensorFlow deterministic, which then asks for a seed.
    keras.utils.set_random_seed(1)
    config = ModelConfig(layers=2, units=7, dropout=0.5)
    model = network.build_network(config, 6, 3, seed=1, outputs=outputs)
    # What is saved is the same without the graph, which takes seconds to build.
    model.compile("adam", "mse", run_eagerly=True)
    windows = np.random.default_rng(0).normal(size=(70, 6, 3)).astype("f")
    model.fit(
        windows, np.repeat(windows[:, 0, :1], outputs, 1), batch_size=70, verbose=0
    )  # the file then holds the optimizer's vectors, too
    model.save(tmp_path / "model.keras")
    found = load_forecaster(tmp_path / "model.keras", threads=2)
    assert found.outputs == outputs
    weights = [np.ravel(variable) for variable in model.trainable_variables]
    np.testing.assert_array_equal(found.parameters(), np.concatenate(weights))
    expected = model.predict(windows, verbose=0)
    np.testing.assert_allclose(found.predict(windows), expected, atol=1e-6)


def test_of_what_keras_wrote_nothing_else_is_read(tmp_path: Path) -> None:
    tensorflow_runtime.start_tensorflow(2)
    import keras

    lstm, dropout, dense = keras.layers.LSTM(7), keras.layers.Dropout(0.5), keras.layers.Dense(1)
    for other, said in (
        ([keras.layers.LSTM(7, activation="relu"), dropout, dense], "LSTM has activation = relu"),
        ([keras.layers.LSTM(7, go_backwards=True), dropout, dense], "LSTM has go_backwards = True"),
        ([keras.layers.GRU(7), dropout, dense], "has no LSTM layer"),
        ([lstm, dense], "has Dense where Dropout is expected"),
        ([lstm, dropout, keras.layers.Dense(2, use_bias=False)], "Dense has use_bias = False"),
        (
            [lstm, dropout, dense, keras.layers.Lambda(lambda x: 1 / 0)],
            "has Lambda where the end is expected",
        ),
    ):
        keras.Sequential([keras.Input((6, 3)), *other]).save(tmp_path / "other.keras")
        with pytest.raises(InputError, match=f"other.keras: {said}"):
            read_keras_file(tmp_path / "other.keras")
    inputs = keras.Input((6, 3))
    keras.Model(inputs, dense(dropout(lstm(inputs)))).save(tmp_path / "other.keras")
    with pytest.raises(InputError, match=r"holds no keras\.Sequential"):
        read_keras_file(tmp_path / "other.keras")


@pytest.fixture
def entries(tmp_path: Path) -> dict[str, bytes]:
    """Those of a good file."""
    config = ModelConfig(layers=1, units=3)
    schema = network_schema(config, 1)
    write_keras_file(tmp_path / "good.keras", config, 4, 1, schema.unflatten(initial_weights(schema, 0)))
    with zipfile.ZipFile(tmp_path / "good.keras") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def read_crafted(folder: Path, entries: dict[str, bytes]) -> str:
    """The message for a file with these entries, which must not be taken for a network."""
    with zipfile.ZipFile(folder / "crafted.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    with pytest.raises(InputError, match=r"crafted\.keras: ") as caught:
        read_keras_file(folder / "crafted.keras")
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"class_name": "LSTM"', '"class_name": "Lambda"', "has no LSTM layer"),
        ('"class_name": "Dropout"', '"class_name": "Lambda"', "has Lambda where Dropout is expected"),
        (
            '"module": "keras.layers", "class_name": "LSTM"',
            '"module": "os", "class_name": "LSTM"',
            "has LSTM where",
        ),
        ('"class_name": "Sequential"', '"class_name": "Functional"', "no keras.Sequential"),
        (
            '"return_sequences": false',
            '"recurrent_activation": {"class_name": "function"}',
            "recurrent_activation",
        ),
        ('"units": 3', '"units": 2000000000', "weights in a file of"),
        ('"units": 3', '"units": "../3"', "not a readable"),
        ("[null, 4, 1]", "[null, 4000000000, 1]", "windows of 4000000000 rows"),
        ("[null, 4, 1]", "[null, 4, -1]", "of -1 features"),
        ("[null, 4, 1]", "[null, true, 1]", "windows of True rows"),
        ("[null, 4, 1]", "7", "not a readable"),
        ('"layers": [', '"layers": "", "were": [', "not a readable"),
    ],
)
def test_a_crafted_description_is_refused(
    old: str, new: str, said: str, entries: dict[str, bytes], tmp_path: Path
) -> None:
    described = entries["config.json"].decode()
    assert old in described
    assert said in read_crafted(tmp_path, entries | {"config.json": described.replace(old, new).encode()})


def test_descriptions_of_no_use_are_one_line(entries: dict[str, bytes], tmp_path: Path) -> None:
    for content in (b"[]", b"null", b"\xff", b"[" * 200_000, b'{"module": "keras"}'):
        assert "not a readable" in read_crafted(tmp_path, entries | {"config.json": content})
    assert "more than such a network takes" in read_crafted(tmp_path, entries | {"config.json": b" " * 2**21})
    assert "no item named" in read_crafted(tmp_path, {"../config.json": entries["config.json"]})


@pytest.mark.parametrize(
    "trick", ["external", "soft", "storage", "virtual", "compressed", "text", "sparse", "shape", "size"]
)
def test_weights_are_read_from_the_file_alone(trick: str, entries: dict[str, bytes], tmp_path: Path) -> None:
    place = "layers/dense/vars/0"
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["a"] = np.ones((3, 1), np.float32)
    content = io.BytesIO(entries["model.weights.h5"])
    with h5py.File(content, "r+") as file:
        del file[place]
        if trick == "external":
            file[place] = h5py.ExternalLink(str(secret), "a")
        elif trick == "soft":
            file[place] = h5py.SoftLink("/layers/lstm/cell/vars/0")
        elif trick == "storage":
            file.create_dataset(place, (3, 1), "f", external=[(str(secret), 0, 12)])
        elif trick == "virtual":
            layout = h5py.VirtualLayout((3, 1), "f")
            layout[:] = h5py.VirtualSource(str(secret), "a", (3, 1))
            file.create_virtual_dataset(place, layout)
        elif trick == "compressed":
            file.create_dataset(place, data=np.ones((3, 1), "f"), compression="gzip")
        elif trick == "text":
            file.create_dataset(place, data=[["a"], ["b"], ["c"]], dtype=h5py.string_dtype())
        elif trick == "sparse":
            file.create_dataset(place, (10**12, 1), "f", chunks=(1000, 1))
        elif trick == "shape":
            file.create_dataset(place, data=np.ones((4, 1), "f"))
        else:
            file.create_dataset(place, data=np.ones((3, 1), "f"))
            file.create_dataset("more", data=np.zeros(5 * 2**20, "f"))
    said = read_crafted(tmp_path, entries | {"model.weights.h5": content.getvalue()})
    expected = {
        "external": "is a link",
        "soft": "is a link",
        "shape": "shape",
        "size": "more than such a network",
    }
    assert expected.get(trick, "is not a plain array") in said


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
