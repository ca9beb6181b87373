"""A kernel that may begin before the one in front has ended waits for it, and lets the next one begin only then."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hpc_lstm.cuda import compiler
from hpc_lstm.cuda.nvrtc import Nvrtc
from hpc_lstm.model.engines.cuda import plan as cuda_plan
from hpc_lstm.model.engines.cuda.network import early_kernels
from hpc_lstm.model.engines.cuda.sources import Sources
from hpc_lstm.model.engines.head import Head
from hpc_lstm.model.optimizers import registry as optimizers

WAIT, BEGIN_NEXT = "griddepcontrol.wait", "griddepcontrol.launch_dependents"
# They read nothing that the kernel in front has written, which is the update of the weights.
INPUTS = {"gather_inputs", "stage_inputs"}
# What may be behind those, and so begin while the update still runs: it touches no memory before it waits.
BEHIND_INPUTS = {"lstm_forward", "multiply_rows"}
GLOBAL = re.compile(r"\b(?:ld|st|red|atom|cp|prefetch)\.[\w.:]*global")
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


class Entries:
    """The PTX of the kernels of files; networks share some, and no file is compiled twice."""

    def __init__(self, nvrtc: Nvrtc) -> None:
        self._nvrtc = nvrtc
        self._compiled: dict[tuple[str, str], dict[str, str]] = {}

    def of(self, file: str, defines: compiler.Defines, wanted: set[str]) -> dict[str, str]:
        """Those of ``wanted`` that are kernels of a file, by name."""
        path = compiler.kernel_source(file)
        if not wanted & set(re.findall(r"\w+", path.read_text(encoding="utf-8"))):
            return {}
        key = (file, str(sorted(defines.items())))
        if key not in self._compiled:
            self._compiled[key] = self._compile(path, defines)
        return {name: text for name, text in self._compiled[key].items() if name in wanted}

    def _compile(self, path: Path, defines: compiler.Defines) -> dict[str, str]:
        options = [f"-D{name}={value}" for name, value in defines.items()]
        target = "compute_90a" if defines.get("WGMMA") else "compute_90"
        code = self._nvrtc.compile(
            path.read_bytes(), path.name, target, options, compiler.included_headers(path)
        ).code
        parts = re.split(r"\.entry (\w+)\(", code.decode())
        return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.fixture(scope="module")
def entries(nvrtc: Nvrtc) -> Entries:
    return Entries(nvrtc)


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_early_kernels_wait(entries: Entries, network: tuple[int, int, int, tuple[int, int]]) -> None:
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
    files = {str(one): one for one in Sources(plan, 2, True, Head.to_forecast(1)).all()}.values()
    found = [entries.of(file, defines, early) for file, defines in files]
    waiting = {name for one in found for name in one}
    assert {"gather_inputs", "stage_inputs", "head", "adam_at_once", "adam", "sgd_at_once"} <= waiting
    assert plan.tiles or plan.forward.through_memory or "lstm_forward" in waiting
    for kernel, text in (item for one in found for item in one.items()):
        calls = re.findall(f"{WAIT}|{BEGIN_NEXT}".replace(".", r"\."), text)
        if kernel in INPUTS:
            assert (calls[0], set(calls[1:])) == (BEGIN_NEXT, {WAIT}), kernel
        else:  # on each way through the kernel, one after the other
            assert calls == [WAIT, BEGIN_NEXT] * (len(calls) // 2) != [], kernel
        if kernel in BEHIND_INPUTS:
            assert not GLOBAL.search(text[: text.index(WAIT)]), kernel
