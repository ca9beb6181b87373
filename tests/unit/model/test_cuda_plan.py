"""How the CUDA engine's kernels are cut: every plan keeps the limits of the GPU that it is for."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpc_lstm.model.engines.cuda import (
    chain_plan,
    counters,
    memory_plan,
    network,
    packing,
    product_plan,
    tile_plan,
    update_plan,
)
from hpc_lstm.model.engines.cuda import plan as cuda_plan
from hpc_lstm.model.engines.cuda.sources import Sources
from hpc_lstm.model.engines.head import Head

KERNELS = Path(__file__).parents[3] / "kernels"
H100, A100 = (9, 0), (8, 0)
CARDS = [A100, (8, 6), (8, 9), H100, (10, 0), (12, 0)]
# Clusters that an H100 with 132 multiprocessors runs at the same time, by blocks of a cluster: from
# cuOccupancyMaxActiveClusters, but for 16.
CLUSTERS = {1: 132, 2: 66, 3: 39, 4: 30, 5: 22, 6: 17, 7: 15, 8: 15, 16: 7}


def clusters_of(capability: tuple[int, int], largest: int = 16) -> Callable[[int], int]:
    """What a GPU of this capability answers, which places no cluster of more blocks than ``largest``."""
    largest = 1 if capability < (9, 0) else largest
    return lambda size: CLUSTERS[size] if size <= largest else 0


def plan(
    units: int,
    batch: int,
    parts: int = 1,
    capability: tuple[int, int] = H100,
    large: bool | None = False,
    layers: int = 2,
    multiprocessors: int = 132,
    largest: int = 16,
    features: int = 5,
) -> cuda_plan.Plan | None:
    clusters = clusters_of(capability, largest)
    return cuda_plan.plan(
        units,
        features,
        batch,
        layers=layers,
        parts=parts,
        dropout=True,
        capability=capability,
        clusters=lambda size: clusters(size) * multiprocessors // 132,
        large=large,
    )


@given(
    units=st.integers(1, 512),
    batch=st.integers(1, 20_000),
    parts=st.sampled_from([1, 2]),
    capability=st.sampled_from(CARDS),
    layers=st.integers(1, 8),
    multiprocessors=st.integers(16, 160),
    largest=st.sampled_from([1, 2, 8, 16]),
)
def test_a_plan_keeps_the_limits(
    units: int,
    batch: int,
    parts: int,
    capability: tuple[int, int],
    layers: int,
    multiprocessors: int,
    largest: int,
) -> None:
    found = plan(
        *(units, batch, parts, capability),
        layers=layers,
        multiprocessors=multiprocessors,
        largest=largest,
    )
    assert found is not None
    keeps_limits(found, units, batch, parts, capability, layers, multiprocessors)


@pytest.mark.parametrize("capability", CARDS)
@pytest.mark.parametrize("parts", [1, 2])
def test_every_number_of_units_has_a_plan(capability: tuple[int, int], parts: int) -> None:
    for units in range(1, 513):
        multiprocessors, batch = ((14, 64), (84, 1), (132, 1024))[units % 3]
        found = plan(units, batch, parts, capability, multiprocessors=multiprocessors, largest=8)
        assert found is not None
        keeps_limits(found, units, batch, parts, capability, 2, multiprocessors)


def keeps_limits(
    found: cuda_plan.Plan,
    units: int,
    batch: int,
    parts: int,
    capability: tuple[int, int],
    layers: int,
    multiprocessors: int,
) -> None:
    assert units <= found.units <= 512
    assert found.windows >= batch
    assert found.wgmma == (capability == H100)
    assert found.windows < batch + max(found.forward.windows, found.backward.windows)
    limit = {A100: 163, H100: 227, (10, 0): 227}.get(capability, 99) * 1024
    for shared in (product_plan.wgmma_rows_shared(parts), product_plan.wgmma_columns_shared(2)):
        assert shared <= limit or not found.wgmma
    for width in (16, 64, found.units, 4 * found.units):
        assert product_plan.products_shared(width, parts, found.product_stages) <= limit
    for cut, group in ((found.forward, 8), (found.backward, 16)):
        assert found.units % (group * cut.split) == 0
        assert cut.warps == found.units // cut.split // group * cut.k_split <= 16
        assert found.windows % cut.windows == 0
        assert capability >= H100 or cut.cluster == 1
        assert (cut.shared + 1024) * cut.blocks <= limit + 1024
        assert cut.layers in (1, layers)
        if cut.layers > 1:
            assert capability >= H100
            assert cut.cluster <= chain_plan.PORTABLE_CLUSTER
        # 8 windows of all inner numbers of a warp's weights; those that pass take few registers.
        inner = found.units * (1 if group == 8 else 4) // 16 // cut.k_split
        tiles = (2 if group == 8 else 1) * (2 if cut.w == "registers" and cut.layers > 1 else 1)
        kept = 0 if cut.streamed else inner * tiles * 4 * parts
        assert kept <= chain_plan.WEIGHT_REGISTERS
        assert cut.warps * 32 * (kept + chain_plan.OTHER_REGISTERS[parts]) * cut.blocks <= 65536
        if cut.through_memory:
            # Blocks wait for each other: those of the same windows find room beside launches that have begun some.
            launches = 1 if cut.alone else memory_plan.LAUNCHES
            assert not cut.alone or multiprocessors <= 28
            assert (cut.split - 1) * launches < multiprocessors
            assert cut.layers == cut.blocks == 1
            assert cut.buffers in (2, 3) if cut.streamed else cut.buffers <= min(2, cut.tiles)
    assert found.forward.through_memory == found.backward.through_memory
    # Each thread has a whole number of units and windows.
    assert found.forward.tiles * 2 % found.forward.k_split == 0
    assert found.backward.tiles * 4 % found.backward.k_split == 0


@pytest.mark.parametrize(("units", "split"), [(1, 1), (64, 1), (128, 1), (129, 2), (256, 4), (512, 16)])
def test_what_does_not_fit_one_block_is_shared_by_a_cluster(units: int, split: int) -> None:
    found = plan(units, 1024)
    assert found is not None
    assert found.forward.split == found.backward.split == split


def through_memory(units: int, **more: Any) -> tuple[int, int, bool] | None:
    """Units, padded, the blocks that share them and whether weights pass; None: there is no need for that."""
    found = plan(units, 64, **more)
    assert found is not None
    return (
        (found.units, found.forward.split, found.forward.streamed) if found.forward.through_memory else None
    )


def test_without_clusters_blocks_exchange_through_memory() -> None:
    a100: Any = {"capability": A100, "multiprocessors": 108}
    assert through_memory(128, **a100) is None
    assert through_memory(129, **a100) == (160, 2, False)
    assert through_memory(320, **a100) == (320, 5, False)
    assert through_memory(512, **a100) == (512, 16, False)
    assert through_memory(80, parts=2, **a100) is None
    assert through_memory(81, parts=2, **a100) == (96, 2, False)
    assert through_memory(320, parts=2, **a100) == (320, 10, False)
    assert through_memory(512, capability=(10, 0), largest=8) == (512, 16, False)
    assert through_memory(512, parts=2, features=20) == (512, 32, False)
    assert through_memory(512) is None


def test_blocks_that_exchange_through_memory_have_kernels_of_their_own() -> None:
    exchanged, cluster = plan(512, 64, capability=A100), plan(512, 64)
    assert exchanged is not None
    assert cluster is not None
    ways: Any = {}
    for found, kind in ((exchanged, "lstm_exchange"), (cluster, "lstm")):
        sources = Sources(found, 2, True, Head.to_forecast(1))
        ways[kind] = [sources.forward(0, training=True), sources.backward(1)]
        assert [file for file, _ in ways[kind]] == [f"{kind}_forward", f"{kind}_backward"]
    for _, defines in ways["lstm"]:
        assert not {"BUFFERS", "STREAMED"} & set(defines)
    for _, defines in ways["lstm_exchange"]:
        assert not {"LAYERS", "PROJECTED", "W_SHARED", "BLOCKS"} & set(defines)


def test_few_multiprocessors_take_weights_that_pass_through_shared_memory() -> None:
    """Else the blocks of the same windows would find no room beside those of other processes."""
    assert through_memory(512, parts=2, capability=A100, multiprocessors=108) == (512, 8, True)
    assert through_memory(512, parts=2, capability=(8, 9), multiprocessors=128) == (512, 32, False)
    assert through_memory(512, capability=(8, 6), multiprocessors=28) == (512, 4, True)
    assert through_memory(512, parts=2, capability=A100, multiprocessors=5) == (512, 4, True)
    assert plan(512, 64, capability=A100, multiprocessors=3) is None


def test_small_batches_are_spread_over_the_whole_gpu() -> None:
    for batch, tiles in ((64, 1), (1024, 1), (2048, 2), (8192, 2)):
        found = plan(128, batch)
        assert found is not None
        assert found.forward.tiles == tiles


def test_layers_run_together_where_all_blocks_have_room() -> None:
    def cuts(units: int, batch: int, **more: Any) -> list[tuple[int, str, int]]:
        found = plan(units, batch, **more)
        assert found is not None
        return [(cut.layers, cut.w, cut.tiles * cut.blocks) for cut in (found.forward, found.backward)]

    apart = (1, "registers", 1)
    assert cuts(64, 64) == [(2, "registers", 1)] * 2
    assert cuts(64, 1024) == [(2, "registers", 2)] * 2
    assert cuts(128, 64) == [(2, "block", 1)] * 2
    assert cuts(128, 1024) == [apart] * 2
    assert cuts(256, 64) == [(2, "shared", 1)] * 2
    assert cuts(64, 64, layers=1) == cuts(64, 64, capability=A100) == [apart] * 2


@given(
    units=st.integers(1, 512),
    batch=st.integers(1, 20_000),
    layers=st.integers(1, 8),
    dropout=st.booleans(),
    parts=st.sampled_from([1, 2]),
)
def test_tiles_for_large_batches_keep_the_limits(
    units: int, batch: int, layers: int, dropout: bool, parts: int
) -> None:
    found = cuda_plan.plan(
        units,
        16,
        batch,
        layers=layers,
        parts=parts,
        dropout=dropout,
        capability=H100,
        clusters=CLUSTERS.__getitem__,
        large=True,
    )
    if found is None or not found.tiles:
        assert parts == 1
        assert 64 < units <= 128
        assert layers > 2
        assert dropout
        return
    assert found.units in range(64, 513, 64)
    assert found.wide == (found.units > 128 or parts == 2)
    assert found.units >= units
    assert batch <= found.windows < batch + 64 * found.tiles * (2 if found.wide else 1)
    assert found.windows % found.forward.windows == found.windows % found.backward.windows == 0
    for layer in range(layers):
        drops = dropout and layer + 1 < layers
        if found.wide:
            shared = tile_plan.wide_shared(
                found.tiles, found.backward_tiles, parts, narrow=layer == 0, drops=drops
            )
        else:
            shared = tile_plan.tile_shared(found.units, found.tiles, narrow=layer == 0, drops=drops)
        of_gradients = tile_plan.gradients_shared(found.units, narrow=layer == 0)
        assert max(shared.forward, shared.backward, of_gradients) <= 227 * 1024


def test_tiles_are_taken_where_they_are_faster() -> None:
    def tiles(units: int, batch: int, **more: Any) -> int:
        found = plan(units, batch, large=None, **more)
        return found.tiles if found else -1

    assert [tiles(64, batch) for batch in (1024, 6144, 8192, 16384)] == [0, 1, 1, 2]
    assert [tiles(128, batch) for batch in (2048, 4096, 8192)] == [0, 1, 2]
    assert [tiles(256, batch) for batch in (256, 512, 1024, 2048)] == [0, 1, 1, 2]
    assert [tiles(512, batch) for batch in (128, 256, 512, 1024)] == [0, 1, 1, 2]
    assert tiles(32, 8192) == tiles(200, 8192) - 2 == tiles(130, 8192) == 0
    assert tiles(64, 8192, capability=(10, 0)) == 0
    assert [tiles(64, batch, parts=2) for batch in (1024, 3072, 8192)] == [0, 1, 2]
    assert [tiles(256, batch, parts=2) for batch in (128, 256, 2048)] == [0, 1, 2]
    assert [tiles(512, batch, parts=2) for batch in (1, 1024)] == [1, 2]


def test_structures_are_those_of_the_kernels() -> None:
    update = (KERNELS / "lstm_update.cu").read_text()
    body = re.search(r"struct Array \{(.*?)\};", update, re.DOTALL)
    assert body is not None
    declared = re.sub(r"//.*", "", body[1])
    fields = [
        name.strip(" *\n")
        for line in declared.split(";")
        for name in re.sub(r"^\s*(const )?\w+", "", line).split(",")
    ]
    assert [name for name in fields if name] == list(packing.ARRAY.names or ())
    assert packing.ARRAY.itemsize == 80
    common = (KERNELS / "lstm_common.cuh").read_text()
    assert f"#define MAX_CONSTANTS {network.CONSTANTS}\n" in common
    for name, value in (
        ("BLOCK_M", product_plan.BLOCK_M),
        ("K", product_plan.INNER),
        ("EXTRA", product_plan.EXTRA),
    ):
        assert re.search(rf"#define {name} {value}\b", (KERNELS / "lstm_products.cu").read_text())
    for name, value in (
        ("EXTRA", product_plan.EXTRA),
        ("BLOCK_M", product_plan.WGMMA_ROWS_TILE),
        ("BLOCK_N", product_plan.WGMMA_ROWS_TILE),
        ("ROW_THREADS", product_plan.WGMMA_ROWS_THREADS),
        ("ROW_STAGES", product_plan.WGMMA_ROWS_STAGES),
        ("COLUMN_M", product_plan.WGMMA_COLUMNS_M),
        ("COLUMN_THREADS", product_plan.WGMMA_COLUMNS_THREADS),
        ("COLUMN_STAGES", product_plan.WGMMA_COLUMNS_STAGES),
    ):
        assert re.search(rf"#define {name} {value}\b", (KERNELS / "lstm_products_wgmma.cu").read_text())
    for name, value in (
        ("TILE_INPUTS", update_plan.TILE_INPUTS),
        ("FEW_NUMBERS", update_plan.FEW_NUMBERS),
    ):
        assert re.search(rf"#define {name} {value}\b", update)
    tiles, products = ((KERNELS / f"{name}.cuh").read_text() for name in ("lstm_tiles", "lstm_wgmma"))
    assert f"#define TILE {tile_plan.TILE} " in products
    assert tile_plan.TILE == product_plan.WGMMA_TILE
    assert f"#define GATES {tile_plan.GATE_COLUMNS} " in tiles
    assert f"#define THREADS {network.MASK_THREADS}\n" in (KERNELS / "lstm_masks.cu").read_text()
    exchange = (KERNELS / "lstm_exchange.cuh").read_text()
    assert f"#define COUNTERS_APART {counters.APART}\n" in exchange
    forward, backward = (
        (KERNELS / f"lstm_exchange_{name}.cu").read_text() for name in ("forward", "backward")
    )
    assert f"#define CHUNK (STREAMED ? {memory_plan.FORWARD_CHUNK} / PARTS :" in forward
    assert f"#define CHUNK (STREAMED ? {memory_plan.BACKWARD_CHUNK} / PARTS :" in backward
