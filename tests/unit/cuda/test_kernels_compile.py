"""Every kernel compiles without a warning, spills nothing, and takes no more registers than was agreed.

What was compiled before, the same sources by the same compiler, is recorded and not compiled again. After a change
of a kernel record it, and the registers that it takes as the new limits:

    python tests/unit/cuda/test_kernels_compile.py --record
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from resource_usage import parse_ptxas
from usage_record import Usage, digest, usage, write_record

from hpc_lstm.cuda import compiler
from hpc_lstm.files import write_text

ROOT = Path(__file__).parents[3]
LIMITS = Path(__file__).with_name("kernel_limits.json")
Defines = dict[str, "str | int"]
FLOATS: list[Defines] = [{"VALUE": "float"}, {"VALUE": "double"}]
OLDEST = ["sm_75", "sm_80", "sm_90"]
# Of the engine: bfloat16 products begin with 8.0, clusters with 9.0.
WITH_BFLOAT16 = ["sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"]
WITH_CLUSTERS = ["sm_90"]


def chain(units: int, parts: int, split: int, k_split: int, tiles: int, **more: int) -> Defines:
    """A cut of lstm_forward or lstm_backward."""
    cell = "bf16" if parts == 1 else "float"
    sizes = {"UNITS": units, "PARTS": parts, "SPLIT": split, "K_SPLIT": k_split, "TILES": tiles}
    launch = {"LAYERS": 1, "W_SHARED": 0, "PROJECTED": 0, "BLOCKS": 1, "STAGES": 4}
    return {**sizes, **launch, "CELL": cell, "DROPS": 1, **more}


def exchange(units: int, parts: int, split: int, k_split: int, tiles: int, **more: int) -> Defines:
    """A cut of lstm_exchange_forward or lstm_exchange_backward."""
    cell = "bf16" if parts == 1 else "float"
    sizes = {"UNITS": units, "PARTS": parts, "SPLIT": split, "K_SPLIT": k_split, "TILES": tiles}
    rows = {"STREAMED": 0, "BUFFERS": 1, "STAGES": 4}
    return {**sizes, **rows, "CELL": cell, "DROPS": 1, **more}


def streamed(units: int, parts: int, split: int, k_split: int, tiles: int, **more: int) -> Defines:
    """The same with weights that are not kept in registers."""
    return exchange(units, parts, split, k_split, tiles, STREAMED=1, **more)


def tile(units: int, width: int, tiles: int, **more: int) -> tuple[Defines, list[str]]:
    """A layer of lstm_tile_*, which compute capability 9.0 alone has the instructions for."""
    sizes = {"UNITS": units, "PARTS": more.pop("PARTS", 1), "INPUT": width, "TILES": tiles}
    return {**sizes, "WGMMA": 1, **more}, ["sm_90a"]


def sized(*sizes: tuple[int, int]) -> list[tuple[Defines, list[str]]]:
    """Kernels for some numbers of units and parts."""
    return [({"UNITS": units, "PARTS": parts}, ["sm_80", "sm_90"]) for units, parts in sizes]


# How each file of kernels/ is compiled, and for what.
DEFINES: dict[str, list[tuple[Defines, list[str]]]] = {
    **{name: [(one, OLDEST) for one in FLOATS] for name in ("minmax", "moments", "mse", "windows")},
    "lstm_forward": [
        (chain(64, 1, 1, 1, 4, INPUT_TILES=0), WITH_BFLOAT16),
        (chain(128, 1, 1, 1, 1, INPUT_TILES=1), ["sm_80", "sm_90"]),
        (chain(128, 1, 1, 1, 2, INPUT_TILES=0), ["sm_80", "sm_90"]),
        (chain(64, 2, 1, 1, 1, INPUT_TILES=1), ["sm_80", "sm_90"]),
        (chain(128, 2, 2, 1, 2, INPUT_TILES=0), WITH_CLUSTERS),
        (chain(512, 1, 16, 2, 2, INPUT_TILES=0), WITH_CLUSTERS),
        (chain(64, 1, 1, 1, 1, INPUT_TILES=1, LAYERS=2, BLOCKS=2), WITH_CLUSTERS),
        (chain(64, 1, 1, 1, 2, INPUT_TILES=1, LAYERS=3, DROPS=0), WITH_CLUSTERS),
        (chain(128, 1, 1, 1, 1, INPUT_TILES=1, LAYERS=3, PROJECTED=1), WITH_CLUSTERS),
        (chain(128, 2, 2, 1, 1, INPUT_TILES=1, LAYERS=2, PROJECTED=1, DROPS=0), WITH_CLUSTERS),
        (chain(256, 1, 4, 1, 1, INPUT_TILES=1, LAYERS=2, W_SHARED=1), WITH_CLUSTERS),
    ],
    "lstm_exchange_forward": [
        (exchange(256, 1, 4, 1, 1, INPUT_TILES=1), WITH_BFLOAT16),
        (exchange(256, 1, 4, 1, 4, INPUT_TILES=0, BUFFERS=2), WITH_BFLOAT16),
        (exchange(384, 1, 8, 2, 4, INPUT_TILES=0, BUFFERS=2), ["sm_80"]),
        (exchange(512, 1, 16, 2, 8, INPUT_TILES=1, BUFFERS=2, STAGES=3), WITH_BFLOAT16),
        (exchange(256, 2, 8, 2, 2, INPUT_TILES=0, BUFFERS=2), WITH_BFLOAT16),
        (exchange(320, 2, 10, 2, 4, INPUT_TILES=0, BUFFERS=2), ["sm_80", "sm_90"]),
        (exchange(512, 2, 32, 4, 2, INPUT_TILES=0, BUFFERS=2), WITH_BFLOAT16),
        (streamed(512, 1, 4, 1, 2, INPUT_TILES=1, BUFFERS=3, STAGES=3), WITH_BFLOAT16),
        (streamed(512, 2, 8, 1, 4, INPUT_TILES=0, BUFFERS=3, STAGES=2), WITH_BFLOAT16),
        (streamed(512, 2, 4, 1, 2, INPUT_TILES=1, BUFFERS=2, STAGES=2), ["sm_80"]),
    ],
    "lstm_backward": [
        (chain(64, 1, 1, 4, 4, TOP=0), WITH_BFLOAT16),
        (chain(128, 1, 1, 2, 1, TOP=1), ["sm_80", "sm_90"]),
        (chain(128, 1, 1, 2, 2, TOP=0), ["sm_80", "sm_90"]),
        (chain(64, 2, 1, 4, 1, TOP=0), ["sm_80", "sm_90"]),
        (chain(128, 2, 2, 2, 2, TOP=0), WITH_CLUSTERS),
        (chain(512, 1, 16, 4, 2, TOP=0), WITH_CLUSTERS),
        (chain(64, 1, 1, 4, 1, TOP=1, LAYERS=2), WITH_CLUSTERS),
        (chain(64, 1, 1, 2, 1, TOP=1, LAYERS=2, BLOCKS=2), WITH_CLUSTERS),
        (chain(64, 1, 1, 4, 2, TOP=1, LAYERS=3, DROPS=0), WITH_CLUSTERS),
        (chain(128, 1, 1, 2, 1, TOP=1, LAYERS=3, PROJECTED=1), WITH_CLUSTERS),
        (chain(128, 2, 2, 2, 1, TOP=1, LAYERS=2, PROJECTED=1, DROPS=0), WITH_CLUSTERS),
        (chain(256, 1, 4, 4, 1, TOP=1, LAYERS=2, W_SHARED=1), WITH_CLUSTERS),
    ],
    "lstm_exchange_backward": [
        (exchange(256, 1, 4, 4, 1, TOP=1, DROPS=0), WITH_BFLOAT16),
        (exchange(256, 1, 4, 4, 4, TOP=0, BUFFERS=2, STAGES=3), WITH_BFLOAT16),
        (exchange(384, 1, 8, 4, 4, TOP=0, BUFFERS=2), ["sm_80"]),
        (exchange(512, 1, 16, 4, 8, TOP=0, BUFFERS=1, STAGES=2), WITH_BFLOAT16),
        (exchange(256, 2, 8, 4, 2, TOP=0, BUFFERS=1), WITH_BFLOAT16),
        (exchange(320, 2, 10, 4, 4, TOP=0, BUFFERS=2, STAGES=2), ["sm_80", "sm_90"]),
        (exchange(512, 2, 32, 8, 2, TOP=0, BUFFERS=1, STAGES=3), WITH_BFLOAT16),
        (streamed(512, 1, 4, 1, 2, TOP=1, DROPS=0, BUFFERS=3), WITH_BFLOAT16),
        (streamed(512, 2, 8, 2, 4, TOP=0, BUFFERS=3, STAGES=2), WITH_BFLOAT16),
        (streamed(512, 2, 4, 1, 2, TOP=0, BUFFERS=2, STAGES=2), ["sm_80"]),
    ],
    "lstm_products": [
        ({"PARTS": parts, "STAGES": 3, "COLUMNS": columns}, ["sm_80", "sm_90"])
        for parts in (1, 2)
        for columns in (16, 32, 64, 128)
    ],
    "lstm_products_wgmma": [({"PARTS": parts, "WGMMA": 1}, ["sm_90a"]) for parts in (1, 2)],
    "lstm_head": [
        (
            {"UNITS": units, "PARTS": parts, "TILED": tiled, "OUTPUTS": outputs, "TARGETS": targets}
            | {"LOSS_NAME": f"loss_{loss}"},
            ["sm_80", "sm_90"],
        )
        for units, parts, tiled, outputs, targets, loss in (
            (64, 1, 0, 1, 1, "mse"),
            (128, 2, 0, 1, 1, "mse"),
            (128, 1, 1, 1, 1, "mse"),
            (64, 1, 0, 3, 3, "mae"),
            (64, 1, 1, 3, 3, "huber"),
            (64, 2, 0, 3, 1, "quantile"),
            (64, 1, 0, 6, 3, "gaussian"),
            (128, 2, 0, 2, 1, "student_t"),
            (64, 1, 0, 1, 1, "binary_cross_entropy"),
        )
    ],
    "lstm_gather": [
        ({"PARTS": parts, "TILED": tiled}, ["sm_80", "sm_90"]) for parts, tiled in ((1, 0), (1, 1), (2, 0))
    ],
    "lstm_tile_forward": [
        tile(units, width, tiles, DROPS=drops)
        for units, width, tiles, drops in ((64, 16, 1, 1), (64, 64, 2, 1), (128, 16, 2, 1), (128, 128, 2, 0))
    ],
    "lstm_tile_backward": [
        tile(units, width, tiles, DROPS=drops, TOP=top)
        for units, width, tiles, drops, top in (
            (64, 16, 1, 1, 0),
            (64, 64, 2, 1, 0),
            (128, 16, 2, 1, 0),
            (128, 128, 2, 0, 1),
            (128, 128, 2, 0, 0),
        )
    ],
    "lstm_tile_gradients": [
        tile(units, width, 1, PARTS=parts)
        for units, parts in ((64, 1), (128, 1), (320, 1), (512, 1), (64, 2), (128, 2), (512, 2))
        for width in (16, units)
    ],
    "lstm_wide_forward": [
        tile(units, units, tiles, LAYERS=layers, DROPS=drops, KEEPS=keeps, PARTS=parts)
        for units, tiles, layers, drops, keeps, parts in (
            (256, 1, 1, 0, 0, 1),
            (192, 2, 2, 1, 1, 1),
            (256, 1, 2, 1, 1, 1),
            (512, 2, 3, 1, 1, 1),
            (512, 2, 2, 0, 1, 1),
            (64, 2, 2, 1, 1, 2),
            (128, 2, 3, 1, 1, 2),
            (256, 1, 2, 0, 1, 2),
            (512, 2, 2, 1, 1, 2),
        )
    ],
    "lstm_wide_backward": [
        tile(units, units, tiles, LAYERS=layers, DROPS=drops, PARTS=parts)
        for units, tiles, layers, drops, parts in (
            (256, 1, 1, 0, 1),
            (192, 2, 2, 1, 1),
            (256, 1, 2, 1, 1),
            (512, 2, 3, 1, 1),
            (512, 2, 2, 0, 1),
            (64, 1, 2, 1, 2),
            (128, 1, 3, 1, 2),
            (256, 1, 2, 0, 2),
            (512, 1, 2, 1, 2),
        )
    ],
    "lstm_update": [
        ({**one, "OUTPUTS": outputs, "TILE_UNITS": units}, of)
        for one, of in sized((64, 1), (128, 2))
        for outputs, units in ((1, 16), (3, 16), (1, 8))
    ],
    "lstm_masks": [({"UNITS": 64}, ["sm_80", "sm_90"])],
}
CASE_VALUES = [
    (name, defines, architecture)
    for name, sets in DEFINES.items()
    for defines, architectures in sets
    for architecture in architectures
]
CASES = [
    pytest.param(
        name, defines, architecture, id=f"{name}-{'-'.join(map(str, defines.values()))}-{architecture}"
    )
    for name, defines, architecture in CASE_VALUES
]
# Bytes of local memory that are accepted: the return address around a division in double, in a kernel that
# runs once a run; two numbers of adam with several outputs; a few of the chains, which give all
# registers to the weights.
ACCEPTED = {
    "parts": 8,
    "adam": 8,
    "lstm_forward": 96,
    "lstm_backward": 80,
    "lstm_exchange_backward": 32,
    "multiply_rows": 32,
}


def spelled(defines: Defines) -> str:
    return " ".join(f"{name}={value}" for name, value in defines.items())


def test_every_kernel_file_is_in_the_table() -> None:
    assert {path.stem for path in (ROOT / "kernels").glob("*.cu")} == set(DEFINES)


def test_kernels_are_found_where_they_are_installed() -> None:
    for name in DEFINES:
        assert compiler.kernel_source(name).read_bytes() == (ROOT / "kernels" / f"{name}.cu").read_bytes()


def test_limits_are_of_what_is_in_the_table() -> None:
    limits = json.loads(LIMITS.read_text())
    known = {name: {spelled(d): set(of) for d, of in sets} for name, sets in DEFINES.items()}
    assert {name: {d: set(of) for d, of in sets.items()} for name, sets in limits.items()} == known


@pytest.mark.parametrize(("name", "defines", "architecture"), CASES)
def test_kernels_spill_nothing_and_keep_to_their_registers(
    name: str, defines: Defines, architecture: str
) -> None:
    found = usage(compiler.kernel_source(name), defines, architecture)
    used = {
        k: r for k, r in found.items() if max(r.spill_stores, r.spill_loads, r.stack) > ACCEPTED.get(k, 0)
    }
    assert not used, f"kernels/{name}.cu, {spelled(defines)}, {architecture}: local memory is used"
    limits = json.loads(LIMITS.read_text())[name][spelled(defines)][architecture]
    assert set(found) == set(limits)
    assert {k: r.registers for k, r in found.items() if r.registers > limits[k]} == {}


def test_a_kernel_whose_products_wait_for_each_other_is_refused() -> None:
    said = "ptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async instructions are serialized"
    with pytest.raises(AssertionError, match="C7510"):
        parse_ptxas(said)


def test_a_digest_depends_on_all_that_makes_the_code(tmp_path: Path) -> None:
    source, header = tmp_path / "k.cu", tmp_path / "k.cuh"
    source.write_text('#include "k.cuh"\n')
    header.write_text("// 1\n")
    first = digest(source, {"UNITS": 1}, "sm_80")
    others = {digest(source, {"UNITS": 2}, "sm_80"), digest(source, {"UNITS": 1}, "sm_90")}
    header.write_text("// 2\n")
    others.add(digest(source, {"UNITS": 1}, "sm_80"))
    source.write_text('#include "k.cuh"\n\n')
    others.add(digest(source, {"UNITS": 1}, "sm_80"))
    assert len(others | {first}) == 5
    header.write_text("// 1\n")
    source.write_text('#include "k.cuh"\n')
    assert digest(source, {"UNITS": 1}, "sm_80") == first


def record() -> None:
    """Write what kernels take with this machine's compiler, and their registers as limits."""
    limits: dict[str, dict[str, dict[str, dict[str, int]]]] = {}
    record: dict[str, Usage] = {}
    for name, sets in DEFINES.items():
        for defines, architectures in sets:
            for architecture in architectures:
                source = compiler.kernel_source(name)
                found = usage(source, defines, architecture)
                record[digest(source, defines, architecture)] = found
                limits.setdefault(name, {}).setdefault(spelled(defines), {})[architecture] = {
                    kernel: one.registers for kernel, one in found.items()
                }
                for kernel, one in found.items():
                    if one.spill_stores or one.spill_loads or one.stack:
                        print(f"{name} {spelled(defines)} {architecture} {kernel}: {one}", file=sys.stderr)
    write_text(LIMITS, json.dumps(limits, indent=1, sort_keys=True) + "\n")
    write_record(record)


if __name__ == "__main__":
    if sys.argv[1:] != ["--record"]:
        sys.exit(f"usage: python {sys.argv[0]} --record")
    record()
