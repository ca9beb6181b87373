"""How the kernels of the CUDA engine are cut to a network and a batch: padded sizes, clusters, registers.

kernels/lstm_forward.cu and lstm_backward.cu keep the recurrent weights in registers. Which number of blocks, warps and
windows makes them fit is found here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

# Of every GPU that mma.sync with bfloat16 runs on, compute capability 8.0 and newer.
REGISTERS = 65536
MAX_WARPS = 16
# Registers of a thread beside the weights, by parts: what the compiler needs without spilling (measured).
OTHER_REGISTERS = {1: 62, 2: 80}
WEIGHT_REGISTERS = 160
SHARED_BYTES = 227 * 1024
SHARED_BYTES_8 = 163 * 1024  # of compute capability 8.0; 8.6 and 8.9 have 99 KiB
# Features up to which the first layer's input is multiplied inside its own kernel.
FOLDED_FEATURES = 16
# Tiles of 8 windows a block up to which layers are faster in one launch, by where W is (measured on an H100).
MOST_TOGETHER = {"registers": 8, "block": 2, "shared": 1}
# Blocks of a cluster that every GPU with clusters places.
PORTABLE_CLUSTER = 8
# Rows whose input is on its way, in both kernels.
STAGES = 4
# Of kernels/lstm_tile_*.cu: windows, or columns, of a tile, and threads of a block.
TILE, TILE_THREADS = 64, 512
TILE_BYTES = 2 * TILE * TILE
GATE_COLUMNS = 4 * TILE  # of a block
# Windows from which on they are faster, by units (docs/fused-engine.md).
TILE_BATCHES = {64: 4096, 128: 2560}
# The same of kernels/lstm_wide_*.cu, by parts, and threads of a block. They take more units; in float32 fewer, too.
WIDE_BATCHES = {
    1: {192: 1024, 256: 512, 320: 256, 384: 256, 448: 256, 512: 256},
    2: {64: 2048, 128: 1024, 192: 512, 256: 256, 320: 1, 384: 1, 448: 1, 512: 1},
}
WIDE_FORWARD_THREADS, WIDE_BACKWARD_THREADS = 384, 512
WIDE_PAIR = 2  # blocks of a cluster, with other windows each
MAX_WIDE = 8  # blocks of 64 units
WIDE_LAUNCHES = 4  # of processes that share a GPU by MPS: room for a group of windows of each
# Of kernels/lstm_products.cu: rows of a tile, inner numbers of a stage, padding of rows, columns of a narrow operand.
BLOCK_M, INNER, PAD, EXTRA = 128, 32, 8, 16


@dataclass(frozen=True)
class ChainShape:
    """How one of the two kernels over a chain of rows is cut.

    Attributes:
        split: blocks that share the units of these windows: of a cluster, or of wide layers.
        k_split: warps that share a group of units, each with a part of the inner dimension.
        tiles: of 8 windows each, in a block.
        warps: of a block.
        shared: bytes of shared memory.
        layers: that run in one launch, all blocks for the same windows in one cluster.
        blocks: that share a multiprocessor.
        w: where W of layers that run together is: in registers, in those of a block between two layers, or in shared
            memory.
        stages: rows whose values are on their way or in use.
    """

    split: int
    k_split: int
    tiles: int
    warps: int
    shared: int
    layers: int = 1
    blocks: int = 1
    w: Literal["registers", "block", "shared"] = "registers"
    stages: int = 4

    @property
    def cluster(self) -> int:
        """Blocks of a cluster: of all layers of a launch for the same windows."""
        return ((2 if self.w == "block" else 1) * (self.layers - 1) + 1) * self.split

    @property
    def windows(self) -> int:
        """Windows of a block, or of a cluster of wide layers."""
        return 8 * self.tiles


@dataclass(frozen=True)
class Plan:
    """Sizes of one network on one GPU for one size of batch.

    Attributes:
        units: padded.
        parts: bfloat16 numbers that hold one value: 1, or 2 for float32.
        forward, backward: how the kernels are cut.
        width: features, padded.
        folded: the first layer's input is multiplied inside its kernel.
        windows: the batch, padded to whole blocks.
        product_stages: tiles of a product's operands on their way or in use.
        tiles: of 64 windows in a block of kernels/lstm_tile_*.cu or lstm_wide_*.cu; 0: the kernels for small batches.
        backward_tiles: the same of the backward pass.
    """

    units: int
    parts: int
    forward: ChainShape
    backward: ChainShape
    width: int
    folded: bool
    windows: int
    product_stages: int
    tiles: int = 0
    backward_tiles: int = 0

    @property
    def wide(self) -> bool:
        """Whether the weights pass through shared memory, by kernels/lstm_wide_*.cu."""
        return self.tiles > 0 and _is_wide(self.units, self.parts)

    def at_once(self, clusters: Callable[[int], int]) -> int:
        """How many times the windows of a block, or of a cluster of wide layers, run at the same time, at least 1.

        Args:
            clusters: as of ``plan``.
        """
        if self.wide:
            return max(1, clusters(WIDE_PAIR) * WIDE_PAIR // self.forward.split)
        return max(1, clusters(self.forward.cluster) * self.forward.blocks)

    def input_width(self, layer: int) -> int:
        """Columns of a layer's input, padded."""
        return self.units if layer else self.width


