"""Keras by itself, in a process that knows nothing of this package: does it open a file that was written without it?"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from hpc_lstm.config import ModelConfig
from hpc_lstm.model.initial_weights import initial_weights
from hpc_lstm.model.keras_file import write_keras_file
from hpc_lstm.model.parameters import network_schema
from hpc_lstm.model.reference import forecasts

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
print(keras.__version__)
print([layer.name for layer in model.layers], [layer.rate for layer in model.layers if hasattr(layer, "rate")])
"""


def check_model_opens(folder: Path, layers: int, packages: Path | None = None) -> str:
    """Write a network and compare what Keras makes of it: layers, weights to the bit, forecasts; it trains on, too.

    Args:
        packages: a folder with another Keras than the environment's.

    Returns:
        The version of Keras.
    """
    config = ModelConfig(layers=layers, units=6, dropout=0.25)
    schema, random = network_schema(config, 2), np.random.default_rng(0)
    flat = initial_weights(schema, 1) + random.normal(0, 0.1, schema.length).astype("f")
    write_keras_file(folder / "model.keras", config, 5, 2, schema.unflatten(flat))
    np.save(folder / "windows.npy", random.normal(size=(9, 5, 2)).astype("f"))
    names = ["model.keras", "windows.npy", "found.npy", "weights.npy"]
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, *(str(folder / name) for name in names)],
        capture_output=True,
        text=True,
        env=os.environ | ({} if packages is None else {"PYTHONPATH": str(packages)}),
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(folder / "weights.npy"), flat)
    expected = forecasts(flat, schema, np.load(folder / "windows.npy"))
    np.testing.assert_allclose(np.load(folder / "found.npy").reshape(expected.shape), expected, atol=1e-6)
    stack = [name for number in range(1, layers + 1) for name in (f"lstm_{number}", f"dropout_{number}")]
    *_, version, found = done.stdout.splitlines()
    assert found == f"{[*stack, 'dense']} {[0.25] * layers}"
    return version
