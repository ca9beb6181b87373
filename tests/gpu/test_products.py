"""The products over all rows, by both kinds of kernels, against float64."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from hpc_lstm.cuda.device import Device
from hpc_lstm.cuda.device_array import DeviceArray
from hpc_lstm.model.engines.cuda.products import Matrix, MmaProducts, Products, WgmmaProducts
from hpc_lstm.model.engines.cuda.sources import Sources

# Rows, columns of a, of the first and of the second operand: whole tiles, tails of each, narrow operands, one part, an
# odd number of tiles.
SHAPES = [
    (3840, 256, 64, 64),
    (3840, 256, 64, 16),
    (1000, 64, 16, 16),
    (888, 64, 16, 48),
    (5000, 192, 48, 48),
    (2000, 640, 160, 160),
    (2000, 640, 160, 16),
    (30720, 512, 128, 128),
    (72, 2048, 512, 512),
    (8, 256, 64, 64),
    (1000, 256, 64, 112),
]
# Relative to the root of the number of summands, which are of order 1: sums of exact products, and of those of numbers
# that two bfloat16 hold to 16 bits.
LARGEST_ERROR = {1: 1e-5, 2: 1e-4}
# The results of multiply_rows are rounded, too.
LARGEST_ROUNDED = {1: 3e-2, 2: 1e-4}


@pytest.fixture(scope="module")
def device() -> Device:
    return Device()


@pytest.fixture(params=[WgmmaProducts, MmaProducts])
def kind(request: pytest.FixtureRequest, device: Device) -> type[Any]:
    if request.param is WgmmaProducts and device.capability != (9, 0):
        pytest.skip("these instructions are those of compute capability 9.0")
    return request.param


def made(kind: type[Any], device: Device, parts: int, units: int) -> Products:
    plan: Any = SimpleNamespace(parts=parts, units=units, product_stages=2)
    return kind(device, plan, Sources(plan, 2, True, plan))


def split(values: np.ndarray, parts: int) -> tuple[np.ndarray, np.ndarray]:
    """The parts of numbers, and what they are together."""
    first = values.astype(ml_dtypes.bfloat16)
    both = [first, (values - first.astype(np.float32)).astype(ml_dtypes.bfloat16)][:parts]
    return np.stack(both).view(np.uint16), np.sum([one.astype(np.float64) for one in both], axis=0)


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_products_are_those_of_float64(
    device: Device, kind: type[Any], parts: int, shape: tuple[int, int, int, int]
) -> None:
    rows, m, first, second = shape
    random = np.random.default_rng(0)
    products = made(kind, device, parts, first)

    def matrix(width: int) -> tuple[Matrix, np.ndarray]:
        packed, values = split(random.normal(size=(rows, width)).astype(np.float32), parts)
        return Matrix(device.to_device(packed), 0, rows * width, width), values

    (a, left), operands = matrix(m), [matrix(first), matrix(second)]
    count = products.splits(m, first, second, rows)
    outs = [poisoned(device, (count, m, width)) for width in (first, second)]
    (one, _), (other, _) = operands
    products.multiply_columns(a, rows, (one, outs[0]), (other, outs[1]))
    for (_, values), out in zip(operands, outs, strict=True):
        error = np.abs(out.numpy().astype(np.float64).sum(0) - left.T @ values).max()
        assert error < LARGEST_ERROR[parts] * np.sqrt(rows)

    packed, right = split(random.normal(size=(first, m)).astype(np.float32), parts)
    bias = random.normal(size=first).astype(np.float32)
    out = device.to_device(np.full((parts, rows, first), 0x7FC0, np.uint16))
    products.multiply_rows(a, rows, device.to_device(packed), out, first, device.to_device(bias))
    found = out.numpy().view(ml_dtypes.bfloat16).astype(np.float64).sum(0)
    assert np.abs(found - (left @ right.T + bias)).max() < LARGEST_ROUNDED[parts] * np.sqrt(m)


def poisoned(device: Device, shape: tuple[int, ...]) -> DeviceArray:
    return device.to_device(np.full(shape, np.nan, np.float32))
