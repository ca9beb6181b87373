"""Which GPU a rank takes: the choice itself, and what happens on a machine without a driver."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_ranks import on_ranks

from hpc_lstm.cuda.availability import cuda_problem
from hpc_lstm.parallel import gpu, gpu_discovery
from hpc_lstm.parallel.gpu import entry_of_rank, gpu_by_entry, visible_entries
from hpc_lstm.parallel.gpu_discovery import Gpu, installed_gpus
from hpc_lstm.parallel.world import World

NODE = [Gpu(str(number), "Model", f"GPU-{number}{number}aa-bb", 80 * 2**30) for number in range(4)]


@given(entries=st.lists(st.integers(0, 99), min_size=1, max_size=8, unique=True), ranks=st.integers(1, 40))
def test_every_visible_gpu_is_used_as_often_as_any_other(entries: list[int], ranks: int) -> None:
    names = [str(entry) for entry in entries]
    used = Counter(entry_of_rank(names, rank) for rank in range(ranks))
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
    by_number, by_uuid = gpu_by_entry("2", NODE), gpu_by_entry("GPU-22", NODE)
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


class Nvml:
    """What ``pynvml`` answers on a node: models by number, None for a GPU that a control group hides from us.

    A model that starts with "MIG " is a GPU in MIG mode with that many devices.
    """

    def __init__(self, models: Callable[[], Sequence[str | None]]) -> None:
        self.models = models

    def nvmlInit(self) -> None: ...

    def nvmlShutdown(self) -> None: ...

    def nvmlDeviceGetCount(self) -> int:
        return len(self.models())

    def nvmlDeviceGetHandleByIndex(self, number: int) -> int:
        if self.models()[number] is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NO_PERMISSION)
        return 100 * (number + 1)

    def nvmlDeviceGetMigMode(self, device: int) -> list[int]:
        if "without MIG" in self._model(device):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return [int(self._model(device).startswith("MIG ")), 0]

    def nvmlDeviceGetMaxMigDeviceCount(self, device: int) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, device: int, number: int) -> int:
        if number >= int(self._model(device).split()[1]):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return device + number + 1

    def nvmlDeviceGetName(self, device: int) -> str:
        return self._model(device)

    def nvmlDeviceGetUUID(self, device: int) -> str:
        return f"{'MIG' if device % 100 else 'GPU'}-{device}"

    def nvmlDeviceGetMemoryInfo(self, device: int) -> Any:
        return SimpleNamespace(total=80 * 2**30)

    def _model(self, device: int) -> str:
        model = self.models()[device // 100 - 1]
        assert model is not None, "asked about a GPU without permission"
        return model


def put_nvml(monkeypatch: pytest.MonkeyPatch, models: Callable[[], Sequence[str | None]]) -> None:
    nvml = Nvml(models)
    monkeypatch.setattr(gpu_discovery, "NVML_LIBRARY", None)  # a library that is there: the program itself
    for name in vars(Nvml):
        if name.startswith("nvml"):
            monkeypatch.setattr(pynvml, name, getattr(nvml, name))


def of_node(monkeypatch: pytest.MonkeyPatch, models: Sequence[str | None], variable: str | None) -> None:
    put_nvml(monkeypatch, lambda: models)
    monkeypatch.setattr(os, "environ", {} if variable is None else {gpu.VISIBLE: variable})


def test_the_management_library_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    of_node(monkeypatch, ["H100", "Tesla without MIG"], None)
    assert installed_gpus() == [
        Gpu("0", "H100", "GPU-100", 80 * 2**30),
        Gpu("1", "Tesla without MIG", "GPU-200", 80 * 2**30),
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
    assert visible_entries(None, installed_gpus()) == entries
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
    own = threading.local()

    def left() -> list[str | None]:
        return ["H100" if number == own.rank else None for number in range(4)]

    put_nvml(monkeypatch, left)

    def take(world: World) -> Gpu | None:
        world.local_rank, world.node = world.rank, "n1"
        own.rank = world.rank
        return gpu.assign_gpu(world)

    assert [one.sharers for one in on_ranks(4, take)] == [1, 1, 1, 1]


# A driver of two GPUs, one of which has no UUID to tell; it numbers them as CUDA_DEVICE_ORDER says.
DRIVER = """
#include <stdlib.h>
#include <string.h>
static int reversed(void) { return strcmp(getenv("CUDA_DEVICE_ORDER"), "PCI_BUS_ID") != 0; }
int cuInit(unsigned flags) { return getenv("CUDA_VISIBLE_DEVICES") ? 999 : 0; }
int cuDeviceGetCount(int *count) { *count = 2; return 0; }
int cuDeviceGet(int *device, int number) { *device = reversed() ? 1 - number : number; return 0; }
int cuDeviceGetName(char *name, int length, int device) { strcpy(name, device ? "T4" : "H100"); return 0; }
int cuDeviceGetUuid(char *uuid, int device) { memset(uuid, 0xa5, 16); return device; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = (device ? 16ul : 80ul) << 30; return 0; }
"""


@pytest.mark.parametrize(
    ("order", "models"), [("PCI_BUS_ID", ["H100", "T4"]), ("FASTEST_FIRST", ["T4", "H100"])]
)
def test_without_nvml_cuda_is_asked_in_a_process_of_its_own(
    tmp_path: Path, order: str, models: list[str]
) -> None:
    (tmp_path / "driver.c").write_text(DRIVER)
    library = str(tmp_path / "libcuda.so.1")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, str(tmp_path / "driver.c")], check=True)
    code = (
        "import dataclasses, json\n"
        "from hpc_lstm.parallel.gpu_discovery import _gpus_by_cuda\n"
        f"print(json.dumps([dataclasses.astuple(gpu) for gpu in _gpus_by_cuda({order!r})]))"
    )
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(tmp_path),
        "PYTHONPATH": str(Path(gpu.__file__).parents[2]),
        gpu.VISIBLE: "1",  # what is visible to this process alone
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    uuid = "GPU-a5a5a5a5-a5a5-a5a5-a5a5-a5a5a5a5a5a5"
    known = {"H100": ["H100", uuid, 80 * 2**30, 1], "T4": ["T4", "", 16 * 2**30, 1]}
    assert json.loads(done.stdout) == [[str(i), *known[model]] for i, model in enumerate(models)]


def test_this_machine_says_quickly_if_it_has_no_driver() -> None:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        begin = time.perf_counter()
        assert gpu.assign_gpu(World()) is None
        assert "no NVIDIA driver" in str(cuda_problem())
        assert time.perf_counter() - begin < 5
    else:
        pytest.skip("this machine has an NVIDIA driver")


def test_without_a_driver_there_is_no_gpu_and_the_reason_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    def no_nvml() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    monkeypatch.setattr(pynvml, "nvmlInit", no_nvml)
    begin = time.perf_counter()
    assert gpu.assign_gpu(World()) is None
    assert cuda_problem() == "there is no NVIDIA driver (libcuda.so.1); use a node with a GPU"
    assert time.perf_counter() - begin < 5
