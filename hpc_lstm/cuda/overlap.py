"""Kernels of a graph that begin before the one in front of them has ended ("programmatic dependent launch").

A kernel whose source calls ``wait_for_kernel_before`` (kernels/lstm_common.cuh) waits there itself for the kernel in
front, so that its launch, and what it does before, overlap with that one's end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from ctypes import POINTER, Structure, byref, c_char_p, c_int, c_size_t, c_ubyte, c_uint, c_void_p, pointer
from typing import ClassVar

from hpc_lstm.cuda.driver import CudaDriver
from hpc_lstm.native.shared_library import LibraryError

# CUgraphNodeType, CU_GRAPH_KERNEL_NODE_PORT_PROGRAMMATIC and CUgraphDependencyType of cuda.h.
_KERNEL, _PORT, _PROGRAMMATIC = 0, 1, 1


class _Edge(Structure):
    """``CUgraphEdgeData``; all zero: the one node waits for the other's end."""

    _fields_: ClassVar = [
        ("from_port", c_ubyte),
        ("to_port", c_ubyte),
        ("type", c_ubyte),
        ("zeros", c_ubyte * 5),
    ]


class _KernelNode(Structure):
    """``CUDA_KERNEL_NODE_PARAMS_v2``."""

    _fields_: ClassVar = [
        ("function", c_void_p),
        ("sizes", c_uint * 7),
        ("arguments", c_void_p),
        ("extra", c_void_p),
        ("kernel", c_void_p),
        ("context", c_void_p),
    ]


class _OverlapDriver(CudaDriver):
    """The functions for edges, which drivers have from CUDA 12.3 on."""

    functions: ClassVar = {
        "cuGraphGetEdges_v2": (c_void_p, c_void_p, c_void_p, c_void_p, POINTER(c_size_t)),
        "cuGraphNodeGetType": (c_void_p, POINTER(c_int)),
        "cuGraphKernelNodeGetParams_v2": (c_void_p, POINTER(_KernelNode)),
        "cuFuncGetName": (POINTER(c_char_p), c_void_p),
        "cuGraphRemoveDependencies_v2": (c_void_p, c_void_p, c_void_p, POINTER(_Edge), c_size_t),
        "cuGraphAddDependencies_v2": (c_void_p, c_void_p, c_void_p, POINTER(_Edge), c_size_t),
    }


def overlap(graph: c_void_p, kernels: Collection[str]) -> int:
    """Let kernels begin early, where both ends of an edge are among ``kernels`` and it is the only way to its end.

    Args:
        graph: recorded, not yet instantiated.
        kernels: by name; each waits itself for the one in front.

    Returns:
        The number of such edges; 0 where the driver does not know them.

    Raises:
        LibraryError: the driver refuses; the graph is not to be used then.
    """
    try:
        driver = _OverlapDriver()
    except LibraryError:
        return 0
    edges = _edges(driver, graph)
    ways, names = Counter(to for _, to in edges), {}
    for node in {one for edge in edges for one in edge}:
        names[node] = _kernel_name(driver, node)
    found = [
        edge for edge in edges if ways[edge[1]] == 1 and {names[edge[0]], names[edge[1]]} <= set(kernels)
    ]
    count = len(found)
    if count:
        begins, ends = ((c_void_p * count)(*nodes) for nodes in zip(*found, strict=True))
        early = (_Edge * count)(*(_Edge(_PORT, 0, _PROGRAMMATIC) for _ in found))
        driver.call("cuGraphRemoveDependencies_v2", graph, begins, ends, (_Edge * count)(), count)
        driver.call("cuGraphAddDependencies_v2", graph, begins, ends, early, count)
    return count


def _edges(driver: CudaDriver, graph: c_void_p) -> list[tuple[int, int]]:
    """The nodes that each edge of a graph leads from and to."""
    count = c_size_t()
    driver.call("cuGraphGetEdges_v2", graph, None, None, None, byref(count))
    begins, ends, kinds = ((kind * count.value)() for kind in (c_void_p, c_void_p, _Edge))
    driver.call("cuGraphGetEdges_v2", graph, begins, ends, kinds, byref(count))
    return [(int(begin or 0), int(end or 0)) for begin, end in zip(begins, ends, strict=True)]


def _kernel_name(driver: CudaDriver, node: int) -> str:
    """The name of a node's kernel; "" of other nodes, which then do not begin early."""
    kind, parameters, name = c_int(), _KernelNode(), c_char_p()
    driver.call("cuGraphNodeGetType", node, byref(kind))
    if kind.value != _KERNEL:
        return ""
    driver.call("cuGraphKernelNodeGetParams_v2", node, byref(parameters))
    if not parameters.function:  # a kernel of a library, which was not loaded by PyCUDA
        return ""
    driver.call("cuFuncGetName", pointer(name), parameters.function)
    return (name.value or b"").decode()
