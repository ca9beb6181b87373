"""Which GPU a rank takes: the choice itself, and what happens on a machine without a driver."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_ranks import on_ranks

from hpc_lstm.parallel import gpu
from hpc_lstm.parallel.gpu import Gpu, choose, find, visible_entries
from hpc_lstm.parallel.world import World

NODE = [Gpu(str(number), "Model", f"GPU-{number}{number}aa-bb", 80 * 2**30) for number in range(4)]


@given(entries=st.lists(st.integers(0, 99), min_size=1, max_size=8, unique=True), ranks=st.integers(1, 40))
def test_every_visible_gpu_is_used_as_often_as_any_other(entries: list[int], ranks: int) -> None:
    names = [str(entry) for entry in entries]
    used = Counter(choose(names, rank) for rank in range(ranks))
    assert set(used) <= set(names)
    assert max(used.values()) - min(used.get(name, 0) for name in names) <= 1


@pytest.mark.parametrize(
    ("variable", "entries"),
    [
        (None, ["0", "1", "2", "3"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("2", ["2"]),
        ("3,1", ["3", "1"]),
        (" 3 , 1 ", ["3", "1"]),
        ("0,7,1", ["0"]),  # CUDA stops at the first that is not there
        ("1,1", ["1"]),
        ("0,GPU-00aa-bb", ["0"]),
        ("²", []),
        ("GPU-22aa-bb", ["GPU-22aa-bb"]),
        ("GPU-22,GPU-00aa-bb", ["GPU-22", "GPU-00aa-bb"]),
        ("GPU-99", []),
        ("1,GPU-", ["1"]),  # the beginning of more than one UUID names none
        ("MIG-5c89852c-d268-c3f3-1b07-005d5ae1dc3f", ["MIG-5c89852c-d268-c3f3-1b07-005d5ae1dc3f"]),
    ],
)
def test_what_a_process_may_see(variable: str | None, entries: list[str]) -> None:
    assert visible_entries(variable, NODE) == entries


def test_an_entry_is_found_by_number_and_by_uuid() -> None:
    by_number, by_uuid = find("2", NODE), find("GPU-22", NODE)
    assert by_number is not None
    assert by_uuid is not None
    assert by_number.uuid == by_uuid.uuid == "GPU-22aa-bb"
    assert by_uuid.entry == "GPU-22"


@pytest.mark.parametrize(("ranks", "sharers"), [(4, 1), (6, 2), (8, 2)])
def test_ranks_of_a_node_share_out_its_gpus(
    monkeypatch: pytest.MonkeyPatch, ranks: int, sharers: int
) -> None:
    monkeypatch.setattr(gpu, "installed_gpus", lambda: NODE)
    monkeypatch.setattr(os, "environ", {})

    def take(world: World) -> Gpu | None:
        world.local_rank, world.node = world.rank, "n1"
        # Threads share an environment; what is visible is read before it is written.
        os.environ.pop(gpu.VISIBLE, None)
        return gpu.assign_gpu(world)

    taken = on_ranks(ranks, take)
    assert Counter(one.uuid for one in taken) == Counter(NODE[rank % 4].uuid for rank in range(ranks))
    assert taken[0].sharers == sharers
    assert ("shared by 2 ranks" in taken[0].describe()) == (sharers == 2)


def test_a_gpu_that_the_launcher_has_bound_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "installed_gpus", lambda: NODE)
    monkeypatch.setenv(gpu.VISIBLE, "3")
    world = World(rank=1, local_rank=1, local_size=2, node="n1")
    taken = gpu.assign_gpu(world)
    assert taken is not None
    assert taken.uuid == NODE[3].uuid
    assert os.environ[gpu.VISIBLE] == "3"


def test_the_choice_is_what_tensorflow_and_pycuda_will_see(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "installed_gpus", lambda: NODE)
    monkeypatch.delenv(gpu.VISIBLE, raising=False)
    monkeypatch.setenv(gpu.ORDER, "FASTEST_FIRST")
    gpu.assign_gpu(World(local_rank=2, local_size=4, node="n1"))
    assert os.environ[gpu.VISIBLE] == "2"
    assert os.environ[gpu.ORDER] == "PCI_BUS_ID"


class Library:
    """The management library of a node, as C functions: models by number, None for one that is kept from us.

    A model that starts with "MIG " is a GPU cut into that many devices.
    """

    def __init__(self, models: Sequence[str | None]) -> None:
        self.models = models

    def nvmlInit_v2(self) -> int:
        return 0

    def nvmlShutdown(self) -> int:
        return 0

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:
        count._obj.value = len(self.models)
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, number: int, device: Any) -> int:
        device._obj.value = 100 * (number + 1)
        return 4 if self.models[number] is None else 0  # 4: no permission

    def nvmlDeviceGetMigMode(self, device: Any, now: Any, later: Any) -> int:
        now._obj.value = self._model(device).startswith("MIG ")
        return 0

    def nvmlDeviceGetMaxMigDeviceCount(self, device: Any, count: Any) -> int:
        count._obj.value = 7
        return 0

    def nvmlDeviceGetMigDeviceHandleByIndex(self, device: Any, number: int, part: Any) -> int:
        part._obj.value = device.value + number + 1
        return 6 if number >= int(self._model(device).split()[1]) else 0  # 6: not found

    def nvmlDeviceGetName(self, device: Any, text: Any, length: int) -> int:
        text.value = self._model(device).encode()
        return 0

    def nvmlDeviceGetUUID(self, device: Any, text: Any, length: int) -> int:
        text.value = f"{'MIG' if device.value % 100 else 'GPU'}-{device.value}".encode()
        return 0

    def nvmlDeviceGetMemoryInfo(self, device: Any, memory: Any) -> int:
        memory._obj.total = 80 * 2**30
        return 0

    def _model(self, device: Any) -> str:
        model = self.models[device.value // 100 - 1]
        assert model is not None, "asked about a GPU without permission"
        return model


def of_node(monkeypatch: pytest.MonkeyPatch, models: Sequence[str | None], variable: str | None) -> None:
    monkeypatch.setattr(gpu.ctypes, "CDLL", lambda name: Library(models))
    monkeypatch.setattr(os, "environ", {} if variable is None else {gpu.VISIBLE: variable})


def test_the_management_library_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    of_node(monkeypatch, ["H100", "H100"], None)
    assert gpu.installed() == [
        Gpu("0", "H100", "GPU-100", 80 * 2**30),
        Gpu("1", "H100", "GPU-200", 80 * 2**30),
    ]


@pytest.mark.parametrize("variable", [None, "0"])
@pytest.mark.parametrize("own", range(4))
def test_the_gpu_that_a_control_group_leaves_is_number_0(
    monkeypatch: pytest.MonkeyPatch, own: int, variable: str | None
) -> None:
    of_node(monkeypatch, ["H100" if number == own else None for number in range(4)], variable)
    taken = gpu.assign_gpu(World(rank=own, local_rank=own, local_size=4, node="n1"))
    assert taken is not None
    assert (taken.entry, taken.uuid) == ("0", f"GPU-{100 * (own + 1)}")
    assert os.environ[gpu.VISIBLE] == "0"


def test_mig_devices_are_shared_out_like_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    of_node(monkeypatch, ["MIG 2", "H100"], None)
    entries = ["MIG-101", "MIG-102", "GPU-200"]
    assert visible_entries(None, gpu.installed()) == entries
    for rank, entry in enumerate([*entries, *entries]):
        os.environ.clear()
        taken = gpu.assign_gpu(World(local_rank=rank, node="n1"))
        assert taken is not None
        assert taken.entry == taken.uuid == os.environ[gpu.VISIBLE] == entry


def test_the_preview_tells_of_sharing_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    of_node(monkeypatch, ["H100", "H100"], None)

    def look(world: World) -> Gpu | None:
        world.local_rank, world.node = world.rank, "n1"
        return gpu.preview_gpu(world)

    assert [one.sharers for one in on_ranks(3, look)] == [2, 1, 2]
    assert not os.environ


def test_ranks_that_see_one_gpu_each_share_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """As control groups leave it: every rank's GPU is number 0 to it."""
    monkeypatch.setattr(os, "environ", {gpu.VISIBLE: "0"})
    monkeypatch.setattr(gpu.ctypes, "CDLL", lambda name: Library(left()))
    own = threading.local()

    def left() -> list[str | None]:
        return ["H100" if number == own.rank else None for number in range(4)]

    def take(world: World) -> Gpu | None:
        world.local_rank, world.node = world.rank, "n1"
        own.rank = world.rank
        return gpu.assign_gpu(world)

    assert [one.sharers for one in on_ranks(4, take)] == [1, 1, 1, 1]


def test_this_machine_says_quickly_if_it_has_no_driver() -> None:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        begin = time.perf_counter()
        assert gpu.assign_gpu(World()) is None
        assert "no NVIDIA driver" in str(gpu.problem())
        assert time.perf_counter() - begin < 0.5
    else:
        pytest.skip("this machine has an NVIDIA driver")


def test_a_machine_without_a_driver_says_so_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(gpu.ctypes, "CDLL", missing)
    begin = time.perf_counter()
    assert gpu.assign_gpu(World()) is None
    assert gpu.problem() == "there is no NVIDIA driver (libcuda.so.1); use a node with a GPU"
    assert time.perf_counter() - begin < 0.5
