"""Every kernel compiles for every architecture without a warning, and takes no more registers than is recorded.

    python tests/unit/test_kernels_compile.py    # record anew, after a change that is worth it

``kernel_limits.json`` holds what each kernel took when it was measured to be fast. More registers mean fewer threads at
once, spills mean traffic that no source line shows: neither fails a test of results.
"""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest

from hpc_lstm.preprocess import compiler

FOLDER = Path(__file__).resolve().parents[2] / "kernels"
LIMITS = Path(__file__).with_name("kernel_limits.json")
ARCHITECTURES = ("sm_75", "sm_80", "sm_90")
VALUES = ("float", "double")
FILES = sorted(path.stem for path in FOLDER.glob("*.cu"))
# Compilers differ a little in how they allot registers, and round to eight.
SLACK = 8


def measured(file: str, value: str, architecture: str) -> dict[str, dict[str, int]]:
    found = compiler.resources(file, {"VALUE": value}, architecture)
    return {
        kernel: {"registers": one.registers, "spills": one.spill_stores + one.spill_loads, "stack": one.stack}
        for kernel, one in found.items()
    }


def test_no_kernel_is_left_out() -> None:
    recorded = json.loads(LIMITS.read_text())
    assert set(recorded) == {" ".join(case) for case in product(FILES, VALUES, ARCHITECTURES)}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_kernel_stays_within_its_limits(file: str, value: str, architecture: str) -> None:
    recorded = json.loads(LIMITS.read_text())[f"{file} {value} {architecture}"]
    found = measured(file, value, architecture)
    assert set(found) == set(recorded)
    for kernel, limit in recorded.items():
        assert found[kernel]["registers"] <= limit["registers"] + SLACK, kernel
        assert found[kernel]["spills"] <= limit["spills"], kernel
        assert found[kernel]["stack"] <= limit["stack"], kernel


if __name__ == "__main__":
    table = {
        f"{file} {value} {architecture}": measured(file, value, architecture)
        for file, value, architecture in product(FILES, VALUES, ARCHITECTURES)
    }
    LIMITS.write_text(json.dumps(table, indent=1) + "\n")
