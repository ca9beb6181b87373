"""How fast are the kernels on this machine's GPU, compared with a copy, PyTorch, CuPy and their own first versions?

    python benchmarks/kernels.py [--rows 67108864] [--quick]

Each implementation runs in its best configuration on the same memory (shared by DLPack): PyTorch both eager and
compiled, CuPy with fused kernels; the better of each counts. Times are measured on the GPU: ``REPEATS`` launches are
captured into a graph where the library supports it, and the median of ``ROUNDS`` replays is reported, the
implementations in turn. Bandwidth counts every byte that has to be transferred once. Large inputs exceed the cache by
far; windows are drawn at random from all rows, different ones at each launch. PyTorch and CuPy are skipped where they
are not installed.
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe, write_results

from hpc_lstm.cuda import compiler
from hpc_lstm.cuda.device import THREADS
from hpc_lstm.cuda.device_array import DeviceArray
from hpc_lstm.preprocess.cuda_backend import CudaBackend
from hpc_lstm.preprocess.cuda_kernels import CHUNK, Resident, target_places

COLUMNS, WINDOW, FEATURES, BATCH = 8, 60, 5, 8192
REPEATS, ROUNDS = 10, 15
# A call that takes longer is timed alone, and three times.
SLOW_S = 0.02
Side = Callable[[], None]


class Graphs:
    """CUDA graphs of PyCUDA launches, which PyCUDA itself does not offer, through the driver."""

    def __init__(self, cuda: CudaBackend) -> None:
        self._cuda = cuda
        self._driver = ctypes.CDLL("libcuda.so.1")

    def captured(self, work: Side) -> Side:
        stream = ctypes.c_void_p(self._cuda.device.stream.handle)
        graph, ready = ctypes.c_void_p(), ctypes.c_void_p()
        with self._cuda.device.current():
            self._call("cuStreamBeginCapture_v2", stream, 2)  # relaxed
            for _ in range(REPEATS):
                work()
            self._call("cuStreamEndCapture", stream, ctypes.byref(graph))
            self._call("cuGraphInstantiateWithFlags", ctypes.byref(ready), graph, ctypes.c_uint64(0))

        def replay() -> None:
            with self._cuda.device.current():
                self._call("cuGraphLaunch", ready, stream)

        return replay

    def elapsed(self, run: Side, stream: int) -> float:
        """Seconds that ``run`` takes on a stream of whatever library."""
        begin, end, taken = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_float()
        for event in (begin, end):
            self._call("cuEventCreate", ctypes.byref(event), 0)
        self._call("cuEventRecord", begin, ctypes.c_void_p(stream))
        run()
        self._call("cuEventRecord", end, ctypes.c_void_p(stream))
        self._call("cuEventSynchronize", end)
        self._call("cuEventElapsedTime", ctypes.byref(taken), begin, end)
        for event in (begin, end):
            self._call("cuEventDestroy_v2", event)
        return taken.value / 1e3

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._driver, name)(*arguments)
        if code:
            raise RuntimeError(f"{name} returned {code}")


class Bench:
    """Everything that is timed on one GPU."""

    def __init__(self, rows: int, rounds: int) -> None:
        self.cuda = CudaBackend()
        self.device = self.cuda.device
        self.graphs = Graphs(self.cuda)
        self.rows_count, self.rounds = rows, rounds
        self.rng = np.random.default_rng(0)
        self.torch, self.cupy = _optional("torch"), _optional("cupy")
        tile = self.rng.normal(100, 20, (2**20, COLUMNS)).astype(np.float32)
        self.rows, self.other = self.tiled(tile, rows), self.tiled(tile[::-1].copy(), rows)
        self.out = self.device.empty((rows, COLUMNS), np.float32)
        with self.device.current():
            import pycuda.driver

            self.driver = pycuda.driver
            code = compiler.compile_kernels(
                Path(__file__).with_name("simple_kernels.cu"), {}, self.device.architecture
            )
            self.simple = pycuda.driver.module_from_buffer(code)

    def tiled(self, tile: np.ndarray, rows: int) -> DeviceArray:
        array = self.device.empty((rows, COLUMNS), np.float32)
        for start in range(0, rows, len(tile)):
            part = tile[: min(len(tile), rows - start)]
            self.device.upload(array.pointer + start * COLUMNS * 4, part)
        return array

    # -- timing ----------------------------------------------------------------------------------------

    def time(self, sides: dict[str, Side]) -> dict[str, float]:
        """Median seconds a call of each side, in turns; a side that fails is told and left out."""
        ready: dict[str, tuple[Side, Any, int]] = {}
        slow = set()
        for name, work in sides.items():
            try:
                work()
                self._synchronize()
                once = self._once(work, self._stream(name))
                if once > SLOW_S:
                    slow.add(name)
                ready[name] = (work, self._stream(name), 1) if once > SLOW_S else self._prepared(name, work)
                ready[name][0]()
                self._synchronize()
            except Exception as error:
                print(f"  {name}: left out: {type(error).__name__}: {str(error)[:200]}")
        taken: dict[str, list[float]] = {name: [] for name in ready}
        for turn in range(self.rounds):
            for name, (run, stream, count) in ready.items():
                if turn < 3 or name not in slow:
                    taken[name].append(self._once(run, stream) / count)
        return {name: statistics.median(times) for name, times in taken.items()}

    def _stream(self, name: str) -> int:
        if name.startswith("torch"):
            return int(self.torch.cuda.current_stream().cuda_stream)
        if name == "CuPy":
            return int(self.cupy.cuda.get_current_stream().ptr)
        return int(self.device.stream.handle)

    def _prepared(self, name: str, work: Side) -> tuple[Side, Any, int]:
        if name.startswith("torch"):
            torch = self.torch
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                for _ in range(REPEATS):
                    work()
            return graph.replay, self._stream(name), REPEATS
        if name == "CuPy":

            def several() -> None:
                for _ in range(REPEATS):
                    work()

            return several, self._stream(name), REPEATS
        return self.graphs.captured(work), self._stream(name), REPEATS

    def _once(self, run: Side, stream: int) -> float:
        with self.device.current():
            return self.graphs.elapsed(run, stream)

    def _synchronize(self) -> None:
        with self.device.current():
            self.driver.Context.synchronize()

    # -- the questions ---------------------------------------------------------------------------------

    def copy(self) -> float:
        """Bytes a second of a device-to-device copy, read and written: the driver's or PyTorch's, the faster."""

        def work() -> None:
            self.driver.memcpy_dtod_async(
                self.out.pointer, self.rows.pointer, self.rows.nbytes, self.device.stream
            )

        sides: dict[str, Side] = {"driver": work}
        if self.torch:
            given, out = self.torch.from_dlpack(self.rows), self.torch.from_dlpack(self.out)
            sides["torch"] = lambda: out.copy_(given)
        return 2 * self.rows.nbytes / min(self.time(sides).values())

    def segments(self, count: int) -> np.ndarray:
        """Edges of ``count`` segments of very unequal length that fill the rows."""
        if count == 1:
            return np.array([0, self.rows_count], np.int64)
        weights = self.rng.lognormal(0, 1.5, count)
        edges = np.concatenate([[0], np.cumsum(weights)]) / weights.sum() * self.rows_count
        return np.round(edges).astype(np.int64)

    def fit(self, segments: int) -> dict[str, float]:
        cuda, offsets = self.cuda, self.segments(segments)
        edges = self.device.to_device(offsets)
        begin, end = edges.view((segments,)), self.device.to_device(offsets[1:])
        low, high = (
            self.device.to_device(np.full((segments, COLUMNS), sign * np.inf, np.float32)) for sign in (1, -1)
        )
        simple = self.simple.get_function("fit")
        sides: dict[str, Side] = {
            "ours": lambda: cuda.launch_fit(self.rows, begin, end, low, high),
            "first version": lambda: self.device.launch(
                simple, segments, self.rows, edges, np.int64(segments), np.int32(COLUMNS), low, high
            ),
        }
        if segments == 1:
            if self.torch:
                given = self.torch.from_dlpack(self.rows)
                sides["torch"] = lambda: (given.amin(0), given.amax(0))
                sides["torch, aminmax"] = lambda: self.torch.aminmax(given, dim=0)
                both = self.torch.compile(lambda x: (x.amin(0), x.amax(0)))
                sides["torch, compiled"] = lambda: both(given)
            if self.cupy:
                array = self.cupy.from_dlpack(self.rows)
                sides["CuPy"] = lambda: (array.min(axis=0), array.max(axis=0))
        return self.time(sides)

    def transform(self, segments: int) -> dict[str, float]:
        cuda, offsets = self.cuda, self.segments(segments)
        edges = self.device.to_device(offsets)
        scale = self.rng.normal(size=(segments, COLUMNS))
        shift = self.rng.normal(size=(segments, COLUMNS))
        by, plus = self.device.to_device(scale), self.device.to_device(shift)
        simple = self.simple.get_function("transform")
        total = self.rows_count * COLUMNS
        sides: dict[str, Side] = {
            "ours": lambda: cuda.launch_transform(self.rows, edges, by, plus, self.out),
            "first version": lambda: self.device.launch(
                simple,
                -(-total // THREADS),
                *(
                    self.rows,
                    edges,
                    np.int64(segments),
                    np.int64(total),
                    np.int32(COLUMNS),
                    by,
                    plus,
                    self.out,
                ),
            ),
        }
        if segments == 1:
            if self.torch:
                torch = self.torch
                given, out = torch.from_dlpack(self.rows), torch.from_dlpack(self.out)
                s, t = (torch.tensor(v[0], dtype=torch.float32, device="cuda") for v in (scale, shift))
                sides["torch"] = lambda: torch.addcmul(t, given, s, out=out)
                made = torch.compile(lambda x: x * s + t)
                sides["torch, compiled"] = lambda: made(given)
            if self.cupy:
                cp = self.cupy
                array, result = cp.from_dlpack(self.rows), cp.from_dlpack(self.out)
                cs, ct = cp.asarray(scale[0], np.float32), cp.asarray(shift[0], np.float32)
                kernel = cp.ElementwiseKernel("float32 x, float32 s, float32 t", "float32 y", "y = x * s + t")
                sides["CuPy"] = lambda: kernel(array, cs, ct, result)
        return self.time(sides)

    def errors(self, segments: int) -> dict[str, float]:
        cuda = self.cuda
        total = self.rows_count * COLUMNS
        offsets = self.device.to_device(self.segments(segments) * COLUMNS)
        forecast, actual = self.rows.view((total,)), self.other.view((total,))
        slots = self.device.empty((-(-total // CHUNK) + segments, 3), np.float64)
        arrived = self.device.zeros((segments,), np.uint32)
        results = self.device.zeros((3, segments), np.float64)
        simple, one = self.simple.get_function("errors"), self.device.zeros((1,), np.float64)
        sides: dict[str, Side] = {
            "ours": lambda: cuda.launch_errors(forecast, actual, offsets, slots, arrived, results)
        }
        if segments == 1:
            sides["first version"] = lambda: self.device.launch(
                simple, -(-total // THREADS), forecast, actual, np.int64(total), one
            )
            if self.torch:
                torch = self.torch
                a, b = torch.from_dlpack(forecast), torch.from_dlpack(actual)
                sides["torch"] = lambda: torch.nn.functional.mse_loss(a, b, reduction="sum")
                made = torch.compile(lambda x, y: (((x - y) ** 2).sum(), (x - y).abs().sum()))
                sides["torch, compiled"] = lambda: made(a, b)
            if self.cupy:
                cp = self.cupy
                x, y = cp.from_dlpack(forecast), cp.from_dlpack(actual)
                kernel = cp.ReductionKernel(
                    "float32 x, float32 y",
                    "float64 z",
                    "(double)(x - y) * (x - y)",
                    "a + b",
                    "z = a",
                    "0",
                    "sse",
                )
                sides["CuPy"] = lambda: kernel(x, y)
        return self.time(sides)

    def gather(self, dtype: Any, segments: int, how: str) -> dict[str, float]:
        """Windows of BATCH x WINDOW x FEATURES of rows of FEATURES + 1 columns."""
        columns = FEATURES + 1
        count = self.rows_count * COLUMNS * 4 // (columns * np.dtype(dtype).itemsize)
        lengths = np.diff(self.segments(segments)) * count // self.rows_count
        counts = np.maximum(1, lengths - WINDOW)
        counts[-1] = max(1, counts[-1] - max(0, int((counts + WINDOW).sum()) - count))
        windows = int(counts.sum())
        rows = self.rows.view((count, columns), dtype)
        made = Resident(
            rows,
            self.device.to_device(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)),
            self.device.to_device(self.rng.normal(size=(segments, columns))),
            self.device.to_device(self.rng.normal(size=(segments, columns))),
            self.device.to_device(target_places(WINDOW, columns, [1])),
            WINDOW,
            WINDOW,
        )
        chosen = [self.rng.integers(0, windows, BATCH) for _ in range(REPEATS)]
        on_device = [self.device.to_device(numbers) for numbers in chosen]
        keys = self.cuda.keys(0, 0, range(2))
        inputs = self.device.empty((BATCH, WINDOW, FEATURES), np.float32)
        targets = self.device.empty((BATCH,), np.float32)
        turn = iter(range(10**9))

        def ours() -> None:
            if how == "order":
                order = (next(turn) % 50 * BATCH, windows, keys)
                self.cuda.launch_gather(made, None, order, inputs, targets)
                return
            self.cuda.launch_gather(
                made, on_device[next(turn) % REPEATS], None, inputs, targets, time_major=how == "time-major"
            )

        sides: dict[str, Side] = {"ours": ours}
        if how == "numbers" and dtype == np.float32:
            simple = self.simple.get_function("gather")
            total = BATCH * WINDOW * FEATURES
            sides["first version"] = lambda: self.device.launch(
                simple,
                -(-total // THREADS),
                *(rows, np.int32(columns), np.int32(FEATURES), np.int32(WINDOW), np.int32(WINDOW)),
                *(made.edges, np.int64(segments), made.scale, made.shift),
                *(on_device[next(turn) % REPEATS], np.int64(total), inputs),
            )
            if self.torch and segments == 1:
                torch = self.torch
                given = torch.from_dlpack(rows)
                s, t = (torch.rand(FEATURES, device="cuda") for _ in range(2))
                steps = torch.arange(WINDOW, device="cuda")
                index = [torch.from_dlpack(numbers) for numbers in on_device]

                def torch_gather() -> Any:
                    where = index[next(turn) % REPEATS]
                    found = given[where[:, None] + steps]
                    return found[:, :, :FEATURES] * s + t, given[where + WINDOW, -1]

                sides["torch"] = torch_gather
                compiled = torch.compile(
                    lambda where: (
                        given[where[:, None] + steps][:, :, :FEATURES] * s + t,
                        given[where + WINDOW, -1],
                    )
                )
                sides["torch, compiled"] = lambda: compiled(index[next(turn) % REPEATS])
            if self.cupy and segments == 1:
                cp = self.cupy
                array = cp.from_dlpack(rows)
                cs, ct, after = (
                    cp.ones(FEATURES, np.float32),
                    cp.ones(FEATURES, np.float32),
                    cp.arange(WINDOW),
                )
                at = [cp.from_dlpack(numbers) for numbers in on_device]

                def cupy_gather() -> Any:
                    where = at[next(turn) % REPEATS]
                    return array[where[:, None] + after][:, :, :FEATURES] * cs + ct

                sides["CuPy"] = cupy_gather
        return self.time(sides)


def _optional(name: str) -> Any:
    try:
        module = __import__(name)
    except ImportError:
        print(f"{name} is not installed: left out")
        return None
    return module


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=2**26, help="rows of 8 columns of float32")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    options = parser.parse_args()
    bench = Bench(options.rows, 5 if options.quick else ROUNDS)
    size = bench.rows.nbytes
    found: dict[str, dict[str, Any]] = {}
    copy = bench.copy()
    plan: list[tuple[str, int, Callable[[], dict[str, float]]]] = []
    for segments in (1, 10_000, 100_000):
        name = f"{segments:,} segment{'s' if segments > 1 else ''}"
        plan += [
            (f"fit, {name}", size, lambda n=segments: bench.fit(n)),
            (f"transform, {name}", 2 * size, lambda n=segments: bench.transform(n)),
            (f"errors, {name}", 2 * size, lambda n=segments: bench.errors(n)),
        ]
    out = BATCH * (WINDOW * FEATURES + 1) * 4
    for dtype, segments, how in (
        (np.float32, 1, "numbers"),
        (np.float32, 10_000, "numbers"),
        (np.float32, 10_000, "order"),
        (np.float32, 10_000, "time-major"),
        (np.float64, 1, "numbers"),
        (np.float64, 10_000, "order"),
    ):
        read = BATCH * (WINDOW + 1) * (FEATURES + 1) * np.dtype(dtype).itemsize
        name = (
            f"gather {BATCH} x {WINDOW} x {FEATURES} by {how}, {np.dtype(dtype).name}, {segments:,} segments"
        )
        plan.append((name, read + out, lambda d=dtype, n=segments, h=how: bench.gather(d, n, h)))
    for name, moved, run in plan:
        times = run()
        found[name] = {
            "bytes": moved,
            "floor_us": moved / copy * 1e6,
            "us": {side: seconds * 1e6 for side, seconds in times.items()},
            "of_copy": {side: moved / seconds / copy for side, seconds in times.items()},
        }
        line = "  ".join(
            f"{side} {seconds * 1e6:.1f} us ({moved / seconds / copy:.0%})" for side, seconds in times.items()
        )
        print(f"{name}: floor {moved / copy * 1e6:.1f} us; {line}", flush=True)
    print(f"copy: {copy / 1e12:.2f} TB/s")
    results = {
        "machine": describe() | {"gpu": gpu_name(), "architecture": bench.device.architecture},
        "versions": {
            name: getattr(m, "__version__", None)
            for name, m in (("torch", bench.torch), ("cupy", bench.cupy))
        },
        "rows": options.rows,
        "columns": COLUMNS,
        "rounds": bench.rounds,
        "copy_bytes_per_second": copy,
        "kernels": found,
    }
    write_results("kernels", results)
    plot(results)


def gpu_name() -> str:
    import pycuda.driver

    return str(pycuda.driver.Device(0).name())


def plot(results: dict[str, Any]) -> None:
    """Bandwidth of every side as a share of the copy's, benchmarks/results/kernels.png."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = list(results["kernels"])
    sides = list(dict.fromkeys(side for one in results["kernels"].values() for side in one["of_copy"]))
    figure, axes = plt.subplots(figsize=(9, 0.55 * len(names) + 1.5), layout="constrained")
    height = 0.8 / len(sides)
    for number, side in enumerate(sides):
        shares = [results["kernels"][name]["of_copy"].get(side, 0) for name in names]
        places = np.arange(len(names)) + (number - (len(sides) - 1) / 2) * height
        axes.barh(places, shares, height, label=side)
    axes.set_yticks(np.arange(len(names)), names, fontsize=7)
    axes.invert_yaxis()
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel(
        f"bandwidth over a copy's ({results['copy_bytes_per_second'] / 1e12:.2f} TB/s) on {results['machine']['gpu']}"
    )
    axes.legend(fontsize=7)
    path = Path(__file__).parent / "results" / "kernels.png"
    figure.savefig(path, dpi=130)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
