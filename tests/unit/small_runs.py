"""Small stores, and completed runs on them whose network is a stand-in."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tomli_w

from hpc_lstm.config import DataConfig, ForecastConfig, RunConfig
from hpc_lstm.evaluation.all_outputs import evaluate_outputs
from hpc_lstm.evaluation.evaluate_run import measure_run
from hpc_lstm.evaluation.forecast import Forecast
from hpc_lstm.evaluation.intervals import calibrate, write_intervals
from hpc_lstm.evaluation.predict import predict_symbols
from hpc_lstm.market.store import MarketStore
from hpc_lstm.market.store_writer import StoreWriter
from hpc_lstm.model.engines import registry as engine
from hpc_lstm.model.engines.head import Head
from hpc_lstm.parallel.world import World
from hpc_lstm.preprocess import backends, prepare
from hpc_lstm.runs.directory import at

WINDOW = 5


def walk(seed: int, rows: int = 300) -> np.ndarray:
    """A random walk of prices that never comes near 0."""
    return 100 + np.cumsum(np.random.default_rng(seed).uniform(-0.3, 0.3, rows))


def write_store(path: Path, prices: dict[str, np.ndarray], first_day: int = 15000) -> Path:
    with StoreWriter(path, ["open", "close"], "test") as writer:
        for symbol, close in prices.items():
            values = np.column_stack([close - 0.5, close])
            writer.append(symbol, np.arange(first_day, first_day + len(close), dtype=np.int64), values)
    return path


def settings(store: Path, **more) -> DataConfig:
    """Closes, min-max scaling, and each symbol split by itself, unless ``more`` says otherwise."""
    plain = {"features": ["close"], "target": "close", "scaling": "minmax", "split_by": "symbol"}
    return DataConfig(**{"store": str(store), "window": WINDOW, **plain, **more})


def predict_symbol(run_dir: Path, symbol: str, steps: int = 1, store: Path | None = None) -> Forecast:
    """``predict_symbols`` of one symbol that the run was trained on."""
    (found,), _ = predict_symbols(run_dir, [symbol], steps, store)
    return found


def evaluate_run(run_dir: Path, store: Path | None, world: World) -> dict[str, Any]:
    """The metrics of ``measure_run``."""
    return measure_run(run_dir, store, world).metrics


def last_input(inputs: np.ndarray) -> np.ndarray:
    """Persistence, as a model of one price feature: the scaled forecast is the last scaled price."""
    return inputs[:, -1, 0]


def make_run(folder: Path, data: DataConfig, monkeypatch: pytest.MonkeyPatch, predict=last_input) -> Path:
    folder.mkdir()
    (folder / "config.toml").write_text(tomli_w.dumps({"data": data.model_dump()}))
    (folder / "model.keras").write_bytes(b"stand-in")
    head = Head.of(RunConfig(data=data))
    network = SimpleNamespace(
        window=data.window,
        features=len(data.features),
        outputs=head.outputs,
        predict=lambda x: np.reshape(predict(x), (len(x), head.outputs)),
    )
    monkeypatch.setattr(engine, "load_forecaster", lambda path, *, threads=1: network)
    with MarketStore(data.store) as store:
        prepared = prepare.prepare(store, data, World(), backends.create_backend("host"))
        prepared.scaler.save(folder / "scaler.h5")
        intervals = calibrate(network.predict, head, prepared, World(), ForecastConfig(), 64)
        write_intervals(at(folder), intervals)
        metrics = evaluate_outputs(network.predict, head, intervals, prepared, World()).metrics
    (folder / "metrics.json").write_text(json.dumps({**metrics, "samples_per_second": 123.0}))
    return folder
