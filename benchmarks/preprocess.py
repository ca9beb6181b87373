"""Is the host backend as fast as scikit-learn and ``sliding_window_view``, and how much memory does it take?

    python benchmarks/preprocess.py [--symbols N] [--days D] [--features F] [--window T] [--rounds R]

Both fit min-max scaling per symbol on the same float64 prices, scale to float32, and copy every window out
once, in batches, in the same random order. They take turns; the ratio of each turn is kept. The same program
prepares the slice of rank 0 of 4 of a large universe (5,000 symbols of 2,500 days, 5 columns) from made-up
values, and notes by how much the process grew. Results go to ``results/preprocess.json``.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from itertools import pairwise
from typing import Any

import numpy as np
from machine import describe, write_results
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.preprocessing import MinMaxScaler

from hpc_lstm.config import DataConfig
from hpc_lstm.parallel.world import World
from hpc_lstm.preprocess import host, prepare, scaler
from hpc_lstm.preprocess.host_backend import HostBackend

BATCH = 256


def ours(rows: np.ndarray, offsets: np.ndarray, window: int, order: np.ndarray) -> tuple[float, float]:
    """Seconds to fit and scale, and to cut all windows."""
    begin = time.perf_counter()
    names = [str(s) for s in range(len(offsets) - 1)]
    fitted = scaler.minmax(names, [], *host.fit_minmax(rows, offsets), (0.0, 1.0))
    scaled = host.transform(rows, offsets, fitted.scale, fitted.shift)
    middle = time.perf_counter()
    for numbers in order:
        host.gather(scaled, numbers, window)
    return middle - begin, time.perf_counter() - middle


def theirs(rows: np.ndarray, offsets: np.ndarray, window: int, order: np.ndarray) -> tuple[float, float]:
    """The same by scikit-learn and NumPy."""
    begin = time.perf_counter()
    scaled = np.empty(rows.shape, np.float32)
    for low, high in pairwise(offsets):
        scaled[low:high] = MinMaxScaler().fit_transform(rows[low:high])
    middle = time.perf_counter()
    windows = sliding_window_view(scaled, window, axis=0)
    for numbers in order:
        np.ascontiguousarray(windows[numbers].transpose(0, 2, 1))
    return middle - begin, time.perf_counter() - middle


class MadeUpStore:
    """A market store whose values cost no memory."""

    path, date_unit, columns = "made up", "D", ["open", "high", "low", "close", "volume"]

    def __init__(self, symbols: int, days: int) -> None:
        self.symbols = [f"S{number}" for number in range(symbols)]
        self.offsets = np.arange(symbols + 1, dtype=np.int64) * days
        self.bytes_read = 0

    def rows(self, start: int, stop: int) -> np.ndarray:
        self.bytes_read += (stop - start) * len(self.columns) * 8
        return np.sin(np.arange(start, stop)[:, None] * [0.1, 0.2, 0.3, 0.4, 0.5]) + 2


def one_rank(ranks: int) -> dict[str, Any]:
    """What rank 0 of ``ranks`` holds of the universe, and how long it took."""
    store: Any = MadeUpStore(5000, 2500)
    data = DataConfig(
        store="made up", features=list(store.columns), target="close", scaling="minmax", window=60
    )
    share = World(rank=0, size=ranks)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.perf_counter()
    prepared = prepare.prepare(store, data, share, HostBackend())
    seconds = time.perf_counter() - begin
    return {
        "ranks": ranks,
        "symbols": 5000,
        "days": 2500,
        "features": 5,
        "window": 60,
        "train_windows": len(prepared.train),
        "held_mb": round((prepared.train.nbytes + prepared.validation.nbytes) / 1e6, 1),
        "peak_growth_mb": round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3, 1),
        "read_mb": round(store.bytes_read / 1e6, 1),
        "seconds": round(seconds, 2),
    }


def spread(values: list[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    return {
        name: round(float(f(values)), 4) for name, f in (("median", np.median), ("min", min), ("max", max))
    }


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, value in (("symbols", 200), ("days", 2500), ("features", 5), ("window", 60), ("rounds", 7)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    memory = one_rank(4)  # first, while the process is small
    rng = np.random.default_rng(0)
    rows = 100 * np.exp(rng.normal(0, 0.02, (options.symbols * options.days, options.features)))
    offsets = np.arange(options.symbols + 1) * options.days
    starts = (offsets[:-1, None] + np.arange(options.days - options.window)).ravel()
    order = rng.permutation(starts)[: len(starts) // BATCH * BATCH].reshape(-1, BATCH)
    work = (rows, offsets, options.window, order)
    times: dict[str, list[tuple[float, float]]] = {"ours": [], "theirs": []}
    for turn in range(options.rounds + 1):
        pair = [("ours", ours), ("theirs", theirs)]
        for name, run in pair if turn % 2 else pair[::-1]:
            found = run(*work)
            if turn:  # the first turn warms up
                times[name].append(found)
    ratios = [sum(t) / sum(o) for o, t in zip(times["ours"], times["theirs"], strict=True)]
    result = {
        "question": "seconds of scikit-learn and sliding_window_view over seconds of the host backend",
        "machine": describe(),
        "numpy": np.__version__,
        "settings": vars(options) | {"batch": BATCH, "windows": int(order.size)},
        "ratio": spread(ratios),
        "fit_and_scale_s": {name: spread([t[0] for t in times[name]]) for name in times},
        "windows_s": {name: spread([t[1] for t in times[name]]) for name in times},
        "one_rank": memory,
    }
    print(json.dumps(result, indent=2))
    write_results("preprocess", result)


if __name__ == "__main__":
    main()
