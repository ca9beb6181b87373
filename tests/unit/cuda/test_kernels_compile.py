"""Every kernel compiles without a warning, spills nothing, and takes no more registers than was agreed.

After a change that is meant to take more, write the limits anew, from all compilers of this machine:

    python tests/unit/test_kernels_compile.py --record
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from hpc_lstm.cuda import compiler

ROOT = Path(__file__).parents[3]
LIMITS = Path(__file__).with_name("kernel_limits.json")
ARCHITECTURES = ["sm_75", "sm_80", "sm_90"]
Defines = dict[str, "str | int"]
FLOATS: list[Defines] = [{"VALUE": "float"}, {"VALUE": "double"}]
# How each file of kernels/ is compiled.
DEFINES: dict[str, list[Defines]] = {
    "minmax": FLOATS,
    "moments": FLOATS,
    "mse": FLOATS,
    "windows": FLOATS,
}
CASES = [
    pytest.param(
        name, defines, architecture, id=f"{name}-{'-'.join(map(str, defines.values()))}-{architecture}"
    )
    for name, sets in DEFINES.items()
    for defines in sets
    for architecture in ARCHITECTURES
]
# Bytes of local memory that were looked at and left: the return address around a division in double, in a kernel that
# runs once a run.
LEFT = {"parts": 8}
HAS_NVCC = bool(shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin"))
KINDS = ["nvrtc", pytest.param("nvcc", marks=pytest.mark.skipif(not HAS_NVCC, reason="no nvcc here"))]


def told(defines: Defines) -> str:
    return " ".join(f"{name}={value}" for name, value in defines.items())


def test_every_kernel_file_is_in_the_table() -> None:
    assert {path.stem for path in (ROOT / "kernels").glob("*.cu")} == set(DEFINES)


def test_kernels_are_found_where_they_are_installed() -> None:
    for name in DEFINES:
        assert compiler.kernel_source(name).read_bytes() == (ROOT / "kernels" / f"{name}.cu").read_bytes()


def test_limits_are_of_what_is_in_the_table() -> None:
    limits = json.loads(LIMITS.read_text())
    known = {name: {told(d): set(ARCHITECTURES) for d in sets} for name, sets in DEFINES.items()}
    assert {name: {d: set(of) for d, of in sets.items()} for name, sets in limits.items()} == known


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "defines", "architecture"), CASES)
def test_kernels_spill_nothing_and_keep_to_their_registers(
    kind: str, name: str, defines: Defines, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPC_LSTM_COMPILER", kind)
    found = compiler.resources(name, defines, architecture)
    lost = {k: r for k, r in found.items() if max(r.spill_stores, r.spill_loads, r.stack) > LEFT.get(k, 0)}
    assert not lost, f"kernels/{name}.cu, {told(defines)}, {architecture}: local memory is used"
    limits = json.loads(LIMITS.read_text())[name][told(defines)][architecture]
    assert set(found) == set(limits)
    assert {k: r.registers for k, r in found.items() if r.registers > limits[k]} == {}


def record() -> None:
    """Write the most registers that any compiler of this machine needs."""
    limits: dict[str, dict[str, dict[str, dict[str, int]]]] = {}
    for name, sets in DEFINES.items():
        for defines in sets:
            for architecture in ARCHITECTURES:
                most: dict[str, int] = {}
                for kind in ("nvcc", "nvrtc") if HAS_NVCC else ("nvrtc",):
                    os.environ["HPC_LSTM_COMPILER"] = kind
                    for kernel, found in compiler.resources(name, defines, architecture).items():
                        most[kernel] = max(found.registers, most.get(kernel, 0))
                        if found.spill_stores or found.spill_loads or found.stack:
                            print(
                                f"{name} {told(defines)} {architecture} {kind} {kernel}: {found}",
                                file=sys.stderr,
                            )
                limits.setdefault(name, {}).setdefault(told(defines), {})[architecture] = most
    LIMITS.write_text(json.dumps(limits, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    if sys.argv[1:] != ["--record"]:
        sys.exit(f"usage: python {sys.argv[0]} --record")
    record()
