"""Which kernels of the CUDA engine train a network with a batch, and how they are cut: padded sizes, clusters, tiles.

Small batches take the kernels over chains of rows (``chain_plan``), large ones those in tiles (``tile_plan``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from hpc_lstm.model.engines.cuda import tile_plan
from hpc_lstm.model.engines.cuda.chain_plan import ChainShape, chain_cut, shared_limit
from hpc_lstm.model.engines.cuda.memory_plan import memory_cut
from hpc_lstm.model.engines.cuda.product_plan import products_shared

# Features up to which the first layer's input is multiplied inside its own kernel.
FOLDED_FEATURES = 16


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
        product_stages: tiles of a product's operands on their way or in use, of kernels/lstm_products.cu.
        wgmma: products are those of kernels/lstm_products_wgmma.cu.
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
    wgmma: bool = False
    tiles: int = 0
    backward_tiles: int = 0

    @property
    def wide(self) -> bool:
        """Whether the weights pass through shared memory, by kernels/lstm_wide_*.cu."""
        return self.tiles > 0 and tile_plan.is_wide(self.units, self.parts)

    def at_once(self, clusters: Callable[[int], int]) -> int:
        """How many times the windows of a block, or of a cluster of wide layers, run at the same time, at least 1.

        Args:
            clusters: as of ``plan``.
        """
        if self.wide:
            return max(1, clusters(tile_plan.WIDE_PAIR) * tile_plan.WIDE_PAIR // self.forward.split)
        return self.forward.at_once(clusters)

    def input_width(self, layer: int) -> int:
        """Columns of a layer's input, padded."""
        return self.units if layer else self.width


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
    """The plan for a network; None: the GPU has too few multiprocessors for the blocks that share its units.

    Args:
        units, features, batch, layers: of the network and the batch, not padded.
        clusters: how many clusters of so many blocks, each with a multiprocessor for itself, run at the same time.
        large: whether to take the kernels for large batches, where they can be; None: where they are faster.
        tiles: of 8 windows in a block; 0: as many as keep the whole GPU busy with few of them.
    """
    folded = features <= FOLDED_FEATURES
    if large is not False and capability == (9, 0) and folded:
        padded = _up(units, tile_plan.TILE)
        cut = tile_plan.tile_cut(padded, parts, batch, layers, dropout, clusters)
        if cut and (large or (batch >= tile_plan.faster_from(padded, parts) and units > 3 * padded // 4)):
            windows = _up(batch, cut.forward.windows)
            return Plan(
                units=padded,
                parts=parts,
                forward=cut.forward,
                backward=cut.backward,
                width=FOLDED_FEATURES,
                folded=True,
                windows=windows,
                product_stages=0,
                tiles=cut.tiles,
                backward_tiles=cut.backward_tiles,
            )
    limit = shared_limit(capability)
    found = chain_cut(
        units,
        batch,
        layers=layers,
        parts=parts,
        dropout=dropout,
        together=layers > 1 and folded,
        limit=limit,
        clusters=clusters,
        tiles=tiles,
    ) or memory_cut(
        units,
        batch,
        parts=parts,
        dropout=dropout,
        limit=limit,
        multiprocessors=clusters(1),
        tiles=tiles,
    )
    if found is None:
        return None
    return Plan(
        units=found.units,
        parts=parts,
        forward=found.forward,
        backward=found.backward,
        width=_up(features, 16),
        folded=folded,
        windows=_up(batch, max(found.forward.windows, found.backward.windows)),
        product_stages=3 if products_shared(4 * found.units, parts, 3) <= limit else 2,
        wgmma=capability == (9, 0),
    )


def with_windows(cut: Plan, windows: int) -> Plan:
    """The same plan for another number of windows, a multiple of those of a block."""
    return replace(cut, windows=windows)


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
