"""Averaging without host memory: which transport is taken, what is refused, and sums by address."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import pytest
from simulated_ranks import on_ranks

from hpc_lstm.errors import ConfigError
from hpc_lstm.model.engines.keras_vector import KerasVector
from hpc_lstm.parallel import mpi_allreduce, nccl
from hpc_lstm.parallel.averaging import Averager
from hpc_lstm.parallel.device_allreduce import create_device_allreduce
from hpc_lstm.parallel.gpu import Gpu
from hpc_lstm.parallel.pinned_allreduce import PinnedAllreduce
from hpc_lstm.parallel.world import World


class Memory:
    """Vectors by address in memory of the CPU, copied as ``Device`` copies those of a GPU."""

    def __init__(self, *vectors: np.ndarray) -> None:
        self.at = {vector.ctypes.data: vector for vector in vectors}
        self.pins: list[int] = []

    def empty_pinned(self, shape: tuple[int, ...], dtype: Any, purpose: str) -> tuple[None, np.ndarray]:
        self.pins.append(shape[0])
        return None, np.full(shape, np.nan, dtype)

    def download(self, array: np.ndarray, pointer: int) -> None:
        array[:] = self.at[pointer]

    def upload(self, pointer: int, array: np.ndarray) -> None:
        self.at[pointer][:] = array


def chosen(
    transport: str, on_gpu: list[bool], aware: bool, sharers: int = 1, driven: list[bool] | None = None
) -> list[Any]:
    def work(world: World) -> Any:
        gpu = Gpu("0", "Model", "GPU-1", 0, sharers)
        device: Any = Memory() if driven and driven[world.rank] else None
        return create_device_allreduce(transport, world, on_gpu[world.rank], device, gpu)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mpi_allreduce, "mpi_takes_device_memory", lambda library: aware)
        return on_ranks(len(on_gpu), work)


def test_auto_takes_a_cuda_aware_mpi_where_all_weights_are_on_gpus() -> None:
    assert all(one is not None for one in chosen("auto", [True, True], aware=True))
    assert chosen("auto", [True, True], aware=False) == [None, None]
    assert chosen("auto", [True, False], aware=True) == [None, None]
    assert chosen("host", [True, True], aware=True) == [None, None]
    assert chosen("nccl", [False], aware=False) == [None], "one rank has nothing to average"


def test_without_a_cuda_aware_mpi_weights_go_through_pinned_memory_if_all_ranks_drive_their_gpu() -> None:
    def kinds(transport: str, aware: bool, driven: list[bool], on_gpu: list[bool]) -> list[str]:
        return [type(one).__name__ for one in chosen(transport, on_gpu, aware, driven=driven)]

    assert kinds("auto", False, [True, True], [True, True]) == ["PinnedAllreduce"] * 2
    assert kinds("host", True, [True, True], [True, True]) == ["PinnedAllreduce"] * 2
    assert kinds("auto", True, [True, True], [True, True]) == ["MpiAllreduce"] * 2
    assert kinds("auto", False, [True, False], [True, True]) == ["NoneType"] * 2
    assert kinds("auto", False, [True, True], [True, False]) == ["NoneType"] * 2


def test_pinned_sums_are_those_of_the_host() -> None:
    vectors = [
        [np.random.default_rng([rank, n]).normal(size=n).astype(np.float32) for n in (5, 3, 9)]
        for rank in range(3)
    ]
    wanted = on_ranks(3, lambda world: [world.allreduce_sum(vector.copy()) for vector in vectors[world.rank]])

    def work(world: World) -> list[int]:
        device: Any = Memory(*vectors[world.rank])
        transport = PinnedAllreduce(device, world)
        for vector in vectors[world.rank]:
            transport.allreduce_sum(vector.ctypes.data, len(vector))
        return list(device.pins)

    assert on_ranks(3, work) == [[5, 9]] * 3, "pinned memory is taken once and grows"
    for mine in vectors:
        for found, expected in zip(mine, wanted[0], strict=True):
            assert found.tobytes() == expected.tobytes()


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

    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(
        ConfigError, match=r'"nccl": libnccl\.so\.2 is not installed; pip install nvidia-nccl-cu12'
    ):
        nccl.load_nccl()


class Copy:
    """A scaled copy in memory of the CPU, which an address names just as well."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.waits = values, 0
        self.address, self.length = values.__array_interface__["data"][0], len(values)

    def wait(self) -> None:
        self.waits += 1


class Vector:
    NS = 300

    def __init__(self, values: np.ndarray, stream: int | None = None) -> None:
        self.values, self.stream = values, stream
        self.copy: Copy | None = None

    def scaled(self, share: float) -> Copy:
        self.copy = Copy((self.values * np.float32(share)).astype(np.float32))
        return self.copy

    def current(self) -> AbstractContextManager[None]:
        return nullcontext()

    def assign(self, copy: Copy) -> Vector:
        self.values = copy.values
        return self

    def wait(self) -> int:
        return self.NS


class AllreduceByAddress:
    """The sum over all ranks of a vector in memory of the CPU."""

    def __init__(self, world: World, takes_stream: bool = False) -> None:
        self._world, self.takes_stream = world, takes_stream
        self.streams: list[int | None] = []

    def allreduce_sum(self, address: int, length: int, stream: int | None = None) -> None:
        self.streams.append(stream)
        start = ctypes.cast(address, ctypes.POINTER(ctypes.c_float))
        self._world.allreduce_sum(np.ctypeslib.as_array(start, (length,)))

    def close(self, *, failed: bool) -> None:
        pass


