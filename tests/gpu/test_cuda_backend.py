"""The CUDA backend behind ``prepare``: the same scaler and batches as the host's, from a real store."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpc_lstm.config import DataConfig
from hpc_lstm.errors import CudaError
from hpc_lstm.market.store import MarketStore
from hpc_lstm.market.store_writer import StoreWriter
from hpc_lstm.parallel.world import World
from hpc_lstm.preprocess import prepare
from hpc_lstm.preprocess.cuda_backend import CudaBackend
from hpc_lstm.preprocess.host_backend import HostBackend
from hpc_lstm.preprocess.sampler import ShuffledSampler


@pytest.fixture(scope="module")
def store_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "market.h5"
    generator = np.random.default_rng(4)
    with StoreWriter(path, ["open", "close", "volume"], "test") as writer:
        for number, rows in enumerate([400, 30, 150_000, 90, 1000]):
            steps = generator.normal(0, 0.01, (rows, 3))
            prices = 100 * np.exp(np.cumsum(steps, axis=0))
            writer.append(f"S{number}", np.arange(rows, dtype=np.int64), prices)
    return path


CASES = [
    {},
    {"features": ["open", "close", "volume"], "target": "close", "horizon": 3},
    {"features": ["log-returns(close)", "volume"], "target": "log-returns(close)", "horizon": 2},
    {"features": ["sma(close, 20)", "ema(volume, 5)"]},
    {"scaling": "standard", "features": ["close", "volume"]},
    {"scaling": "standard", "features": ["log-returns(close)"], "target": "log-returns(close)"},
]


@pytest.mark.parametrize("share", [0.5, 0.0], ids=["on the GPU", "in pinned host memory"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_scaler_and_batches_are_the_hosts(store_path: Path, case: dict[str, Any], share: float) -> None:
    plain = {"features": ["close"], "target": "close", "scaling": "minmax"}
    data = DataConfig(**{"store": str(store_path), "window": 20, **plain, **case})
    with MarketStore(store_path) as store:
        ours = prepare.prepare(store, data, World(), CudaBackend(share))
        theirs = prepare.prepare(store, data, World(), HostBackend())
        assert ours.train.location == ("GPU memory" if share else "pinned host memory, read over the bus")
        if data.scaling == "minmax":
            np.testing.assert_array_equal(ours.scaler.scale, theirs.scaler.scale)
            np.testing.assert_array_equal(ours.scaler.shift, theirs.scaler.shift)
        else:
            np.testing.assert_allclose(ours.scaler.scale, theirs.scaler.scale, rtol=1e-10)
            np.testing.assert_allclose(ours.scaler.shift, theirs.scaler.shift, rtol=1e-10)
        ulps = 0 if data.scaling == "minmax" else 1
        for part in ("train", "validation"):
            mine, other = getattr(ours, part), getattr(theirs, part)
            numbers = np.random.default_rng(1).integers(0, len(mine), (3, 500))
            for found, wanted in zip(mine.batch(numbers), other.batch(numbers), strict=True):
                assert found.shape == wanted.shape
                np.testing.assert_array_max_ulp(found.numpy(), wanted, ulps)
        first, second = (ShuffledSampler(len(ours.train), 700, 5, 2) for _ in range(2))
        for steps in (1, 3, 400, 2):  # 400 * 700 windows are more than two passes
            for found, wanted in zip(
                ours.train.next_batch(first, steps), theirs.train.next_batch(second, steps), strict=True
            ):
                np.testing.assert_array_max_ulp(found.numpy(), wanted, ulps)
            assert first.state() == second.state()
        ours.close()


def test_validation_errors_are_the_hosts(store_path: Path) -> None:
    data = DataConfig(store=str(store_path), window=20)
    with MarketStore(store_path) as store:
        ours = prepare.prepare(store, data, World(), CudaBackend())
        theirs = prepare.prepare(store, data, World(), HostBackend())
    forecast = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    numbers = np.arange(1000)
    mine = ours.validation.squared_error(forecast, ours.validation.batch(numbers)[1])
    other = theirs.validation.squared_error(forecast, theirs.validation.batch(numbers)[1])
    assert mine == pytest.approx(other, rel=1e-12)
    forecast[3] = np.nan
    assert np.isnan(ours.validation.squared_error(forecast, ours.validation.batch(numbers)[1]))


def test_a_batch_stays_until_its_reader_is_done(store_path: Path) -> None:
    """A slot that is still being read is not written before the reader's result is there."""
    data = DataConfig(store=str(store_path), window=20)
    with MarketStore(store_path) as store:
        windows = prepare.prepare(store, data, World(), CudaBackend()).train
    order = ShuffledSampler(len(windows), 64, 0)
    first, _ = windows.next_batch(order, 2)
    before = first.numpy()
    asked = threading.Event()

    class Result:
        def __float__(self) -> float:
            asked.set()
            np.testing.assert_array_equal(first.numpy(), before)
            return 0.0

    windows.used_by(Result())
    second, _ = windows.next_batch(order, 2)
    assert second.pointer != first.pointer
    assert not asked.is_set()
    third, _ = windows.next_batch(order, 2)
    assert third.pointer == first.pointer
    assert asked.is_set()


def test_too_little_memory_says_what_was_asked_and_what_is_free() -> None:
    cuda = CudaBackend()
    with pytest.raises(CudaError, match=r"the test's array needs 1024\.00 GiB, .* are free; lower train"):
        cuda.device.empty((2**40,), np.uint8, "the test's array")
