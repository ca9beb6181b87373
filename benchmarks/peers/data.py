"""What all peers train on: windows cut and scaled once by ``preprocess.prepare``, and the weights to start from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from hpc_lstm import config as configuration
from hpc_lstm.market.store import MarketStore
from hpc_lstm.market.synthetic import synthesize
from hpc_lstm.parallel.world import World
from hpc_lstm.preprocess.host_backend import HostBackend
from hpc_lstm.preprocess.prepare import prepare

WINDOW = 60
FEATURES = ["open", "high", "low", "close", "volume"]
SYMBOLS = 16
TRAIN_SHARE = 0.7


def write(folder: Path, job: dict[str, Any]) -> int:
    """A made universe of ``SYMBOLS`` symbols as a market store and as arrays of windows; returns the train windows.

    Args:
        job: units, dropout, cores, gpu, learning_rate, and "windows": how many to train on, at least;
            "more_units", other sizes of the network, where there are any.
    """
    days = int((job["windows"] / SYMBOLS + WINDOW) / TRAIN_SHARE) + 2
    synthesize(folder / "market.h5", symbols=SYMBOLS, days=days, seed=0)
    tables = {
        "data": {
            "store": str(folder / "market.h5"),
            "window": WINDOW,
            "features": FEATURES,
            "target": "close",
            "split": [TRAIN_SHARE, 0.05, 0.25],
        },
        "model": {"layers": 2, "units": job["units"], "dropout": job["dropout"]},
    }
    config = configuration.parse(tables, "benchmark")
    data = prepare(MarketStore(folder / "market.h5"), config.data, World(), HostBackend())
    shuffled = np.random.default_rng(0).permutation(len(data.train))
    for name, part, numbers in (
        ("train", data.train, shuffled),
        ("validation", data.validation, np.arange(len(data.validation))),
    ):
        inputs, targets = part.batch(numbers)
        np.save(folder / f"{name}_x.npy", inputs)
        np.save(folder / f"{name}_y.npy", targets)
    for units in (job["units"], *job.get("more_units", ())):
        arrays = weights(np.random.default_rng(1), len(FEATURES), units)
        np.savez(
            folder / f"weights-{units}.npz", **{f"w{number}": array for number, array in enumerate(arrays)}
        )
    (folder / "job.json").write_text(json.dumps(job | {"config": tables}))
    return len(data.train)


def weights(random: np.random.Generator, features: int, units: int) -> list[np.ndarray]:
    """Initial weights as Keras draws them, in its order: uniform (Glorot), orthogonal, and 1 for the forget bias."""

    def uniform(rows: int, columns: int) -> np.ndarray:
        limit = np.sqrt(6 / (rows + columns))
        return random.uniform(-limit, limit, (rows, columns)).astype(np.float32)

    arrays = []
    for width in (features, units):
        orthogonal = np.linalg.qr(random.normal(size=(4 * units, units)))[0].T
        bias = np.zeros(4 * units, np.float32)
        bias[units : 2 * units] = 1
        arrays += [uniform(width, 4 * units), np.ascontiguousarray(orthogonal, np.float32), bias]
    return [*arrays, uniform(units, 1), np.zeros(1, np.float32)]
