"""A trained network on the GPU: its forecasts beside those of the CPU, from a run as the commands open it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from visible_gpus import child_environment

from hpc_lstm.config import ModelConfig
from hpc_lstm.model.engines.cuda.forecasts import CudaForecaster
from hpc_lstm.model.engines.native import NativeForecaster
from hpc_lstm.model.keras_file import SavedNetwork
from hpc_lstm.model.parameters import network_schema

SHAPES = [
    # layers, units, features, window, outputs, windows
    (1, 1, 1, 1, 1, 1),
    (2, 64, 5, 60, 1, 1500),
    (2, 31, 17, 7, 3, 33),
    (2, 128, 5, 12, 2, 2600),
    (1, 100, 43, 4, 1, 19),
    (2, 256, 5, 60, 1, 1025),
    (2, 512, 5, 9, 1, 300),
    (8, 24, 2, 5, 1, 16),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_forecasts_are_those_of_the_cpu(shape: tuple[int, ...]) -> None:
    layers, units, features, window, outputs, windows = shape
    random = np.random.default_rng(0)
    model = ModelConfig(layers=layers, units=units, dropout=0.0)
    length = network_schema(model, features, outputs).length
    flat = random.normal(0, 0.5 / max(1, units / 16) ** 0.5, length).astype("f")
    network = SavedNetwork(model, window, features, outputs, flat)
    inputs = random.normal(size=(windows, window, features)).astype("f")
    wanted = NativeForecaster(network).predict(inputs)
    forecaster = CudaForecaster(network)
    found = forecaster.predict(inputs)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max()
    np.testing.assert_array_equal(forecaster.parameters(), flat)


CONFIG = """
[data]
store = "market.h5"
window = 30
[model]
units = 64
[train]
epochs = 1
precision = "bfloat16"
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    program("synth", "--symbols", "3", "--days", "600", "-o", "market.h5", folder=folder)
    (folder / "job.toml").write_text(CONFIG)
    program("train", "job.toml", "--run-dir", "run", folder=folder)
    return folder


def program(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hpc_lstm", "--debug", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=child_environment())
    assert done.returncode == 0, done.stderr
    return done


def answers(run: Path, *words: str) -> Any:
    """What a command answers on the GPU and on CPUs."""
    found = {device: program(*words, "--device", device, "--json", folder=run) for device in ("gpu", "cpu")}
    assert "forecasts are computed on the GPU" in found["gpu"].stderr
    assert "GPU" not in found["cpu"].stderr
    return [json.loads(one.stdout) for one in found.values()]


def test_evaluate_measures_the_same_on_either(run: Path) -> None:
    gpu, cpu = answers(run, "evaluate", "run")
    for part in ("validation", "test"):
        assert gpu[part]["windows"] == cpu[part]["windows"] > 0
        on_gpu, on_cpu = (one[part]["model"] for one in (gpu, cpu))
        assert on_gpu["rmse"] == pytest.approx(on_cpu["rmse"], rel=1e-4)


def test_predict_forecasts_the_same_on_either(run: Path) -> None:
    gpu, cpu = answers(run, "predict", "run", "--all")
    assert len(gpu) == 3
    for on_gpu, on_cpu in zip(gpu, cpu, strict=True):
        np.testing.assert_allclose(on_gpu["forecast"], on_cpu["forecast"], rtol=1e-4)


def test_little_work_stays_on_the_cpu(run: Path) -> None:
    assert "GPU" not in program("evaluate", "run", folder=run).stderr
