"""How the kernels for large batches are cut: kernels/lstm_tile_*.cu and, for more units, kernels/lstm_wide_*.cu."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from hpc_lstm.model.engines.cuda.chain_plan import SHARED_BYTES, ChainShape

# Of kernels/lstm_tile_*.cu: windows, or columns, of a tile, and threads of a block.
TILE, TILE_THREADS = 64, 512
TILE_BYTES = 2 * TILE * TILE
GATE_COLUMNS = 4 * TILE  # of a block
# Windows from which on they are faster, by units (docs/fused-engine.md).
TILE_BATCHES = {64: 6144, 128: 3072}
# The same of kernels/lstm_wide_*.cu, by parts, and threads of a block. They take more units; in float32 fewer, too.
WIDE_BATCHES = {
    1: {192: 1536, 256: 512, 320: 256, 384: 256, 448: 256, 512: 256},
    2: {64: 3072, 128: 1536, 192: 512, 256: 256, 320: 1, 384: 1, 448: 1, 512: 1},
}
WIDE_FORWARD_THREADS, WIDE_BACKWARD_THREADS = 384, 512
WIDE_PAIR = 2  # blocks of a cluster, with other windows each
MAX_WIDE = 8  # blocks of 64 units
WIDE_LAUNCHES = 4  # of processes that share a GPU by MPS: room for a group of windows of each


class TileCut(NamedTuple):
    """How both kernels are cut, and the tiles of 64 windows in their blocks."""

    forward: ChainShape
    backward: ChainShape
    tiles: int
    backward_tiles: int


@dataclass(frozen=True)
class TileShared:
    """Bytes of shared memory of the kernels for large batches."""

    forward: int
    backward: int


def is_wide(units: int, parts: int) -> bool:
    """Whether large batches of layers with so many units, padded, are for kernels/lstm_wide_*.cu."""
    return units > 2 * TILE or parts == 2


def faster_from(units: int, parts: int) -> int:
    """The batch from which on these kernels are faster than those for small batches."""
    return WIDE_BATCHES[parts][units] if is_wide(units, parts) else TILE_BATCHES[units]


def tile_cut(
    units: int, parts: int, batch: int, layers: int, dropout: bool, clusters: Callable[[int], int]
) -> TileCut | None:
    """How the kernels for large batches are cut; None: they do not take this network.

    Args:
        units: padded to whole tiles.
        parts, batch, layers, dropout, clusters: as of ``plan.plan``.
    """
    split = units // TILE
    # One tile a block as long as all blocks run at the same time, of wide layers those of two layers: two tiles share
    # the tensor cores, or what is read of the weights.
    wide = is_wide(units, parts)
    if wide:
        group, split, resident = WIDE_PAIR * TILE, WIDE_PAIR * split, clusters(WIDE_PAIR) // split
        at_once = resident // min(layers, 2)
    else:
        group, resident = TILE, clusters(split)
        at_once = resident
    # Blocks of wide layers wait for each other: those of a group of windows need room in each of the launches that
    # share the GPU.
    if split > MAX_WIDE * WIDE_PAIR or resident < (WIDE_LAUNCHES if wide else 1):
        return None
    tiles = next((n for n in (1, 2) if -(-batch // (group * n)) <= at_once), 2)
    backward_tiles = tiles if parts == 1 else 1  # two have no room for the parts of dz
    kinds = {(layer == 0, dropout and layer + 1 < layers) for layer in range(layers)}
    for narrow, drops in kinds:
        if wide:
            shared = wide_shared(tiles, backward_tiles, parts, narrow=narrow, drops=drops)
        else:
            shared = tile_shared(units, tiles, narrow=narrow, drops=drops)
        of_gradients = gradients_shared(units, narrow=narrow)
        if max(shared.forward, shared.backward, of_gradients) > SHARED_BYTES:
            return None
    warps = (WIDE_BACKWARD_THREADS if wide else TILE_THREADS) // 32
    forward, backward = (ChainShape(split, 1, group * n // 8, warps, 0) for n in (tiles, backward_tiles))
    return TileCut(forward, backward, tiles, backward_tiles)


def tile_shared(units: int, tiles: int, *, narrow: bool, drops: bool) -> TileShared:
    """Shared memory of a layer's kernels, as their ``struct Shared``.

    Args:
        narrow: its input has 16 columns, rather than as many as units.
        drops: it drops outputs.
    """
    split, width = units // TILE, 16 if narrow else units
    weights = GATE_COLUMNS * 2 * (units + width) + GATE_COLUMNS * 4
    inputs, stages = tiles * TILE * width * 2, 2 if narrow else 1
    forward = weights + 2 * tiles * split * TILE_BYTES + stages * inputs + 8 * tiles * (2 + stages)
    if drops:
        forward += tiles * (2 * TILE_BYTES + (stages + 1) * 8 * units)
    backward = weights + tiles * 5 * TILE_BYTES + 32 * tiles
    backward += tiles * TILE_BYTES if split > 1 else tiles * split * TILE_BYTES + inputs
    if narrow or split == 1:
        backward += tiles * ((1 + split) * TILE_BYTES + 8 * units)
    return TileShared(forward, backward)


def wide_shared(tiles: int, backward_tiles: int, parts: int, *, narrow: bool, drops: bool) -> TileShared:
    """Shared memory of the kernels for wide layers, as their ``struct Shared``; see ``tile_shared``."""
    stages = 4 if tiles == 2 else 5
    outputs = 1 + drops if parts == 1 else parts  # tiles of h, and of what is left of it
    forward = stages * (tiles * TILE_BYTES + GATE_COLUMNS * TILE * 2) + outputs * tiles * TILE_BYTES
    forward += GATE_COLUMNS * 4 + stages * 16 + 40
    tiles, operands = backward_tiles, 1 if narrow else 2
    if parts == 1:
        stages = {(1, True): 8, (1, False): 6, (2, True): 6, (2, False): 5}[tiles, narrow]
    else:
        stages = 8 if narrow else 5
    halves = 0 if tiles == 2 else 2 * operands * TILE_BYTES
    backward = (stages * (tiles + operands) + 4 * parts * tiles) * TILE_BYTES + halves + stages * 16 + 96
    return TileShared(forward, backward)


def gradients_shared(units: int, *, narrow: bool) -> int:
    """Shared memory of kernels/lstm_tile_gradients.cu."""
    columns = 1 if narrow and units == TILE else 2
    return 4 * ((4 + columns) * TILE_BYTES + (2 * TILE * 16 if narrow else 0)) + 2 * 8 * 16 + 16 * 4
