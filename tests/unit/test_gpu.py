"""Which GPU a rank takes: the choice itself, and what happens on a machine without a driver."""

from __future__ import annotations

import os
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_ranks import on_ranks

from hpc_lstm import gpu
from hpc_lstm.gpu import Gpu, choose, find, visible_entries
from hpc_lstm.world import World

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
    monkeypatch.setattr(gpu, "installed", lambda: NODE)
    monkeypatch.setattr(os, "environ", {})

    def take(world: World) -> Gpu | None:
        world.local_rank, world.node = world.rank, "n1"
        # Threads share an environment; what is visible is read before it is written.
        os.environ.pop(gpu.VISIBLE, None)
        return gpu.claim(world)

    taken = on_ranks(ranks, take)
    assert Counter(one.uuid for one in taken) == Counter(NODE[rank % 4].uuid for rank in range(ranks))
    assert taken[0].sharers == sharers
    assert ("shared by 2 ranks" in taken[0].describe()) == (sharers == 2)


def test_a_gpu_that_the_launcher_has_bound_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "installed", lambda: NODE)
    monkeypatch.setenv(gpu.VISIBLE, "3")
    world = World(rank=1, local_rank=1, local_size=2, node="n1")
    taken = gpu.claim(world)
    assert taken is not None
    assert taken.uuid == NODE[3].uuid
    assert os.environ[gpu.VISIBLE] == "3"


def test_the_choice_is_what_tensorflow_and_pycuda_will_see(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "installed", lambda: NODE)
    monkeypatch.delenv(gpu.VISIBLE, raising=False)
    monkeypatch.setenv(gpu.ORDER, "FASTEST_FIRST")
    gpu.claim(World(local_rank=2, local_size=4, node="n1"))
    assert os.environ[gpu.VISIBLE] == "2"
    assert os.environ[gpu.ORDER] == "PCI_BUS_ID"


def test_a_machine_without_a_driver_says_so_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(gpu.ctypes, "CDLL", missing)
    begin = time.perf_counter()
    assert gpu.claim(World()) is None
    assert gpu.problem() == "there is no NVIDIA driver (libcuda.so.1); use a node with a GPU"
    assert time.perf_counter() - begin < 0.5
