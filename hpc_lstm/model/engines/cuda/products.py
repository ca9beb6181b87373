"""Products over all rows of all windows at once, by the kernels that suit the GPU: kernels/lstm_products*.cu.

multiply_rows       out = a b^T + bias                   x W of a layer, and dx = dz W^T
multiply_columns    out = a^T b, for two operands b      the gradients of U and W, in parts
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from hpc_lstm.cuda.device import THREADS, Device
from hpc_lstm.cuda.device_array import DeviceArray
from hpc_lstm.model.engines.cuda import product_plan
from hpc_lstm.model.engines.cuda.plan import Plan
from hpc_lstm.model.engines.cuda.sources import Sources

# ``struct Operand`` of both files.
OPERAND = np.dtype([("values", "u8"), ("out", "u8"), ("plane", "i8"), ("n", "i4"), ("unused", "i4")])


@dataclass(frozen=True)
class Matrix:
    """Rows of an array in GPU memory, [parts][rows][width] of bfloat16.

    Attributes:
        begin: where in the array the first row begins, in numbers.
        plane: numbers from one part to the next.
        width: numbers of a row.
    """

    values: DeviceArray
    begin: int
    plane: int
    width: int

    @property
    def pointer(self) -> int:
        """The address of the first row."""
        return self.values.pointer + 2 * self.begin


@dataclass(frozen=True)
class Launch:
    """A kernel, its blocks, their threads, and the bytes of their shared memory."""

    kernel: Any
    grid: tuple[int, ...]
    threads: int
    shared: int


class Products(ABC):
    """The two products of one plan; see the module.

    Args:
        at_once: launches of ``multiply_columns`` that run at the same time.
    """

    # Of the GPU, that multiply_columns takes beside multiply_rows.
    SHARE_BESIDE_ROWS: ClassVar[float] = 1.0
    # Whether multiply_rows can begin with the last rows.
    CHOOSES_ORDER: ClassVar[bool] = False

    def __init__(self, device: Device, plan: Plan, at_once: int = 1) -> None:
        self._device, self._plan, self._at_once = device, plan, at_once

    def multiply_rows(
        self,
        a: Matrix,
        rows: int,
        b: DeviceArray,
        out: DeviceArray,
        n: int,
        bias: DeviceArray | None = None,
        *,
        last_first: bool = False,
    ) -> None:
        """out [rows, n] = a [rows, k] b [n, k]^T + bias.

        Args:
            last_first: begin with the last rows where it can be chosen: what reads ``out`` from its first row on then
                finds these in the L2 cache.
        """
        self._launch(
            self._rows_launch(rows, n),
            *(np.uint64(a.pointer), np.int64(a.plane), b, bias, out),
            *(np.int64(rows), np.int32(n), np.int32(a.width)),
            *([np.int32(last_first)] if self.CHOOSES_ORDER else []),
        )

    def multiply_columns(
        self, a: Matrix, rows: int, first: tuple[Matrix, DeviceArray], second: tuple[Matrix, DeviceArray]
    ) -> None:
        """out [parts, m, n] = a [rows, m]^T b [rows, n] for two operands b, each with its ``out``."""
        launch, cut = self._columns_launch(a.width, rows, first[0].width, second[0].width, len(first[1]))
        operands = [
            np.array((one.pointer, out.pointer, one.plane, one.width, 0), OPERAND)[()]
            for one, out in (first, second)
        ]
        self._launch(launch, np.uint64(a.pointer), np.int64(a.plane), *operands, np.int32(a.width), *cut)

    def splits(self, m: int, first: int, second: int, rows: int, *, beside_rows: bool = False) -> int:
        """Parts that the rows of ``multiply_columns`` are cut into.

        Args:
            m, first, second: columns of its operands.
            beside_rows: ``multiply_rows`` reads the same operand at the same time.
        """
        blocks, waves, least = self._cut(m, first, second)
        places = waves * self._device.multiprocessors
        if beside_rows:
            places = int(places * self.SHARE_BESIDE_ROWS)
        return max(1, min(places // blocks, rows // least))

    @abstractmethod
    def _cut(self, m: int, first: int, second: int) -> tuple[int, int, int]:
        """Blocks of a part, how often they fill the GPU, and the fewest rows of a part."""

    @abstractmethod
    def _rows_launch(self, rows: int, n: int) -> Launch:
        """How ``multiply_rows`` is launched for a result of so many rows and columns."""

    @abstractmethod
    def _columns_launch(
        self, m: int, rows: int, first: int, second: int, parts: int
    ) -> tuple[Launch, list[Any]]:
        """How ``multiply_columns`` is launched, and the last arguments, which say how the rows are cut.

        Args:
            m, first, second: columns of its operands.
        """

    def _launch(self, launch: Launch, *arguments: Any) -> None:
        self._device.launch_grid(launch.kernel, launch.grid, launch.threads, launch.shared, *arguments)


class MmaProducts(Products):
    """By kernels/lstm_products.cu, for every GPU."""

    # Blocks for every multiprocessor twice, and enough work in each.
    WAVES, LEAST_ROWS = 2, 256

    def __init__(self, device: Device, plan: Plan, sources: Sources, at_once: int = 1) -> None:
        super().__init__(device, plan, at_once)
        self._kernels = {block: device.load(*source) for block, source in sources.products.items()}

    def _rows_launch(self, rows: int, n: int) -> Launch:
        block = product_plan.product_block(n)
        shared = product_plan.rows_shared(block, self._plan.parts, self._plan.product_stages)
        kernel = self._kernels[block].get_function("multiply_rows", shared)
        return Launch(kernel, (-(-n // block) * -(-rows // product_plan.BLOCK_M),), THREADS, shared)

    def _columns_launch(
        self, m: int, rows: int, first: int, second: int, parts: int
    ) -> tuple[Launch, list[Any]]:
        block = product_plan.product_block(first)
        shared = product_plan.columns_shared(block, self._plan.parts, self._plan.product_stages)
        kernel = self._kernels[block].get_function("multiply_columns", shared)
        grid = (-(-m // product_plan.BLOCK_M), self._across(first, second), parts)
        each = math.ceil(rows / parts / product_plan.INNER) * product_plan.INNER
        return Launch(kernel, grid, THREADS, shared), [np.int64(rows), np.int32(each)]

    def _cut(self, m: int, first: int, second: int) -> tuple[int, int, int]:
        return (
            -(-m // product_plan.BLOCK_M) * self._across(first, second),
            self.WAVES,
            self.LEAST_ROWS,
        )

    def _across(self, first: int, second: int) -> int:
        """Blocks over the columns of the first operand and, unless it is narrow, of the second."""
        block = product_plan.product_block(first)
        return -(-first // block) + (-(-second // block) if second > product_plan.EXTRA else 0)


class WgmmaProducts(Products):
    """By kernels/lstm_products_wgmma.cu, for compute capability 9.0."""

    # Blocks that add up their parts before these are written, and the fewest rows of a block.
    PAIR, LEAST_ROWS = 2, 128
    # Then both go through the rows side by side, and what one has read the other finds in the L2 cache. Measured on an
    # H100 with 128 units and 1,024 windows: 7, 9, 11, 13 and 16 parts, which are 0.42 to 0.97 of it.
    SHARE_BESIDE_ROWS = 0.55
    CHOOSES_ORDER = True

    def __init__(self, device: Device, plan: Plan, sources: Sources, at_once: int = 1) -> None:
        super().__init__(device, plan, at_once)
        self._kernels = device.load(*sources.wgmma_products)

    def _rows_launch(self, rows: int, n: int) -> Launch:
        tile, shared = product_plan.WGMMA_ROWS_TILE, product_plan.wgmma_rows_shared(self._plan.parts)
        kernel = self._kernels.get_function("multiply_rows", shared)
        return Launch(kernel, (-(-n // tile) * -(-rows // tile),), product_plan.WGMMA_ROWS_THREADS, shared)

    def _columns_launch(
        self, m: int, rows: int, first: int, second: int, parts: int
    ) -> tuple[Launch, list[Any]]:
        tiles = self._tiles(first, second)
        shared = product_plan.wgmma_columns_shared(min(tiles, 2))
        name = "multiply_column" if tiles == 1 else "multiply_columns"
        if second <= product_plan.EXTRA:
            name += "_and_narrow"
        grid = (-(-m // product_plan.WGMMA_COLUMNS_M), -(-tiles // 2), self.PAIR * parts)
        kernel = self._kernels.get_function(name, shared)
        return Launch(kernel, grid, product_plan.WGMMA_COLUMNS_THREADS, shared), [np.int32(rows)]

    def _cut(self, m: int, first: int, second: int) -> tuple[int, int, int]:
        pairs = -(-self._tiles(first, second) // 2)
        # A block has a multiprocessor for itself, and launches that run at the same time share the GPU.
        blocks = self.PAIR * -(-m // product_plan.WGMMA_COLUMNS_M) * pairs * self._at_once
        return blocks, 1, self.PAIR * self.LEAST_ROWS

    def _tiles(self, first: int, second: int) -> int:
        """Tiles of columns of the first operand and, unless it is narrow, of the second."""
        tile = product_plan.WGMMA_TILE
        return -(-first // tile) + (-(-second // tile) if second > product_plan.EXTRA else 0)


def products(device: Device, plan: Plan, sources: Sources, at_once: int = 1) -> Products:
    """The products of a plan; see ``Products``."""
    return (WgmmaProducts if plan.wgmma else MmaProducts)(device, plan, sources, at_once)