class OnDevice:
    """An engine whose weights and moments are averaged where they lie."""

    def __init__(self, weights: np.ndarray, stream: int | None = None) -> None:
        self.weights, self.kept = Vector(weights, stream), Vector(2 * weights, stream)

    def device_vectors(self, *, moments: bool) -> list[Vector]:
        return [self.weights, self.kept] if moments else [self.weights]


@pytest.mark.parametrize("what", ["weights", "weights+moments"])
def test_vectors_are_averaged_where_they_lie(what: str) -> None:
    vectors, samples = np.random.default_rng(0).normal(size=(3, 50)).astype(np.float32), [5, 1, 2]

    def work(world: World) -> OnDevice:
        engine = OnDevice(vectors[world.rank])
        averager = Averager(world, what, AllreduceByAddress(world))
        averager.average(engine, samples[world.rank], sum(samples))  # type: ignore[arg-type]
        return engine

    mean = np.average(vectors.astype(np.float64), axis=0, weights=samples)
    for rank, engine in enumerate(on_ranks(3, work)):
        np.testing.assert_allclose(engine.weights.values, mean, atol=1e-6)
        moments = 2 * (vectors[rank] if what == "weights" else mean)
        np.testing.assert_allclose(engine.kept.values, moments, atol=1e-6)


@pytest.mark.parametrize("stream", [None, 7])
@pytest.mark.parametrize("takes_stream", [False, True])
def test_only_a_transport_with_the_stream_of_the_vectors_is_not_waited_for(
    stream: int | None, takes_stream: bool
) -> None:
    queued = takes_stream and stream is not None

    def work(world: World) -> None:
        engine: Any = OnDevice(np.arange(5, dtype=np.float32), stream)
        transport = AllreduceByAddress(world, takes_stream)
        averager = Averager(world, "weights+moments", transport)  # type: ignore[arg-type]
        assert averager.is_queued(engine) is queued
        averager.warm_up(engine)
        assert averager.average(engine, 1, world.size).wait() == 2 * Vector.NS
        assert transport.streams == [stream if queued else None] * 3
        assert {vector.copy.waits for vector in engine.device_vectors(moments=True)} == {int(not queued)}

    on_ranks(2, work)


def test_averages_in_host_memory_and_of_one_rank_are_not_queued() -> None:
    engine: Any = OnDevice(np.zeros(3, np.float32), 7)

    def work(world: World) -> bool:
        averager = Averager(world, "weights", None)
        return averager.is_queued(engine)

    assert on_ranks(2, work) == [False, False]
    alone: Any = AllreduceByAddress(World(), takes_stream=True)
    assert not Averager(World(), "weights", alone).is_queued(engine)


CRAY = "MPI VERSION : CRAY MPICH version 8.1.28.15 (ANL base 3.4a2)"


@pytest.mark.parametrize(
    ("library", "environment", "on"),
    [
        (CRAY, {}, False),
        (CRAY, {"MPICH_GPU_SUPPORT_ENABLED": "0"}, False),
        (CRAY, {"MPICH_GPU_SUPPORT_ENABLED": "1"}, True),
        ("MPICH Version: 5.0.2", {}, True),
        ("MPICH Version: 5.0.2", {"MPIR_CVAR_ENABLE_GPU": "0"}, False),
        ("MPICH Version: 5.0.2", {"MPICH_ENABLE_GPU": "OFF"}, False),
        ("Open MPI v5.0.5", {"MPICH_GPU_SUPPORT_ENABLED": "0"}, True),
    ],
)
def test_an_mpi_that_is_switched_off_is_left_alone(
    library: str, environment: dict[str, str], on: bool
) -> None:
    assert mpi_allreduce.gpu_support_enabled(library, environment) is on


def test_the_mpi_of_this_environment_answers() -> None:
    """Asked for real, in a process of its own that has loaded it: however it is asked, it says the same."""
    code = (
        "import ctypes\n"
        "from mpi4py import MPI\n"
        "from hpc_lstm.parallel.mpi_allreduce import cuda_support_reports, mpi_takes_device_memory\n"
        "from hpc_lstm.parallel.mpi_library import loaded_mpi_library\n"
        "answers = cuda_support_reports(ctypes.CDLL(str(loaded_mpi_library())))\n"
        "assert 'MPIX_Query_cuda_support' in answers, answers\n"
        "assert len(set(answers.values())) == 1, answers\n"
        "assert mpi_takes_device_memory(MPI.Get_library_version()) in answers.values()\n"
        "assert not mpi_takes_device_memory('CRAY MPICH')\n"
        "print('agreed')"
    )
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MPICH_", "MPIR_"))
    }
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == "agreed", done.stderr


def test_a_tensor_is_changed_in_place_by_its_address() -> None:
    """TensorFlow's own memory, here the CPU's: neither the variable nor what it took is written afterwards."""
    import tensorflow as tf

    values = np.arange(100, dtype=np.float32)
    variable = tf.Variable(values)
    vector = KerasVector(variable)
    copy = vector.scaled(0.5)
    start = ctypes.cast(copy.address, ctypes.POINTER(ctypes.c_float))
    memory = np.ctypeslib.as_array(start, (copy.length,))
    memory += 1
    np.testing.assert_array_equal(variable.numpy(), values)
    vector.assign(copy)
    np.testing.assert_array_equal(variable.numpy(), values * np.float32(0.5) + 1)
    variable.assign_add(tf.ones(100))
    np.testing.assert_array_equal(memory, values * np.float32(0.5) + 1)
