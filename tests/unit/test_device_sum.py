"""Averaging without host memory: which transport is taken, what is refused, and sums by address."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from simulated_ranks import on_ranks

from hpc_lstm.errors import ConfigError
from hpc_lstm.gpu import Gpu
from hpc_lstm.sync import device_sum as module
from hpc_lstm.sync import nccl
from hpc_lstm.sync.averaging import Averager
from hpc_lstm.sync.device_sum import device_sum
from hpc_lstm.timing import Timeline
from hpc_lstm.world import World


def chosen(transport: str, on_gpu: list[bool], aware: bool, sharers: int = 1) -> list[Any]:
    def work(world: World) -> Any:
        world.gpu = Gpu("0", "Model", "GPU-1", 0, sharers)
        return device_sum(transport, world, on_gpu[world.rank])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "mpi_takes_device_memory", lambda: aware)
        return on_ranks(len(on_gpu), work)


def test_auto_takes_a_cuda_aware_mpi_where_all_weights_are_on_gpus() -> None:
    assert all(one is not None for one in chosen("auto", [True, True], aware=True))
    assert chosen("auto", [True, True], aware=False) == [None, None]
    assert chosen("auto", [True, False], aware=True) == [None, None]
    assert chosen("host", [True, True], aware=True) == [None, None]
    assert chosen("nccl", [False], aware=False) == [None], "one rank has nothing to average"


@pytest.mark.parametrize(
    ("transport", "on_gpu", "sharers", "words"),
    [
        ("mpi", [True, False], 1, 'average.transport = "mpi": the weights are not on a GPU on every rank'),
        ("mpi", [True, True], 1, 'average.transport = "mpi": .* does not take GPU memory'),
        ("nccl", [False, False], 1, 'average.transport = "nccl": the weights are not on a GPU'),
        ("nccl", [True, True], 2, "several ranks share a GPU, which NCCL refuses"),
    ],
)
def test_what_cannot_be_had_is_refused_on_all_ranks(
    transport: str, on_gpu: list[bool], sharers: int, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        chosen(transport, on_gpu, aware=False, sharers=sharers)


def test_nccl_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(place: str) -> None:
        raise OSError(place)

    monkeypatch.setattr(nccl.ctypes, "CDLL", missing)
    with pytest.raises(
        ConfigError, match=r'"nccl": libnccl\.so\.2 is not installed; pip install nvidia-nccl-cu12'
    ):
        nccl.load()


class Copy:
    """A scaled copy in memory of the CPU, which an address names just as well."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self.address, self.length = values.__array_interface__["data"][0], len(values)


class Vector:
    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def scaled(self, share: float) -> Copy:
        return Copy((self.values * np.float32(share)).astype(np.float32))

    def assign(self, copy: Copy) -> None:
        self.values = copy.values


class OnDevice:
    """An engine whose weights and moments are averaged where they lie."""

    def __init__(self, weights: np.ndarray) -> None:
        self.weights, self.kept = Vector(weights), Vector(2 * weights)

    def device_vectors(self, *, moments: bool) -> list[Vector]:
        return [self.weights, self.kept] if moments else [self.weights]


@pytest.mark.parametrize("what", ["weights", "weights+moments"])
def test_vectors_are_averaged_where_they_lie(what: str) -> None:
    vectors, samples = np.random.default_rng(0).normal(size=(3, 50)).astype(np.float32), [5, 1, 2]

    def work(world: World) -> OnDevice:
        def by_address(address: int, length: int) -> None:
            start = ctypes.cast(address, ctypes.POINTER(ctypes.c_float))
            memory = np.ctypeslib.as_array(start, (length,))
            world.sum(memory)

        engine = OnDevice(vectors[world.rank])
        averager = Averager(world, Timeline(), what, by_address)
        averager.average(engine, samples[world.rank], sum(samples))  # type: ignore[arg-type]
        return engine

    mean = np.average(vectors.astype(np.float64), axis=0, weights=samples)
    for rank, engine in enumerate(on_ranks(3, work)):
        np.testing.assert_allclose(engine.weights.values, mean, atol=1e-6)
        moments = 2 * (vectors[rank] if what == "weights" else mean)
        np.testing.assert_allclose(engine.kept.values, moments, atol=1e-6)


def test_the_mpi_of_this_environment_answers() -> None:
    """Asked for real, in a process of its own that has loaded it; a build without CUDA says no."""
    code = (
        "from mpi4py import MPI\n"
        "from hpc_lstm.sync.device_sum import _mpi_library, mpi_takes_device_memory\n"
        "assert _mpi_library() is not None\n"
        "print(mpi_takes_device_memory())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() in ("True", "False"), done.stderr
