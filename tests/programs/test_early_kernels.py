"""A kernel that may begin before the one in front has ended waits for it, and lets the next one begin only then."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest
from code_facts import Case, CodeFacts, first_compiler

from hpc_lstm.cuda import compiler
from hpc_lstm.model.engines.cuda import plan as cuda_plan
from hpc_lstm.model.engines.cuda.network import early_kernels
from hpc_lstm.model.engines.cuda.sources import Sources
from hpc_lstm.model.engines.head import Head
from hpc_lstm.model.optimizers import registry as optimizers

# They read nothing that the kernel in front has written, which is the update of the weights.
INPUTS = {"gather_inputs", "stage_inputs"}
# What may be behind those, and so begin while the update still runs: it touches no memory before it waits.
BEHIND_INPUTS = {"lstm_forward", "multiply_rows"}
# In PTX: W waits for the kernel in front, B lets the next one begin, G reads or writes global memory.
STEP = re.compile(
    r"(?P<W>griddepcontrol\.wait)|(?P<B>griddepcontrol\.launch_dependents)"
    r"|(?P<G>\b(?:ld|st|red|atom|cp|prefetch)\.[\w.:]*global)"
)
# units, batch, parts, capability: layers together, apart, in tiles; products by wgmma and by mma; without clusters,
# where the chain begins when all before it has ended.
NETWORKS = [
    (64, 64, 1, (9, 0)),
    (128, 1024, 1, (9, 0)),
    (128, 64, 2, (9, 0)),
    (64, 9000, 1, (9, 0)),
    (64, 64, 1, (10, 0)),
    (512, 64, 2, (10, 0)),
]


def steps(path: Path, defines: compiler.Defines, target: str) -> dict[str, str]:
    """The letters of ``STEP`` of each kernel of a file, in the order of its PTX, with one G for several in a row."""
    options = [f"-D{name}={value}" for name, value in defines.items()]
    headers = compiler.included_headers(path)
    code = first_compiler().compile(path.read_bytes(), path.name, target, options, headers).code
    parts = re.split(r"\.entry (\w+)\(", code.decode())
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    letters = {
        name: "".join(str(one.lastgroup) for one in STEP.finditer(text)) for name, text in found.items()
    }
    return {name: re.sub("G+", "G", text) for name, text in letters.items()}


STEPS = CodeFacts(Path(__file__).with_name("early_kernels.json"), steps, STEP.pattern)


class Early(NamedTuple):
    """Of a network: the kernels that may begin early, and the sources that hold them."""

    plan: cuda_plan.Plan
    kernels: set[str]
    cases: list[Case]


def early(network: tuple[int, int, int, tuple[int, int]]) -> Early:
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
    kernels = {kernel for rule in rules for kernel in early_kernels(plan, 2, rule)}
    files = {str(one): one for one in Sources(plan, 2, True, Head.to_forecast(1)).all()}.values()
    cases = [
        (compiler.kernel_source(file), defines, "compute_90a" if defines.get("WGMMA") else "compute_90")
        for file, defines in files
    ]
    words = {path: set(re.findall(r"\w+", path.read_text(encoding="utf-8"))) for path, *_ in cases}
    return Early(plan, kernels, [case for case in cases if kernels & words[case[0]]])


def all_cases() -> list[Case]:
    return [case for network in NETWORKS for case in early(network).cases]


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_early_kernels_wait(network: tuple[int, int, int, tuple[int, int]]) -> None:
    plan, kernels, cases = early(network)
    found = [(name, way) for case in cases for name, way in STEPS.of(*case).items() if name in kernels]
    waiting = {name for name, _ in found}
    assert {"gather_inputs", "stage_inputs", "head", "adam_at_once", "adam", "sgd_at_once"} <= waiting
    assert plan.tiles or plan.forward.through_memory or "lstm_forward" in waiting
    for kernel, way in found:
        calls = way.replace("G", "")
        if kernel in INPUTS:
            assert (calls[0], set(calls[1:])) == ("B", {"W"}), kernel
        else:  # on each way through the kernel, one after the other
            assert calls == "WB" * (len(calls) // 2) != "", kernel
        if kernel in BEHIND_INPUTS:
            assert "G" not in way[: way.index("W")], kernel
