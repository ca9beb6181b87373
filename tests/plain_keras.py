"""Keras by itself, in a process that knows nothing of this package: does it open a file that was written without it?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np

from hpc_lstm.config import ModelConfig
from hpc_lstm.model.initial_weights import initial_weights
from hpc_lstm.model.keras_file import write_keras_file
from hpc_lstm.model.parameters import network_schema
from hpc_lstm.model.reference import forecasts

PROGRAM = """
import contextlib, importlib.abc, json, os, sys

class Hidden(importlib.abc.MetaPathFinder):
    # This package, where it is installed, and what Keras does not need but takes seconds to import.
    names = "hpc_lstm", "matplotlib", "pandas", "sklearn"

    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Hidden())
os.environ["KERAS_BACKEND"] = "tensorflow"
import keras, numpy as np

for line in sys.stdin:
    file, windows, forecasts, weights, fit = json.loads(line)
    model, windows = keras.saving.load_model(file), np.load(windows)
    assert type(model).__module__.startswith("keras."), type(model)
    with contextlib.redirect_stdout(sys.stderr):
        model.summary()
    if fit != "compiled":
        model.compile("adam", "mse", run_eagerly=True)
    np.save(forecasts, model.predict(windows, verbose=0))
    np.save(weights, np.concatenate([np.asarray(v).ravel() for v in model.trainable_variables]))
    if fit == "compiled":
        model.compile("adam", "mse")
    if fit:
        model.fit(windows, np.zeros((len(windows), model.output_shape[1])), verbose=0)
    rates = [layer.rate for layer in model.layers if hasattr(layer, "rate")]
    print(json.dumps([keras.__version__, [layer.name for layer in model.layers], rates]), flush=True)
"""


@dataclass(frozen=True)
class Opened:
    """What Keras found in a file."""

    version: str
    layers: list[str]
    dropout_rates: list[float]
    weights: np.ndarray
    forecasts: np.ndarray


class PlainKeras:
    """A process that opens one file after the other: to import TensorFlow takes longer than all that is done with it.

    Args:
        packages: a folder with another Keras than the environment's.
    """

    def __init__(self, packages: Path | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._errors = Path(self._folder.name, "stderr")
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=self._folder.name,
                env=environment | ({} if packages is None else {"PYTHONPATH": str(packages)}),
            )

    def __enter__(self) -> PlainKeras:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()
        self._folder.cleanup()

    def open(
        self, file: Path, windows: np.ndarray, *, fit: Literal["compiled", "eagerly"] | None = None
    ) -> Opened:
        """Load ``file`` and forecast ``windows``; with ``fit``, also train on. Only what is "compiled" is so."""
        given, forecasts, weights = (
            Path(self._folder.name, name) for name in ("windows.npy", "forecasts.npy", "weights.npy")
        )
        np.save(given, windows)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = [str(file.resolve()), str(given), str(forecasts), str(weights), fit]
        print(json.dumps(request), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer, self._errors.read_text()
        version, layers, rates = json.loads(answer)
        return Opened(version, layers, rates, np.load(weights), np.load(forecasts))


def check_model_opens(
    keras: PlainKeras, folder: Path, layers: int, outputs: int = 1, *, eagerly: bool = False
) -> str:
    """Write a network and compare what Keras makes of it: layers, weights to the bit, forecasts; it trains on, too.

    Args:
        eagerly: let Keras forecast and train on without compiling, which takes seconds.

    Returns:
        The version of Keras.
    """
    config = ModelConfig(layers=layers, units=6, dropout=0.25)
    schema, random = network_schema(config, 2, outputs), np.random.default_rng(0)
    flat = initial_weights(schema, 1) + random.normal(0, 0.1, schema.length).astype("f")
    write_keras_file(folder / "model.keras", config, 5, 2, schema.unflatten(flat))
    windows = random.normal(size=(9, 5, 2)).astype("f")
    found = keras.open(folder / "model.keras", windows, fit="eagerly" if eagerly else "compiled")
    np.testing.assert_array_equal(found.weights, flat)
    np.testing.assert_allclose(found.forecasts, forecasts(flat, schema, windows), atol=1e-6)
    stack = [name for number in range(1, layers + 1) for name in (f"lstm_{number}", f"dropout_{number}")]
    assert found.layers == [*stack, "dense"]
    assert found.dropout_rates == [0.25] * layers
    return found.version
