"""A kernel that may begin before the one in front has ended waits for it, and lets the next one begin only then."""

from __future__ import annotations

import re
from contextlib import nullcontext
from ctypes import c_void_p
from types import SimpleNamespace
from typing import Any

import pytest

from hpc_lstm.cuda import compiler, graph, overlap
from hpc_lstm.cuda.nvrtc import Nvrtc
from hpc_lstm.model.engines.cuda import plan as cuda_plan
from hpc_lstm.model.engines.cuda.network import early_kernels
from hpc_lstm.model.engines.cuda.sources import Sources
from hpc_lstm.model.engines.head import Head
from hpc_lstm.model.optimizers import registry as optimizers
from hpc_lstm.native.shared_library import LibraryError

WAIT, BEGIN_NEXT = "griddepcontrol.wait", "griddepcontrol.launch_dependents"
# They read nothing that the kernel in front has written, which is the update of the weights.
INPUTS = {"gather_inputs", "stage_inputs"}
# What may be behind those, and so begin while the update still runs: it touches no memory before it waits.
BEHIND_INPUTS = {"lstm_forward", "multiply_rows"}
GLOBAL = re.compile(r"\b(?:ld|st|red|atom|cp|prefetch)\.[\w.:]*global")
# units, batch, parts, capability: layers together, apart, in tiles; products by wgmma and by mma.
NETWORKS = [
    (64, 64, 1, (9, 0)),
    (128, 1024, 1, (9, 0)),
    (128, 64, 2, (9, 0)),
    (64, 9000, 1, (9, 0)),
    (64, 64, 1, (10, 0)),
]


def entries(nvrtc: Nvrtc, file: str, defines: compiler.Defines) -> dict[str, str]:
    """The PTX of each kernel of a file."""
    path = compiler.kernel_source(file)
    options = [f"-D{name}={value}" for name, value in defines.items()]
    target = "compute_90a" if defines.get("WGMMA") else "compute_90"
    code = nvrtc.compile(path.read_bytes(), path.name, target, options, compiler.included_headers(path)).code
    parts = re.split(r"\.entry (\w+)\(", code.decode())
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_early_kernels_wait(nvrtc: Nvrtc, network: tuple[int, int, int, tuple[int, int]]) -> None:
    units, batch, parts, capability = network
    plan = cuda_plan.plan(
        *(units, 5, batch),
        layers=2,
        parts=parts,
        dropout=True,
        capability=capability,
        clusters=lambda size: 132 // size,
    )
    assert plan is not None
    rules = {optimizers.optimizer_class(name).device_kernel for name in optimizers.names()}
    early = {kernel for rule in rules for kernel in early_kernels(plan, 2, rule)}
    found: dict[str, str] = {}
    for file, defines in {
        str(one): one for one in Sources(plan, 2, True, Head.to_forecast(1)).all()
    }.values():
        found |= entries(nvrtc, file, defines)
    waiting = early & set(found)
    assert {"gather_inputs", "stage_inputs", "head", "adam_at_once", "adam", "sgd_at_once"} <= waiting
    assert plan.tiles or "lstm_forward" in waiting
    for kernel in waiting:
        text = found[kernel]
        calls = re.findall(f"{WAIT}|{BEGIN_NEXT}".replace(".", r"\."), text)
        if kernel in INPUTS:
            assert (calls[0], set(calls[1:])) == (BEGIN_NEXT, {WAIT}), kernel
        else:  # on each way through the kernel, one after the other
            assert calls == [WAIT, BEGIN_NEXT] * (len(calls) // 2) != [], kernel
        if kernel in BEHIND_INPUTS:
            assert not GLOBAL.search(text[: text.index(WAIT)]), kernel


# A graph's edges, by node; nodes are kernels but for 7, and 9 is a kernel that the driver knows no function of.
EDGES = [(1, 2), (2, 3), (3, 4), (2, 5), (4, 6), (5, 6), (6, 7), (7, 8), (8, 9), (9, 10)]
NAMES = dict(enumerate(["inputs", "forward", "head", "backward", "masks", "update"], 1))
NAMES |= {8: "inputs", 9: "", 10: "forward"}
EARLY = {"inputs", "forward", "head", "update"}


class Driver:
    """The driver's functions for graphs, of one graph.

    Args:
        refuses: a function that returns an error when it is called first.
    """

    def __init__(self, refuses: str = "") -> None:
        self.refuses, self.called, self.early = refuses, list[str](), list[tuple[int, int]]()

    def call(self, name: str, *arguments: Any) -> None:
        self.called.append(name)
        if name == self.refuses and self.called.count(name) == 1:
            raise LibraryError(f"{name}: refused", 1)
        if known := getattr(self, name, None):
            known(*arguments)

    def cuGraphGetEdges_v2(self, graph: Any, begins: Any, ends: Any, kinds: Any, count: Any) -> None:
        count._obj.value = len(EDGES)
        if begins is not None:
            begins[:], ends[:] = zip(*EDGES, strict=True)

    def cuGraphNodeGetType(self, node: int, kind: Any) -> None:
        kind._obj.value = 0 if node in NAMES else 2

    def cuGraphKernelNodeGetParams_v2(self, node: int, parameters: Any) -> None:
        parameters._obj.function = node if NAMES[node] else None

    def cuFuncGetName(self, name: Any, function: int) -> None:
        name.contents.value = NAMES[function].encode()

    def cuGraphInstantiateWithFlags(self, ready: Any, recorded: Any, flags: int) -> None:
        ready._obj.value = 1

    def cuGraphAddDependencies_v2(self, graph: Any, begins: Any, ends: Any, kinds: Any, count: int) -> None:
        assert all((kinds[i].from_port, kinds[i].type) == (1, 1) for i in range(count))
        self.early = list(zip(begins, ends, strict=True))


def test_edges_between_early_kernels_become_programmatic(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver()
    monkeypatch.setattr(overlap, "_OverlapDriver", lambda: driver)
    # The update has two kernels in front, and one of the others is none that begins early.
    assert overlap.overlap(c_void_p(1), EARLY) == 2
    assert driver.early == [(1, 2), (2, 3)]


@pytest.mark.parametrize(
    "refuses", ["", "cuGraphGetEdges_v2", "cuGraphAddDependencies_v2", "cuGraphInstantiateWithFlags"]
)
def test_where_kernels_cannot_overlap_they_run_one_after_the_other(
    refuses: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Driver(refuses)
    monkeypatch.setattr(overlap, "_OverlapDriver", lambda: driver)
    monkeypatch.setattr(graph, "GraphDriver", lambda: driver)
    device: Any = SimpleNamespace(capability=(9, 0), current=nullcontext, stream=SimpleNamespace(handle=1))
    made = graph.Graph(device, lambda: None, EARLY)
    made.launch()
    assert driver.called.count("cuGraphDestroy") == 2
    assert driver.called.count("cuGraphInstantiateWithFlags") == (2 if refuses.endswith("Flags") else 1)
    del made
    assert driver.called[-1] == "cuGraphExecDestroy"
