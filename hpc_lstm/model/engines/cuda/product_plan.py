"""Tiles and shared memory of the products over all rows, kernels/lstm_products.cu and lstm_products_wgmma.cu."""

from __future__ import annotations

# Rows of a tile, inner numbers of a stage, padding of rows, columns of a narrow operand.
BLOCK_M, INNER, PAD, EXTRA = 128, 32, 8, 16
# Of lstm_products_wgmma.cu: tiles, and blocks of multiply_rows, whose tiles are square, and of multiply_columns.
WGMMA_TILE = 64
WGMMA_ROWS_TILE, WGMMA_ROWS_THREADS, WGMMA_ROWS_STAGES = 128, 256, 3
WGMMA_COLUMNS_M, WGMMA_COLUMNS_THREADS, WGMMA_COLUMNS_STAGES = 256, 512, 4


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


def wgmma_rows_shared(parts: int) -> int:
    """Bytes of shared memory of multiply_rows in kernels/lstm_products_wgmma.cu."""
    return WGMMA_ROWS_STAGES * parts * 2 * WGMMA_ROWS_TILE * WGMMA_TILE * 2


def wgmma_columns_shared(tiles: int) -> int:
    """The same of multiply_columns with so many tiles of columns, in one part or two."""
    return WGMMA_COLUMNS_STAGES * WGMMA_TILE * (WGMMA_COLUMNS_M + tiles * WGMMA_TILE + EXTRA) * 2
