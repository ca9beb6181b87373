"""Every kernel against NumPy in float64 and the host backend: fresh random inputs, poisoned outputs, odd shapes."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hpc_lstm.cuda import compiler
from hpc_lstm.cuda.device import THREADS
from hpc_lstm.cuda.device_array import DeviceArray
from hpc_lstm.preprocess import host
from hpc_lstm.preprocess.cuda_backend import CudaBackend
from hpc_lstm.preprocess.cuda_kernels import Resident, target_places
from hpc_lstm.preprocess.sampler import ShuffledSampler, permute

# Under compute-sanitizer everything takes a hundred times as long.
SANITIZED = "GPU_SANITIZER" in os.environ
FLOATS = [np.float32, np.float64]
LENGTHS = [
    [1],
    [7],
    [1, 0, 2, 0, 0, 3],
    [0, 0, 5],
    [1000, 1, 1, 30_000, 0, 33],
    [3] * 3000,
    [40_001],
]
COLUMNS = [1, 2, 3, 4, 5, 6, 7, 8, 17, 255, 256, 257, 700]
if SANITIZED:
    LENGTHS = [[1], [1, 0, 2, 0, 0, 3], [1000, 1, 1, 9_000, 0, 33], [3] * 300]
    COLUMNS = [1, 3, 6, 8, 257]


@pytest.fixture(scope="module")
def cuda() -> CudaBackend:
    return CudaBackend()


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    seed = np.random.SeedSequence().entropy
    print("seed", seed)  # shown when the test fails
    return np.random.default_rng(seed)


def offsets_of(lengths: list[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def numbers(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Numbers of every kind: both signs, many magnitudes, NaN, infinities, denormals, both zeros."""
    values = rng.normal(size=shape) * 10.0 ** rng.integers(-6, 7, shape)
    kinds = rng.integers(0, 40, shape)
    tiny = np.finfo(dtype).smallest_subnormal
    for kind, special in enumerate((np.nan, np.inf, -np.inf, 0.0, -0.0)):
        values[kinds == kind] = special
    values = values.astype(dtype)
    values[kinds == 5] = tiny
    values[kinds == 6] = -3 * tiny
    return values


def at_offset(cuda: CudaBackend, array: np.ndarray, elements: int) -> DeviceArray:
    """The array on the device, beginning some elements after an aligned address."""
    room = cuda.device.empty((array.size + elements,), array.dtype)
    moved = DeviceArray(
        cuda.device, room, room.pointer + elements * array.dtype.itemsize, array.shape, array.dtype
    )
    moved.set(array)
    return moved


class Guarded:
    """An output full of poison, with more of it on both sides that must stay."""

    SIDE = 64

    def __init__(self, cuda: CudaBackend, shape: tuple[int, ...], dtype: Any = np.float32) -> None:
        size = int(np.prod(shape))
        self._all = cuda.device.to_device(np.full(size + 2 * self.SIDE, -123.25, dtype))
        pointer = self._all.pointer + self.SIDE * self._all.dtype.itemsize
        self.array = DeviceArray(cuda.device, self._all, pointer, shape, dtype)

    def read(self) -> np.ndarray:
        everything = self._all.numpy()
        assert (everything[: self.SIDE] == -123.25).all(), "written before the output"
        assert (everything[-self.SIDE :] == -123.25).all(), "written after the output"
        return everything[self.SIDE : -self.SIDE].reshape(self.array.shape)


