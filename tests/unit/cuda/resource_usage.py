"""What a kernel takes of a multiprocessor: ptxas's own report, which NVRTC passes on in its log."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from hpc_lstm.cuda import compiler
from hpc_lstm.cuda.nvrtc import Nvrtc


class Resources(NamedTuple):
    """Of one kernel.

    Attributes:
        registers: of a thread, 32 bits each.
        spill_stores, spill_loads: bytes of instructions that move registers to and from local memory.
        stack: bytes of local memory a thread.
        shared: bytes of static shared memory a block.
    """

    registers: int
    spill_stores: int
    spill_loads: int
    stack: int
    shared: int


def resource_usage(path: Path, defines: compiler.Defines, architecture: str) -> dict[str, Resources]:
    """Resources of each kernel of a CUDA source file, compiled as the product compiles it, past its cache."""
    options = [f"-D{name}={value}" for name, value in sorted(defines.items())]
    return parse_ptxas(
        first_compiler()
        .compile(
            path.read_bytes(),
            path.name,
            architecture,
            [*options, "--ptxas-options=-v"],
            compiler.included_headers(path),
        )
        .log
    )


def first_compiler() -> Nvrtc:
    """The compiler that the product prefers here."""
    broken: list[str] = []
    nvrtc: Nvrtc | None = next(compiler._compilers(broken), None)
    assert nvrtc is not None, broken
    return nvrtc


def parse_ptxas(log: str) -> dict[str, Resources]:
    """Resources by kernel from the lines of ``ptxas -v``; functions that are not inlined count with their kernel.

    Raises:
        AssertionError: it says that a kernel is slower than it looks, such as by products that wait for each other.
    """
    slower = [line for line in log.splitlines() if re.search(r"\(C75\d\d\)", line)]
    assert not slower, slower
    found: dict[str, Resources] = {}
    kernel = ""
    for line in log.splitlines():
        if entry := re.search(r"Compiling entry function '(\w+)'", line):
            kernel = entry[1]
            found[kernel] = Resources(0, 0, 0, 0, 0)
        if kernel:
            known = found[kernel]
            found[kernel] = Resources(
                registers=max(known.registers, _number(r"Used (\d+) registers", line)),
                spill_stores=known.spill_stores + _number(r"(\d+) bytes spill stores", line),
                spill_loads=known.spill_loads + _number(r"(\d+) bytes spill loads", line),
                stack=max(known.stack, _number(r"(\d+) bytes (?:stack frame|cumulative stack)", line)),
                shared=max(known.shared, _number(r"(\d+) bytes smem", line)),
            )
    assert found, "ptxas reports no kernel"
    assert all(one.registers for one in found.values()), "ptxas reports no registers"
    return found


def _number(pattern: str, line: str) -> int:
    match = re.search(pattern, line)
    return int(match[1]) if match else 0
