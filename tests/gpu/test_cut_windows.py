"""Windows that the CUDA engine cuts within its calls: the steps are those on batches cut before, to the bit."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpc_lstm import config as configuration
from hpc_lstm.market.store import MarketStore
from hpc_lstm.market.store_writer import StoreWriter
from hpc_lstm.model.engines.cuda.engine import CudaEngine
from hpc_lstm.model.engines.speed_table import CHAINS, TILES
from hpc_lstm.parallel.world import World
from hpc_lstm.preprocess import prepare
from hpc_lstm.preprocess.cuda_backend import CudaBackend
from hpc_lstm.preprocess.cuda_kernels import UncutWindows
from hpc_lstm.preprocess.sampler import ShuffledSampler

COLUMNS = ["open", "high", "low", "close", "volume"]
ONE, SEVENTEEN = ["close"], [*COLUMNS, *(f"sma(close, {n})" for n in range(2, 14))]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "market.h5"
    generator = np.random.default_rng(4)
    with StoreWriter(path, COLUMNS, "test") as writer:
        for number, rows in enumerate([400, 60, 9000, 90, 1000]):
            prices = 100 * np.exp(np.cumsum(generator.normal(0, 0.01, (rows, 5)), axis=0))
            writer.append(f"S{number}", np.arange(rows, dtype=np.int64), prices)
    return path


def settings(path: Path, case: dict[str, Any]) -> configuration.RunConfig:
    tables = {
        "data": {
            "store": str(path),
            "window": case.get("window", 20),
            "features": case.get("features", COLUMNS),
        }
        | {"horizon": case.get("horizon", 1), "scaling": "standard"},
        "model": {"layers": case.get("layers", 2), "units": case.get("units", 64), "dropout": 0.1},
        "train": {"engine": "fused", "batch_size": case.get("batch", 100), "seed": 3}
        | {"precision": case.get("precision", "bfloat16")},
    }
    return configuration.parse(tables, "test")


CASES: list[dict[str, Any]] = [
    {},
    {"precision": "float32", "units": 40, "features": ONE, "window": 1, "batch": 1},
    {"precision": "float32", "features": SEVENTEEN, "window": 7, "horizon": [1, 2, 5]},
    {"kernels": TILES, "batch": 300},
    {"kernels": TILES, "units": 128, "features": ONE, "window": 33, "batch": 77, "horizon": [1, 3]},
    {"kernels": TILES, "units": 256, "batch": 130, "window": 9},
    {"precision": "float32", "kernels": TILES, "units": 128, "batch": 300},
    {"batch": 5000, "window": 61},
    {"layers": 1, "features": SEVENTEEN},
    {"layers": 3, "units": 128, "batch": 1024},
]


@pytest.mark.parametrize("share", [0.5, 0.0], ids=["on the GPU", "in pinned host memory"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_steps_are_those_on_batches_that_lie_ready(path: Path, case: dict[str, Any], share: float) -> None:
    config, batch = settings(path, case), case.get("batch", 100)
    with MarketStore(path) as store:
        data = prepare.prepare(store, config.data, World(), CudaBackend(share))
    engines = [CudaEngine(config, kernels=case.get("kernels", CHAINS)) for _ in range(2)]
    orders = [ShuffledSampler(len(data.train), batch, 5, 2) for _ in range(2)]
    for steps in (1, 4, 4, min(16, engines[0].steps_per_call), 2):
        losses = []
        for one, order, cut in zip(engines, orders, (True, False), strict=True):
            inputs, targets = data.train.next_batch(order, steps, cut=cut)
            assert isinstance(inputs, UncutWindows) is not cut
            loss = one.step(inputs, targets, np.linspace(1e-3, 2e-3, steps))
            data.train.used_by(loss)
            losses.append(float(loss))
        assert losses[0] == losses[1]
        assert orders[0].state() == orders[1].state()
        np.testing.assert_array_equal(*(one.gradient() for one in engines))
        np.testing.assert_array_equal(*(one.parameters() for one in engines))
    data.close()


def test_a_price_that_is_not_finite_ends_in_the_loss(path: Path) -> None:
    config = settings(path, {})
    with MarketStore(path) as store:
        windows = prepare.prepare(store, config.data, World(), CudaBackend()).train
    inputs, _ = windows.next_batch(ShuffledSampler(len(windows), 100, 5), 1, cut=False)
    rows = inputs.resident.rows
    values = rows.numpy()
    values[:, 2] = np.inf
    rows.set(values)
    assert np.isnan(float(CudaEngine(config).step(inputs, None, 1e-3)))


def test_rows_are_freed_while_the_engine_stays(path: Path) -> None:
    config = settings(path, {})
    backend, one = CudaBackend(), CudaEngine(config)
    with MarketStore(path) as store:
        data = prepare.prepare(store, config.data, World(), backend)
    inputs, targets = data.train.next_batch(ShuffledSampler(len(data.train), 100, 5), 2, cut=False)
    float(one.step(inputs, targets, 1e-3))
    del inputs
    gc.collect()
    assert len(one._gathers) == 1
    data.train.close()
    gc.collect()
    assert len(one._gathers) == 0


def test_windows_of_another_shape_are_refused(path: Path) -> None:
    config = settings(path, {})
    with MarketStore(path) as store:
        data = prepare.prepare(store, config.data, World(), CudaBackend())
    one = CudaEngine(config)
    order = ShuffledSampler(len(data.train), 100, 5)
    many, _ = data.train.next_batch(order, one.steps_per_call + 1, cut=False)
    with pytest.raises(ValueError, match="steps in a call"):
        one.step(many, None, 1e-3)
    small, _ = data.train.next_batch(ShuffledSampler(len(data.train), 99, 5), 1, cut=False)
    with pytest.raises(ValueError, match=r"windows of \(100, 20, 5, 1\) expected, got \(99, 20, 5, 1\)"):
        one.step(small, None, 1e-3)