def extremes(rows: np.ndarray, begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low, high = np.full((len(begin), rows.shape[1]), np.inf), np.full((len(begin), rows.shape[1]), -np.inf)
    for s, (first, stop) in enumerate(zip(begin, end, strict=True)):
        if first < stop:
            low[s] = np.fmin.reduce(rows[first:stop].astype(np.float64), axis=0, initial=np.inf)
            high[s] = np.fmax.reduce(rows[first:stop].astype(np.float64), axis=0, initial=-np.inf)
    return low, high


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("columns", COLUMNS)
def test_fit_finds_the_extremes(
    cuda: CudaBackend, rng: np.random.Generator, columns: int, dtype: Any
) -> None:
    for lengths in LENGTHS:
        offsets = offsets_of(lengths)
        rows = numbers(rng, (int(offsets[-1]), columns), dtype)
        rows[:, rng.integers(columns)] = np.nan
        for shift in (0, 1, 3):
            low, high = cuda.fit_minmax(at_offset(cuda, rows, shift), offsets)
            wanted = extremes(rows, offsets[:-1], offsets[1:])
            np.testing.assert_array_equal(low, wanted[0])
            np.testing.assert_array_equal(high, wanted[1])


@pytest.mark.parametrize("dtype", FLOATS)
def test_fit_between_rows_that_leave_gaps(cuda: CudaBackend, rng: np.random.Generator, dtype: Any) -> None:
    rows = numbers(rng, (50_000, 5), dtype)
    edges = np.sort(rng.integers(0, 50_001, 400))
    begin, end = edges[::2], edges[1::2]
    low, high = cuda.minmax_between(cuda.on_device(rows), begin, end)
    wanted = extremes(rows, begin, end)
    np.testing.assert_array_equal(low, wanted[0])
    np.testing.assert_array_equal(high, wanted[1])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("columns", COLUMNS)
def test_transform_to_the_bit(cuda: CudaBackend, rng: np.random.Generator, columns: int, dtype: Any) -> None:
    for lengths in LENGTHS:
        offsets = offsets_of(lengths)
        rows = numbers(rng, (int(offsets[-1]), columns), dtype)
        scale = rng.normal(size=(len(lengths), columns))
        shift = rng.normal(size=(len(lengths), columns))
        of_row = np.repeat(np.arange(len(lengths)), lengths)
        with np.errstate(all="ignore"):
            wanted = (rows.astype(np.float64) * scale[of_row] + shift[of_row]).astype(np.float32)
        for moved in (0, 2, 3):
            out = Guarded(cuda, rows.shape)
            cuda.launch_transform(
                at_offset(cuda, rows, moved),
                cuda.device.to_device(offsets),
                cuda.device.to_device(scale),
                cuda.device.to_device(shift),
                out.array,
            )
            np.testing.assert_array_equal(out.read(), wanted)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("columns", [1, 5, 6, 100, 255, 256, 257])
def test_moments_beside_numpy(cuda: CudaBackend, rng: np.random.Generator, columns: int, dtype: Any) -> None:
    for lengths in LENGTHS:
        offsets = offsets_of(lengths)
        rows = (rng.normal(size=(int(offsets[-1]), columns)) + 1e3).astype(dtype)
        rows[rng.random(rows.shape) < 0.05] = np.nan
        count, mean, squares = cuda.fit_moments(rows, offsets)
        for s in range(len(lengths)):
            part = rows[offsets[s] : offsets[s + 1]].astype(np.longdouble)
            known = (~np.isnan(part)).sum(0)
            np.testing.assert_array_equal(count[s], known)
            true_mean = np.nansum(part, 0) / np.maximum(known, 1)
            np.testing.assert_allclose(mean[s], true_mean.astype(float), rtol=1e-14)
            true_squares = np.nansum((part - true_mean) ** 2, 0).astype(float)
            np.testing.assert_allclose(squares[s], true_squares, rtol=1e-11, atol=1e-18)
        again = cuda.fit_moments(rows, offsets)
        for first, second in zip((count, mean, squares), again, strict=True):
            np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shifts", [(0, 0), (1, 1), (3, 0)])
def test_errors_are_right_and_the_same_each_time(
    cuda: CudaBackend, rng: np.random.Generator, shifts: tuple[int, int], dtype: Any
) -> None:
    for lengths in ([1], [0, 5, 0], [100_003], [32_768, 32_768, 1], [3] * 5000, [70_000, 0, 1, 1_000_000, 5]):
        offsets = offsets_of(lengths)
        forecast = rng.normal(size=int(offsets[-1])).astype(dtype)
        actual = (forecast + rng.normal(size=len(forecast)) * 0.1).astype(dtype)
        forecast[rng.random(len(forecast)) < 0.01] = np.nan
        on_device = at_offset(cuda, forecast, shifts[0]), at_offset(cuda, actual, shifts[1])
        found = cuda.errors(*on_device, offsets)
        wanted = host.errors(forecast, actual, offsets)
        np.testing.assert_array_equal(found[2], wanted[2])
        for ours, theirs in zip(found[:2], wanted[:2], strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-11)  # NumPy adds a million in sequence
        for _ in range(3):
            for first, second in zip(found, cuda.errors(*on_device, offsets), strict=True):
                np.testing.assert_array_equal(first, second)


def test_errors_of_infinities_are_infinite_or_no_number(cuda: CudaBackend) -> None:
    forecast = np.array([np.inf, 1.0, np.inf, 2.0])
    actual = np.array([1.0, 1.0, np.inf, np.nan])
    squares, absolutes, counts = cuda.errors(forecast, actual, np.array([0, 2, 3, 4]))
    assert squares[0] == absolutes[0] == np.inf
    assert np.isnan(squares[1])
    assert squares[2] == 0
    assert counts.tolist() == [2, 1, 0]


# The order that gather computes on the way, alone: a kernel around a device function of kernels/windows.cuh.
ORDER_KERNEL = """
extern "C" __global__ void order(const int64 first, const int64 count, const int64 length, const uint32* keys,
                                 int64* numbers) {
    const int64 at = int64(blockIdx.x) * THREADS + threadIdx.x;
    if (at < count) numbers[at] = ordered(first + at, length, keys);
}
"""
Order = Callable[[int, int, int, int, int], np.ndarray]


@pytest.fixture(scope="module")
def device_order(cuda: CudaBackend, tmp_path_factory: pytest.TempPathFactory) -> Order:
    """Window numbers at positions first..first+count of a random order of ``length``, found on the device."""
    import pycuda.driver

    path = tmp_path_factory.mktemp("order") / "order.cu"
    source = compiler.kernel_source("windows")
    path.write_text(source.read_text() + ORDER_KERNEL)
    for name, text in compiler.included_headers(source).items():
        path.with_name(name).write_bytes(text)
    code = compiler.compile_kernels(path, {"VALUE": "double"}, cuda.device.architecture)
    with cuda.device.current():
        kernel = pycuda.driver.module_from_buffer(code).get_function("order")

    def order(first: int, count: int, length: int, seed: int, stream: int) -> np.ndarray:
        passes = range(first // length, (first + count - 1) // length + 1)
        numbers = cuda.device.empty((count,), np.int64)
        start = first - passes[0] * length
        cuda.device.launch(
            kernel,
            -(-count // THREADS),
            *(np.int64(start), np.int64(count), np.int64(length), cuda.keys(seed, stream, passes), numbers),
        )
        return numbers.numpy()

    return order


@pytest.mark.parametrize("length", [1, 2, 3, 5, 1000, 2**20 + 7, 2**31 - 1, 2**31 + 5, 2**33 + 1, 2**40 + 3])
def test_permute_gives_the_hosts_order(device_order: Order, rng: np.random.Generator, length: int) -> None:
    seed, stream = (int(key) for key in rng.integers(0, 2**31, 2))
    first = max(0, length - 50)
    count = min(3 * length, 100) + 50
    found = device_order(first, count, length, seed, stream)
    positions = first + np.arange(count)
    wanted = np.concatenate(
        [
            permute(positions[positions // length == number] % length, length, seed, stream, int(number))
            for number in np.unique(positions // length)
        ]
    )
    np.testing.assert_array_equal(found, wanted)


def test_permute_is_a_permutation(device_order: Order) -> None:
    for length in (1, 6, 1023, 65_537):
        assert sorted(device_order(0, length, length, 3, 0).tolist()) == list(range(length))


def resident(
    cuda: CudaBackend,
    rng: np.random.Generator,
    counts: list[int],
    columns: int,
    window: int,
    tail: int,
    dtype: Any,
) -> tuple[Resident, np.ndarray, np.ndarray, np.ndarray]:
    lengths = [count + tail for count in counts]
    rows = numbers(rng, (sum(lengths), columns), dtype)
    scale, shift = rng.normal(size=(2, len(counts), columns))
    to_device = cuda.device.to_device
    places = to_device(target_places(window, columns, [tail - window + 1]))
    made = Resident(
        *(to_device(rows), to_device(offsets_of(counts)), to_device(scale), to_device(shift), places),
        *(window, tail),
    )
    return made, rows, scale, shift


def cut(
    rows: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    counts: list[int],
    which: np.ndarray,
    made: Resident,
) -> tuple[np.ndarray, np.ndarray]:
    """The windows by definition."""
    edges = offsets_of(counts)
    segment = np.searchsorted(edges, which, side="right") - 1
    start = which + segment * made.tail
    with np.errstate(all="ignore"):
        found = rows[start[:, None] + np.arange(made.window)].astype(np.float64)
        inputs = (found * scale[segment, None] + shift[segment, None]).astype(np.float32)[:, :, :-1]
        last = rows[start + made.tail, -1].astype(np.float64)
        targets = (last * scale[segment, -1] + shift[segment, -1]).astype(np.float32)
    return inputs, targets


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("window", "features", "horizon"), [(1, 1, 1), (60, 5, 1), (7, 3, 4), (33, 40, 2), (2, 100, 1)]
)
def test_gather_cuts_and_scales_to_the_bit(
    cuda: CudaBackend, rng: np.random.Generator, window: int, features: int, horizon: int, dtype: Any
) -> None:
    for counts in ([1], [5, 1, 300], [2] * 2000, [40_000, 7]):
        tail = window + horizon - 1
        made, rows, scale, shift = resident(cuda, rng, counts, features + 1, window, tail, dtype)
        for size in (1, 7, 8, 9, 500):
            which = rng.integers(0, sum(counts), size)
            wanted = cut(rows, scale, shift, counts, which, made)
            inputs = Guarded(cuda, (size, window, features))
            targets = Guarded(cuda, (size,))
            cuda.launch_gather(made, cuda.device.to_device(which), None, inputs.array, targets.array)
            np.testing.assert_array_equal(inputs.read(), wanted[0])
            np.testing.assert_array_equal(targets.read(), wanted[1])


def test_gather_takes_every_target_at_its_horizon(cuda: CudaBackend, rng: np.random.Generator) -> None:
    counts, window, horizons, features = [37, 1, 80], 12, [1, 5, 20, 5], 3
    tail = window + max(horizons) - 1
    made, rows, scale, shift = resident(cuda, rng, counts, features + len(horizons), window, tail, np.float64)
    places = cuda.device.to_device(target_places(window, features + len(horizons), horizons))
    made = dataclasses.replace(made, places=places)
    which = rng.permutation(sum(counts))
    inputs = Guarded(cuda, (len(which), window, features))
    targets = Guarded(cuda, (len(which), len(horizons)))
    cuda.launch_gather(made, cuda.device.to_device(which), None, inputs.array, targets.array)
    segment = np.searchsorted(offsets_of(counts), which, side="right") - 1
    last = which + segment * tail + window - 1
    for number, horizon in enumerate(horizons):
        column = features + number
        expected = rows[last + horizon, column] * scale[segment, column] + shift[segment, column]
        np.testing.assert_array_equal(targets.read()[:, number], expected.astype(np.float32))
    found = rows[last[:, None] + np.arange(1 - window, 1), :features]
    expected = found * scale[segment, None, :features] + shift[segment, None, :features]
    np.testing.assert_array_equal(inputs.read(), expected.astype(np.float32))


def test_gather_time_major_and_in_random_order(cuda: CudaBackend, rng: np.random.Generator) -> None:
    counts, window, features, batch, steps = [300, 5, 71], 9, 4, 50, 8
    made, rows, scale, shift = resident(cuda, rng, counts, features + 1, window, window, np.float64)
    order = ShuffledSampler(sum(counts), batch, 11, 3)
    order.take(5)
    number, position = order.state()
    keys = cuda.keys(11, 3, range(number, number + 3))
    inputs = Guarded(cuda, (steps, window, batch, features))
    targets = Guarded(cuda, (steps * batch,))
    cuda.launch_gather(
        made, None, (position, order.length, keys), inputs.array, targets.array, batch=batch, time_major=True
    )
    which = order.take(steps)
    wanted = cut(rows, scale, shift, counts, which.reshape(-1), made)
    by_batch = wanted[0].reshape(steps, batch, window, features).transpose(0, 2, 1, 3)
    np.testing.assert_array_equal(inputs.read(), by_batch)
    np.testing.assert_array_equal(targets.read(), wanted[1])


@pytest.mark.skipif(SANITIZED, reason="would take hours under compute-sanitizer")
def test_more_than_two_to_the_31_elements(cuda: CudaBackend, rng: np.random.Generator) -> None:
    columns, window = 8, 60
    count = 2**31 // columns + 5_000_003
    needed = count * columns * 8
    if cuda.device.free_bytes() < needed + 2**30:
        pytest.fail(f"needs {needed / 2**30:.0f} GiB of free GPU memory")
    rows = cuda.device.zeros((count, columns), np.float32)
    ends = rng.normal(size=(100, columns)).astype(np.float32)
    end = DeviceArray(
        cuda.device, rows, rows.pointer + 4 * columns * (count - 100), ends.shape, np.dtype(np.float32)
    )
    end.set(ends)
    offsets = np.array([0, 100, count - 70, count], np.int64)
    low, high = cuda.fit_minmax(rows, offsets)
    np.testing.assert_array_equal(low[1:], [np.minimum(ends[:30].min(0), 0), ends[30:].min(0)])
    np.testing.assert_array_equal(high[1:], [np.maximum(ends[:30].max(0), 0), ends[30:].max(0)])
    scale, shift = np.full((3, columns), 2.0), np.full((3, columns), 1.0)
    out = cuda.transform(rows, offsets, scale, shift)
    last = DeviceArray(
        cuda.device, out, out.pointer + 4 * columns * (count - 100), ends.shape, np.dtype(np.float32)
    )
    np.testing.assert_array_equal(last.numpy(), (ends.astype(np.float64) * 2 + 1).astype(np.float32))
    squares, _, counts = cuda.errors(rows, out, np.array([0, count * columns], np.int64))
    inside = ends.astype(np.float64)
    known = (count - 100) * columns + np.square(inside - last.numpy()).sum()
    assert squares[0] == pytest.approx(known, rel=1e-6)
    assert counts[0] == count * columns
    made = Resident(
        rows,
        cuda.device.to_device(np.array([0, count - window], np.int64)),
        cuda.device.to_device(np.ones((1, columns))),
        cuda.device.to_device(np.zeros((1, columns))),
        cuda.device.to_device(target_places(window, columns, [1])),
        window,
        window,
    )
    inputs = cuda.device.empty((1, window, columns - 1), np.float32)
    targets = cuda.device.empty((1,), np.float32)
    cuda.launch_gather(made, cuda.device.to_device(np.array([count - window - 1])), None, inputs, targets)
    np.testing.assert_array_equal(inputs.numpy()[0], ends[-window - 1 : -1, :-1])
    assert targets.numpy()[0] == ends[-1, -1]
