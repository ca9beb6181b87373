"""How the kernels over a chain of rows are cut where the blocks that share a layer's units are no cluster.

Such blocks exchange every row through global memory (kernels/lstm_exchange.cuh). Before compute
capability 9.0 there are no clusters, and later cards may place none that is large enough.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from hpc_lstm.model.engines.cuda.chain_plan import ChainCut, ChainShape, fits

# Of processes that share a GPU by MPS (docs/gpus.md): blocks wait for each other, so those of the same windows need
# room in each.
LAUNCHES = 4
MOST_UNITS = 512  # padded
# Of blocks through which the weights pass: units, most tiles of windows (their sums are in registers), and warps that
# share the inner dimension backwards. The second way is for a GPU with few multiprocessors.
STREAMED = ((64, 8, 2), (128, 2, 1))
# Of the inner dimension, what passes at once, CHUNK of the kernels: of bfloat16 numbers, or half as many in two parts.
FORWARD_CHUNK, BACKWARD_CHUNK = 32, 64


class _Share(NamedTuple):
    """What a block has of the units, and how its warps share the inner dimension; see ``ChainShape``."""

    units: int  # of the layer, padded
    split: int
    forward_k: int
    backward_k: int
    most_tiles: int = 8
    streamed: bool = False

    @property
    def own(self) -> int:
        """Units of a block."""
        return self.units // self.split


def memory_cut(
    units: int,
    batch: int,
    *,
    parts: int,
    dropout: bool,
    limit: int,
    multiprocessors: int,
    tiles: int = 0,
) -> ChainCut | None:
    """How the kernels over a chain of rows are cut; None: a GPU with so few multiprocessors has no room for the blocks.

    Args:
        units, batch, parts, dropout, tiles: as of ``plan.plan``.
        limit: bytes of shared memory of a block.
        multiprocessors: that this process has.
    """
    shares = (*_in_registers(units, parts), *_streamed(units))
    for launches in (LAUNCHES, 1):
        for share in shares:
            # Launches that have not begun all blocks of some windows leave room for one block more.
            if (share.split - 1) * launches < multiprocessors:
                pairs = [_shapes(share, count, parts, dropout, limit) for count in (1, 2, 4, 8)]
                if fitting := [pair for pair in pairs if pair]:
                    pair = _few_windows(fitting, batch, multiprocessors // share.split, tiles)
                    forward, backward = (replace(shape, alone=launches < LAUNCHES) for shape in pair)
                    return ChainCut(share.units, forward, backward)
    return None


def _few_windows(
    fitting: list[tuple[ChainShape, ChainShape]], batch: int, at_once: int, tiles: int
) -> tuple[ChainShape, ChainShape]:
    """Of cuts with more and more windows a block the first whose blocks all run at the same time, or the last one."""
    for pair in fitting:
        if pair[0].tiles == tiles if tiles else -(-batch // pair[0].windows) <= at_once:
            return pair
    return fitting[-1]


def _in_registers(units: int, parts: int) -> Iterator[_Share]:
    """Ways to share the units so that a block's recurrent weights are in registers; that with fewest blocks first."""
    for split in range(2, MOST_UNITS // 16 + 1):
        for padded in range(-(-units // 16) * 16, MOST_UNITS + 1, 16):
            own = padded // split
            if own % 16 or own * split != padded:
                continue
            forward = (
                k for k in (1, 2, 4) if fits(own // 8 * k, padded / 2 / k * parts, padded / 16 / k, parts)
            )
            # More warps for the same work shorten the chain, up to 4 (measured on an H100).
            backward = (
                k for k in (4, 2, 1, 8) if fits(own // 16 * k, padded / k * parts, padded / 4 / k, parts)
            )
            found = _Share(padded, split, next(forward, 0), next(backward, 0))
            if found.forward_k and found.backward_k:
                yield found


def _streamed(units: int) -> Iterator[_Share]:
    """Ways to share the units by few blocks, through which the weights pass at every row."""
    for own, most_tiles, backward_k in STREAMED:
        split = -(-units // own)
        yield _Share(split * own, split, 1, backward_k, most_tiles, streamed=True)


def _shapes(
    share: _Share, tiles: int, parts: int, dropout: bool, limit: int
) -> tuple[ChainShape, ChainShape] | None:
    """Both kernels with so many windows a block; None: they have no room."""
    if tiles * 2 < share.forward_k or tiles * 4 < share.backward_k or tiles > share.most_tiles:
        return None
    forward = _forward(share, tiles, parts, dropout, limit)
    backward = _backward(share, tiles, parts, dropout, limit)
    return (forward, backward) if forward and backward else None


def _forward(share: _Share, tiles: int, parts: int, dropout: bool, limit: int) -> ChainShape | None:
    # As ``struct Shared`` of kernels/lstm_exchange_forward.cu, without and with its input folded; the larger one.
    own, windows = share.own, 8 * tiles
    warps = own // 8 * share.forward_k
    row = parts * windows * max(24, 4 * own + 16) * 2 + (windows * own // 8 if dropout else 0)
    rest = (2 if dropout else 1) * parts * windows * (own + 8) * 2
    rest += warps * tiles * 8 * 32 * 4 if share.forward_k > 1 else 8
    shape = ChainShape(share.split, share.forward_k, tiles, warps, rest)
    values, weights = (FORWARD_CHUNK // parts, 4 * own) if share.streamed else (share.units, 0)
    return _finish(shape, parts, row, values, weights, limit)


def _backward(share: _Share, tiles: int, parts: int, dropout: bool, limit: int) -> ChainShape | None:
    # As ``struct Shared`` of kernels/lstm_exchange_backward.cu.
    own, windows = share.own, 8 * tiles
    warps = own // 16 * share.backward_k
    row = parts * windows * (4 * own + 16) * 2 + windows * own * (2 if parts == 1 else 4)
    row += parts * windows * (own + 8) * 2 + (windows * own // 8 if dropout else 0)
    shape = ChainShape(share.split, share.backward_k, tiles, warps, warps * tiles * 4 * 32 * 4)
    values, weights = (BACKWARD_CHUNK // parts, own) if share.streamed else (4 * share.units, 0)
    return _finish(shape, parts, row, values, weights, limit)


def _finish(
    shape: ChainShape, parts: int, row: int, values: int, weights: int, limit: int
) -> ChainShape | None:
    """The shape with what its shared memory has room for; None: for too little.

    Args:
        shape: with the bytes of shared memory without stages, buffers and barriers.
        row: bytes of a stage.
        values: of a window in a buffer.
        weights: rows of weights in a buffer, of as many numbers; 0: they do not pass.
    """
    # Of a tile of windows; where weights pass, of a chunk of all windows.
    windows = shape.windows if weights else 8
    buffer = parts * (windows * (values + 8) + weights * values) * 2
    # More buffers overlap what is brought with what is multiplied; that counts more than rows far ahead.
    for buffers in (3, 2) if weights else (min(2, shape.tiles), 1):
        for stages in (4, 3, 2):
            shared = shape.shared + buffers * buffer + stages * row + 8 * stages + 8
            if shared <= limit:
                return replace(
                    shape,
                    shared=shared,
                    stages=stages,
                    through_memory=True,
                    buffers=buffers,
                    streamed=weights > 0,
                )
    return None