@dataclass(frozen=True)
class TileShared:
    """Bytes of shared memory of the kernels for large batches."""

    forward: int
    backward: int


def plan(
    units: int,
    features: int,
    batch: int,
    *,
    layers: int,
    parts: int,
    dropout: bool,
    capability: tuple[int, int],
    clusters: Callable[[int], int],
    large: bool | None = None,
    tiles: int = 0,
) -> Plan | None:
    """The plan for a network; None: no cut of its recurrent weights fits this GPU.

    Args:
        units, features, batch, layers: of the network and the batch, not padded.
        clusters: how many clusters of so many blocks, each with a multiprocessor for itself, run at the same time.
        large: whether to take the kernels for large batches, where they can be; None: where they are faster.
        tiles: of 8 windows in a block; 0: as many as keep the whole GPU busy with few of them.
    """
    padded = -(-units // TILE) * TILE
    if large is not False and capability == (9, 0) and features <= FOLDED_FEATURES:
        in_tiles = _tile_plan(padded, parts, batch, layers, dropout, clusters)
        batches = WIDE_BATCHES[parts] if _is_wide(padded, parts) else TILE_BATCHES
        if in_tiles and (large or (batch >= batches[padded] and units > 3 * padded // 4)):
            return in_tiles
    found = next(_cuts(units, parts, clusters), None)
    if found is None:
        return None
    padded, split, forward_k, backward_k = found
    limit = _shared_limit(capability)
    fitting = [
        (forward, backward)
        for count in (1, 2, 4, 8)
        for forward, backward in [_shapes(padded, split, forward_k, backward_k, count, parts, dropout)]
        if max(forward.shared, backward.shared) <= limit
        and count * 2 >= forward_k
        and count * 4 >= backward_k
    ]
    if not fitting:
        return None
    # Few windows a block make a short chain, as long as all blocks run at the same time.
    enough = (
        pair
        for pair in fitting
        if (tiles and pair[0].tiles == tiles)
        or (not tiles and -(-batch // pair[0].windows) <= clusters(split))
    )
    forward, backward = next(enough, fitting[-1])
    if layers > 1 and features <= FOLDED_FEATURES:
        many = _Together(padded, split, layers, parts, dropout, batch, limit, clusters, tiles)
        forward, backward = many.forward() or forward, many.backward() or backward
    return Plan(
        units=padded,
        parts=parts,
        forward=forward,
        backward=backward,
        width=-(-features // 16) * 16,
        folded=features <= FOLDED_FEATURES,
        windows=_up(batch, max(forward.windows, backward.windows)),
        product_stages=3 if products_shared(4 * padded, parts, 3) <= limit else 2,
    )


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


def _is_wide(padded: int, parts: int) -> bool:
    """Whether large batches of layers with so many units are for kernels/lstm_wide_*.cu."""
    return padded > 2 * TILE or parts == 2


def _tile_plan(
    padded: int, parts: int, batch: int, layers: int, dropout: bool, clusters: Callable[[int], int]
) -> Plan | None:
    """The plan for the kernels for large batches; None: they do not take this network."""
    split = padded // TILE
    # One tile a block as long as all blocks run at the same time, of wide layers those of two layers: two tiles share
    # the tensor cores, or what is read of the weights.
    wide = _is_wide(padded, parts)
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
            shared = tile_shared(padded, tiles, narrow=narrow, drops=drops)
        of_gradients = gradients_shared(padded, narrow=narrow)
        if max(shared.forward, shared.backward, of_gradients) > SHARED_BYTES:
            return None
    warps = (WIDE_BACKWARD_THREADS if wide else TILE_THREADS) // 32
    forward, backward = (ChainShape(split, 1, group * n // 8, warps, 0) for n in (tiles, backward_tiles))
    windows = -(-batch // forward.windows) * forward.windows
    return Plan(padded, parts, forward, backward, FOLDED_FEATURES, True, windows, 0, tiles, backward_tiles)


def product_block(width: int) -> int:
    """Columns of a product's tiles."""
    return next(block for block in (16, 32, 64, 128) if width <= block or block == 128)


def rows_shared(block: int, parts: int, stages: int) -> int:
    """Bytes of shared memory of multiply_rows in kernels/lstm_products.cu, whose result passes through it, too."""
    return max(stages * parts * (BLOCK_M + block) * (INNER + PAD), BLOCK_M * (block + PAD)) * 2


def columns_shared(block: int, parts: int, stages: int) -> int:
    """The same of multiply_columns."""
    return stages * parts * INNER * (BLOCK_M + block + EXTRA + 3 * PAD) * 2


def products_shared(width: int, parts: int, stages: int) -> int:
    """The most that a product with up to ``width`` columns takes."""
    block = product_block(width)
    return max(rows_shared(block, parts, stages), columns_shared(block, parts, stages))


def with_windows(cut: Plan, windows: int) -> Plan:
    """The same plan for another number of windows, a multiple of those of a block."""
    return replace(cut, windows=windows)


def _cuts(units: int, parts: int, clusters: Callable[[int], int]) -> Iterator[tuple[int, int, int, int]]:
    """Padded units, blocks of a cluster, and parts of the inner dimension forward and backward; the best first."""
    for split in (one for one in (1, 2, 4, 8, 16) if clusters(one)):
        padded = -(-units // (16 * split)) * 16 * split
        own = padded // split
        forward = next(
            (k for k in (1, 2, 4) if _fits(own // 8 * k, padded / 2 / k * parts, padded / 16 / k, parts)), 0
        )
        # More warps for the same work shorten the chain.
        backward = next(
            (k for k in (4, 2, 1) if _fits(own // 16 * k, padded / k * parts, padded / 4 / k, parts)), 0
        )
        if forward and backward:
            yield padded, split, forward, backward


def _fits(warps: float, weight_registers: float, inner_steps: float, parts: int, blocks: int = 1) -> bool:
    """Whether a block of so many warps holds its weights in registers.

    Args:
        inner_steps: of 16 numbers of the inner dimension, for each warp.
        blocks: that share a multiprocessor.
    """
    registers = weight_registers + OTHER_REGISTERS[parts]
    return (
        inner_steps == int(inner_steps)
        and warps <= MAX_WARPS
        and weight_registers <= WEIGHT_REGISTERS
        and warps * 32 * registers * blocks <= REGISTERS
    )


@dataclass(frozen=True)
class _Together:
    """Cuts with all layers in one launch; see ``plan`` for the attributes.

    Attributes:
        units: padded.
        split: blocks that share a layer's units.
        limit: bytes of shared memory of a block that is alone on its multiprocessor.
    """

    units: int
    split: int
    layers: int
    parts: int
    dropout: bool
    batch: int
    limit: int
    clusters: Callable[[int], int]
    tiles: int

    def forward(self) -> ChainShape | None:
        """Of kernels/lstm_forward.cu; None: the blocks of all layers do not fit."""
        own = self.units // self.split
        for shape in self._shapes((1, 2, 4)):
            k, tiles, windows = shape.k_split, shape.tiles, shape.windows
            weights = self.units / 2 / k * self.parts * (2 if shape.w == "registers" else 1)
            warps = own // 8 * k
            if (shape.w == "block" and k > 1) or 2 * tiles < k:
                continue
            if not _fits(warps, weights, self.units / 16 / k, self.parts, shape.blocks):
                continue
            row = self.parts * windows * (self.units + 8) * 2
            if shape.w == "block":
                row = max(row, warps * tiles * 2 * 32 * 16)
            shared = 2 * self.parts * windows * (self.units + 8) * 2 + STAGES * row
            if self.dropout:
                shared += 2 * self.parts * windows * (own + 8) * 2 + STAGES * windows * own // 8
            shared += warps * tiles * 8 * 32 * 4 if k > 1 else 16
            if found := self._finish(shape, warps, shared, STAGES):
                return found
        return None

    def backward(self) -> ChainShape | None:
        """Of kernels/lstm_backward.cu, likewise."""
        own = self.units // self.split
        for shape in self._shapes((4, 2, 1)):
            k, tiles, windows = shape.k_split, shape.tiles, shape.windows
            weights = self.units / k * self.parts * (2 if shape.w == "registers" else 1)
            warps = own // 16 * k
            if 4 * tiles < k or not _fits(warps, weights, self.units / 4 / k, self.parts, shape.blocks):
                continue
            row = self.parts * windows * (4 * own + 16) * 2 + windows * own * (2 if self.parts == 1 else 4)
            row += warps * tiles * 32 * 16 + (windows * own // 8 if self.dropout else 0)
            dz = self.parts * windows * (4 * self.units + 8) * 2
            if shape.w == "block":
                row = max(row, dz)
            for stages in (4, 3, 2):
                shared = 2 * dz + warps * tiles * 4 * 32 * 4 + stages * row
                if found := self._finish(shape, warps, shared, stages):
                    return found
        return None

    def _shapes(self, k_splits: tuple[int, ...]) -> Iterator[ChainShape]:
        """Cuts whose blocks all run at the same time, without warps and shared memory; the best first."""
        for tiles in (self.tiles,) if self.tiles else (1, 2, 4, 8):
            for blocks in (1, 2):
                for w in ("registers", "block", "shared"):
                    for k in k_splits:
                        shape = ChainShape(self.split, k, tiles, 0, 0, self.layers, blocks, w)
                        if shape.cluster > PORTABLE_CLUSTER or tiles > MOST_TOGETHER[w]:
                            continue
                        if -(-self.batch // shape.windows) <= self.clusters(shape.cluster) * blocks:
                            yield shape

    def _finish(self, shape: ChainShape, warps: int, shared: int, stages: int) -> ChainShape | None:
        """The shape with its warps and shared memory; None: it has no room."""
        if shape.w == "shared":
            shared += self.units // self.split * self.units * 8 * self.parts
        shared += 8 * (2 + 2 * stages) + 16
        # A multiprocessor keeps 1 KiB for itself for each block.
        room = (self.limit + 1024) // shape.blocks - 1024
        return replace(shape, warps=warps, shared=shared, stages=stages) if shared <= room else None


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def _shapes(
    units: int, split: int, forward_k: int, backward_k: int, tiles: int, parts: int, dropout: bool
) -> tuple[ChainShape, ChainShape]:
    own, windows = units // split, 8 * tiles
    # As ``struct Shared`` of kernels/lstm_forward.cu, without and with its input folded; the larger one.
    warps = own // 8 * forward_k
    shared = 2 * parts * windows * (units + 8) * 2
    shared += STAGES * parts * windows * max(24, 4 * own + 16) * 2
    shared += 2 * parts * windows * (own + 8) * 2 + STAGES * windows * own // 8 if dropout else 0
    shared += warps * tiles * 8 * 32 * 4 if forward_k > 1 else 8
    forward = ChainShape(split, forward_k, tiles, warps, shared + 8 * (2 + 2 * STAGES))
    # And of kernels/lstm_backward.cu. The sums of the bias's gradient take the place of dh.
    warps = own // 16 * backward_k
    row = parts * windows * (4 * own + 16) * 2 + windows * own * (2 if parts == 1 else 4)
    row += parts * windows * (own + 8) * 2 + (windows * own // 8 if dropout else 0)
    shared = 2 * parts * windows * (4 * units + 8) * 2 + warps * tiles * 4 * 32 * 4 + STAGES * row
    return forward, ChainShape(split, backward_k, tiles, warps, shared + 8 * (2 + 2 * STAGES))


def _shared_limit(capability: tuple[int, int]) -> int:
    if capability >= (9, 0) and capability < (12, 0):
        return SHARED_BYTES
    return SHARED_BYTES_8 if capability in ((8, 0), (8, 7)) else 99 * 1024
