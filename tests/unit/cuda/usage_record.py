"""What kernels took when they were last compiled: the same sources, options and compiler give the same again.

A case is found by a digest of everything that its code depends on, so a record cannot be out of date: what has changed
since is not in it, and is compiled.
"""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path

from resource_usage import Resources, first_compiler, resource_usage

from hpc_lstm.cuda import compiler
from hpc_lstm.cuda.nvrtc import LANGUAGE
from hpc_lstm.files import write_text

RECORD = Path(__file__).with_name("kernel_usage.json")
Usage = dict[str, Resources]


def usage(path: Path, defines: compiler.Defines, architecture: str) -> Usage:
    """Resources of each kernel of a source file: recorded, or else compiled."""
    found = recorded().get(digest(path, defines, architecture))
    return resource_usage(path, defines, architecture) if found is None else found


def digest(path: Path, defines: compiler.Defines, architecture: str) -> str:
    """A hash of the sources, the options and the compiler."""
    headers = {name: text.decode() for name, text in sorted(compiler.included_headers(path).items())}
    parts = [path.name, path.read_text(), headers, sorted(defines.items()), architecture, LANGUAGE, build()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@functools.cache
def build() -> str:
    """The compiler's version and build, which it writes at the head of PTX."""
    ptx = first_compiler().compile(b'extern "C" __global__ void none() {}\n', "none.cu", "compute_80", [])
    lines = [line for line in ptx.code.decode().splitlines() if line.startswith("// ") and line != "//"]
    assert any("Compiler Build ID" in line for line in lines), lines
    return "\n".join(lines)


@functools.cache
def recorded() -> dict[str, Usage]:
    """The record, by digest."""
    content = json.loads(RECORD.read_text())
    return {key: {name: Resources(*one) for name, one in kernels.items()} for key, kernels in content.items()}


def write_record(found: dict[str, Usage]) -> None:
    """Replace the record; a line each, so that two changes of different kernels can be merged."""
    lines = (f'"{key}": {json.dumps(kernels)}' for key, kernels in sorted(found.items()))
    write_text(RECORD, "{\n" + ",\n".join(lines) + "\n}\n")
