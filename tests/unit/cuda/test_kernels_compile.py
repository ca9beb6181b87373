"""Every kernel compiles without a warning, spills nothing, and takes no more registers than was agreed.

After a change that is meant to take more, record new limits:

    python tests/unit/cuda/test_kernels_compile.py --record
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from resource_usage import resource_usage

from hpc_lstm.cuda import compiler
from hpc_lstm.files import write_text

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
# Bytes of local memory that are accepted: the return address around a division in double, in a kernel that
# runs once a run.
ACCEPTED = {"parts": 8}


def spelled(defines: Defines) -> str:
    return " ".join(f"{name}={value}" for name, value in defines.items())


def test_every_kernel_file_is_in_the_table() -> None:
    assert {path.stem for path in (ROOT / "kernels").glob("*.cu")} == set(DEFINES)


def test_kernels_are_found_where_they_are_installed() -> None:
    for name in DEFINES:
        assert compiler.kernel_source(name).read_bytes() == (ROOT / "kernels" / f"{name}.cu").read_bytes()


def test_limits_are_of_what_is_in_the_table() -> None:
    limits = json.loads(LIMITS.read_text())
    known = {name: {spelled(d): set(ARCHITECTURES) for d in sets} for name, sets in DEFINES.items()}
    assert {name: {d: set(of) for d, of in sets.items()} for name, sets in limits.items()} == known


@pytest.mark.parametrize(("name", "defines", "architecture"), CASES)
def test_kernels_spill_nothing_and_keep_to_their_registers(
    name: str, defines: Defines, architecture: str
) -> None:
    found = resource_usage(compiler.kernel_source(name), defines, architecture)
    used = {
        k: r for k, r in found.items() if max(r.spill_stores, r.spill_loads, r.stack) > ACCEPTED.get(k, 0)
    }
    assert not used, f"kernels/{name}.cu, {spelled(defines)}, {architecture}: local memory is used"
    limits = json.loads(LIMITS.read_text())[name][spelled(defines)][architecture]
    assert set(found) == set(limits)
    assert {k: r.registers for k, r in found.items() if r.registers > limits[k]} == {}


def record() -> None:
    """Write the registers that this machine's compiler needs."""
    limits: dict[str, dict[str, dict[str, dict[str, int]]]] = {}
    for name, sets in DEFINES.items():
        for defines in sets:
            for architecture in ARCHITECTURES:
                found = resource_usage(compiler.kernel_source(name), defines, architecture)
                limits.setdefault(name, {}).setdefault(spelled(defines), {})[architecture] = {
                    kernel: one.registers for kernel, one in found.items()
                }
                for kernel, one in found.items():
                    if one.spill_stores or one.spill_loads or one.stack:
                        print(f"{name} {spelled(defines)} {architecture} {kernel}: {one}", file=sys.stderr)
    write_text(LIMITS, json.dumps(limits, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    if sys.argv[1:] != ["--record"]:
        sys.exit(f"usage: python {sys.argv[0]} --record")
    record()
