"""How the kernels over a chain of rows are cut, kernels/lstm_forward.cu and lstm_backward.cu.

They keep the recurrent weights in registers. Which number of blocks, warps and windows makes them fit is found here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

# Of every GPU that mma.sync with bfloat16 runs on, compute capability 8.0 and newer.
REGISTERS = 65536
MAX_WARPS = 16
# Registers of a thread beside the weights, by parts: what the compiler needs without spilling (measured).
OTHER_REGISTERS = {1: 62, 2: 80}
WEIGHT_REGISTERS = 160
SHARED_BYTES = 227 * 1024
SHARED_BYTES_8 = 163 * 1024  # of compute capability 8.0; 8.6 and 8.9 have 99 KiB
# Tiles of 8 windows a block up to which layers are faster in one launch, by where W is (measured on an H100).
MOST_TOGETHER = {"registers": 8, "block": 2, "shared": 1}
# Blocks of a cluster that every GPU with clusters places.
PORTABLE_CLUSTER = 8
# Rows whose input is on its way, in both kernels.
STAGES = 4


@dataclass(frozen=True)
class ChainShape:
    """How one of the two kernels over a chain of rows is cut.

    Attributes:
        split: blocks that share the units of these windows: of a cluster, of wide layers, or through memory.
        k_split: warps that share a group of units, each with a part of the inner dimension.
        tiles: of 8 windows each, in a block.
        warps: of a block.
        shared: bytes of shared memory.
        layers: that run in one launch, all blocks for the same windows in one cluster.
        blocks: that share a multiprocessor.
        w: where W of layers that run together is: in registers, in those of a block between two layers, or in shared
            memory.
        stages: rows whose values are on their way or in use.
        through_memory: blocks that share units are no cluster, but exchange through global memory (``memory_plan``).
        buffers: then, tiles of windows whose values of all units have room in shared memory; of ``streamed``, chunks.
        streamed: the recurrent weights pass through shared memory at every row.
        alone: the blocks of one process alone find room on this GPU for sure; those of two might wait for each other.
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
    through_memory: bool = False
    buffers: int = 1
    streamed: bool = False
    alone: bool = False

    @property
    def group(self) -> int:
        """Blocks of all layers of a launch for the same windows: a cluster, unless they exchange through memory."""
        return ((2 if self.w == "block" else 1) * (self.layers - 1) + 1) * self.split

    @property
    def cluster(self) -> int:
        """Blocks of a cluster."""
        return 1 if self.through_memory else self.group

    def at_once(self, clusters: Callable[[int], int]) -> int:
        """Groups of blocks for the same windows that run at the same time, at least 1.

        Args:
            clusters: as of ``plan.plan``.
        """
        if self.through_memory:
            return max(1, clusters(1) // self.split)
        return max(1, clusters(self.cluster) * self.blocks)

    @property
    def windows(self) -> int:
        """Windows of a block, or of a cluster of wide layers."""
        return 8 * self.tiles


class ChainCut(NamedTuple):
    """How both kernels are cut, and the units, padded."""

    units: int
    forward: ChainShape
    backward: ChainShape


def chain_cut(
    units: int,
    batch: int,
    *,
    layers: int,
    parts: int,
    dropout: bool,
    together: bool,
    limit: int,
    clusters: Callable[[int], int],
    tiles: int = 0,
) -> ChainCut | None:
    """How the kernels over a chain of rows are cut into clusters; None: no cut of the recurrent weights fits this GPU.

    Args:
        units, batch, layers, parts, dropout, clusters, tiles: as of ``plan.plan``.
        together: layers may run in one launch.
        limit: bytes of shared memory of a block that is alone on its multiprocessor.
    """
    found = next(_cuts(units, parts, clusters), None)
    if found is None:
        return None
    padded, split, forward_k, backward_k = found
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
    if together:
        many = _Together(padded, split, layers, parts, dropout, batch, limit, clusters, tiles)
        forward, backward = many.forward() or forward, many.backward() or backward
    return ChainCut(padded, forward, backward)


def shared_limit(capability: tuple[int, int]) -> int:
    """Bytes of shared memory that one block can have."""
    if capability >= (9, 0) and capability < (12, 0):
        return SHARED_BYTES
    return SHARED_BYTES_8 if capability in ((8, 0), (8, 7)) else 99 * 1024


def _cuts(units: int, parts: int, clusters: Callable[[int], int]) -> Iterator[tuple[int, int, int, int]]:
    """Padded units, blocks of a cluster, and parts of the inner dimension forward and backward; the best first."""
    for split in (one for one in (1, 2, 4, 8, 16) if clusters(one)):
        padded = -(-units // (16 * split)) * 16 * split
        own = padded // split
        forward = next(
            (k for k in (1, 2, 4) if fits(own // 8 * k, padded / 2 / k * parts, padded / 16 / k, parts)), 0
        )
        # More warps for the same work shorten the chain.
        backward = next(
            (k for k in (4, 2, 1) if fits(own // 16 * k, padded / k * parts, padded / 4 / k, parts)), 0
        )
        if forward and backward:
            yield padded, split, forward, backward


def fits(warps: float, weight_registers: float, inner_steps: float, parts: int, blocks: int = 1) -> bool:
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


@dataclass(frozen=True)
class _Together:
    """Cuts with all layers in one launch; see ``chain_cut`` for what is not named here.

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
            if not fits(warps, weights, self.units / 16 / k, self.parts, shape.blocks):
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
            if 4 * tiles < k or not fits(warps, weights, self.units / 4 / k, self.parts, shape.blocks):
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
