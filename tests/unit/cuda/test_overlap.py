"""Which edges of a graph let a kernel begin before the one in front has ended, by a driver that is not there."""

from __future__ import annotations

from contextlib import nullcontext
from ctypes import c_void_p
from types import SimpleNamespace
from typing import Any

import pytest

from hpc_lstm.cuda import graph, overlap
from hpc_lstm.native.shared_library import LibraryError

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
