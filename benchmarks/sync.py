"""What do rounds of clusters cost, and what do they do to the loss?

    python benchmarks/sync.py [--quick]

Three questions, answered with the protocol's own code (``sync.rounds``) against a folder:

- Loss after the same number of windows for 1, 2, 4 and 8 clusters, mean and DiLoCo's outer step, a round every 1, 4,
  16, 64 and 512 steps, on a made universe whose best possible error is known. The clusters are engines in this
  process that take turns; each has its own share of the symbols, and Adam's moments stay with it.
- Bytes per window that a cluster sends and receives, against an all-reduce of the gradients at each step, which moves
  2 (N - 1) / N of the vector each way.
- Time of a round against the size of the vector, and against the number of clusters, which then only bring vectors.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from machine import describe, write_results

from hpc_lstm import config as configuration
from hpc_lstm import preprocess
from hpc_lstm.market.store import MarketStore
from hpc_lstm.market.synthetic import synthesize
from hpc_lstm.preprocess.order import TrainOrder
from hpc_lstm.sync.errand import Errand
from hpc_lstm.sync.folder_store import FolderStore
from hpc_lstm.sync.rounds import Outcome, Rounds, Terms
from hpc_lstm.sync.seal import Seal
from hpc_lstm.world import World

BATCH = 32
# Amazon S3 Standard, us-east-1: https://aws.amazon.com/s3/pricing/
PUT_DOLLARS, GET_DOLLARS = 0.005 / 1000, 0.0004 / 1000
LOG = logging.getLogger("benchmark")


class Cluster:
    """One cluster's data and engine, used again by each experiment."""

    def __init__(self, store: Path, number: int, count: int) -> None:
        from hpc_lstm.model import engine

        config = configuration.parse(
            {
                "data": {
                    "store": str(store),
                    "features": ["log-returns"],
                    "target": "log-returns",
                    "scaling": "standard",
                    "window": 16,
                    "shard": f"{number + 1}/{count}",
                },
                "model": {"layers": 1, "units": 16, "dropout": 0.0},
                "train": {"batch_size": BATCH, "deterministic": True},
            },
            "benchmark",
        )
        self.data = preprocess.prepare(MarketStore(store), config.data, World(), preprocess.backend("host"))
        self.engine = engine.create(config, rank=number, threads=2)
        self.fresh = (self.engine.parameters(), self.engine.moments(), self.engine.state())
        self.restart()

    def restart(self) -> None:
        self.engine.set_parameters(self.fresh[0])
        self.engine.set_moments(self.fresh[1])
        self.engine.set_state(self.fresh[2])
        self.order = TrainOrder(len(self.data.train), BATCH, 0)

    def train(self, steps: int) -> None:
        while steps:
            count = min(steps, self.engine.steps_per_call)
            inputs, targets = self.data.train.next_batch(self.order, count)
            self.data.train.used_by(self.engine.step(inputs, targets, 3e-3))
            steps -= count

    def error(self) -> tuple[float, int]:
        """Sum of squared validation errors in scaled units, and their number."""
        windows = self.data.validation
        inputs, targets = windows.batch(np.arange(len(windows)))
        return windows.squared_error(self.engine.predict(inputs), targets), len(windows)


@contextmanager
def members(folder: Path, clusters: list[Cluster] | int, initial: np.ndarray, **terms: Any) -> Iterator[Any]:
    """As many sides of one run, joined, and how to let all of them meet at once."""
    count = clusters if isinstance(clusters, int) else len(clusters)
    store = FolderStore(folder)
    sides = [
        Rounds(Terms(cluster=f"c{number:03d}", expected=count, keep=2, **terms), Seal())
        for number in range(count)
    ]
    for side in sides:
        Errand(side.join(initial, {}, "0" * 64), store, "run/", LOG, 1).result()

    def meet(weights: list[np.ndarray], samples: int) -> list[Outcome]:
        errands = [
            Errand(side.meet(vector, samples), store, "run/", LOG, 1)
            for side, vector in zip(sides, weights, strict=True)
        ]
        return [errand.result() for errand in errands]

    yield sides, meet


def loss(clusters: list[Cluster], outer: str, every: int, windows: int) -> dict[str, Any]:
    """Validation error over all clusters' windows after they have trained on ``windows`` together."""
    steps = windows // (BATCH * len(clusters))
    for one in clusters:
        one.restart()
    initial = clusters[0].fresh[0]
    with (
        tempfile.TemporaryDirectory() as folder,
        members(Path(folder), clusters, initial, outer=outer) as (
            sides,
            meet,
        ),
    ):
        done = 0
        while done < steps:
            count = min(every, steps - done)
            for one in clusters:
                one.train(count)
            done += count
            weights = [one.engine.parameters() for one in clusters]
            for one, vector, outcome in zip(clusters, weights, meet(weights, done * BATCH), strict=True):
                one.engine.set_parameters(outcome.applied(vector))
        sums = [one.error() for one in clusters]
        moved = sides[0].bytes_put + sides[0].bytes_got
    mean = sum(total for total, _ in sums) / sum(count for _, count in sums)
    allreduce = 2 * 4 * len(initial) * 2 * (len(clusters) - 1) / len(clusters) / BATCH
    per_window = moved / (done * BATCH)
    return {
        "clusters": len(clusters),
        "outer": outer,
        "every": every,
        "rmse_scaled": float(np.sqrt(mean)),
        "bytes_per_window": per_window,
        "allreduce_bytes_per_window": allreduce,
        "fewer_bytes_than_allreduce": allreduce / per_window if len(clusters) > 1 else None,
    }


class Counting:
    """A folder that counts its requests by name."""

    def __init__(self, folder: Path) -> None:
        self._store, self.counts = FolderStore(folder), Counter[str]()

    def __getattr__(self, name: str) -> Any:
        self.counts[name] += 1
        return getattr(self._store, name)


def cost() -> dict[str, Any]:
    """Requests of a cluster of two that come to each round together, and what a day of them costs at list prices.

    A round a minute; a listing every two seconds while waiting half a minute for the other; the lease's beats.
    """
    turns, length = 20, 1000
    with tempfile.TemporaryDirectory() as folder:
        stores = [Counting(Path(folder)) for _ in range(2)]
        sides = [Rounds(Terms(cluster=f"c{n}", expected=2, keep=2), Seal()) for n in range(2)]
        for side, store in zip(sides, stores, strict=True):
            Errand(side.join(np.zeros(length, np.float32), {}, "0" * 64), store, "run/", LOG, 1).result()
            store.counts.clear()
        for turn in range(turns):
            errands = [
                Errand(side.meet(np.full(length, turn, np.float32), turn + 1), store, "run/", LOG, 1)
                for side, store in zip(sides, stores, strict=True)
            ]
            for errand in errands:
                errand.result()
    mean = {
        name: sum(store.counts[name] for store in stores) / 2 / turns
        for name in ("put_new", "put", "get", "list", "delete")
    }
    beats = 86_400 / 15
    puts_and_lists = 1440 * (mean["put_new"] + mean["put"] + mean["list"] + 15) + 2 * beats
    return {
        "requests_per_round": mean,
        "dollars_per_put_or_list": PUT_DOLLARS,
        "dollars_per_get": GET_DOLLARS,
        "dollars_per_cluster_and_day": puts_and_lists * PUT_DOLLARS + 1440 * mean["get"] * GET_DOLLARS,
    }


def round_time(count: int, length: int, turns: int) -> float:
    """Median seconds of a round of ``count`` clusters that bring vectors of ``length`` numbers."""
    generator = np.random.default_rng(0)
    taken = []
    with (
        tempfile.TemporaryDirectory() as folder,
        members(Path(folder), count, np.zeros(length, np.float32)) as (_, meet),
    ):
        for turn in range(turns):
            weights = [generator.normal(size=length).astype(np.float32) for _ in range(count)]
            begun = time.perf_counter()
            meet(weights, turn + 1)
            taken.append(time.perf_counter() - begun)
    return median(taken)


def best_rmse_scaled(store: MarketStore, cluster: Cluster) -> float:
    """The best possible error of the log return, in the scaling of the first cluster's symbols."""
    import h5py

    with h5py.File(store.path) as file:
        best = float(file.attrs["best_rmse_log"])
    scale = cluster.data.scaler.scale[:, cluster.data.scaler.columns.index("log-returns")]
    return best * float(np.sqrt(np.mean(np.square(scale))))


def plot(results: dict[str, Any], path: Path) -> None:
    """Loss against the interval, and time of a round."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for count in sorted({one["clusters"] for one in results["loss"]}):
        for outer, style in (("average", "-"), ("nesterov", "--")):
            points = [
                (o["every"], o["rmse_scaled"])
                for o in results["loss"]
                if (o["clusters"], o["outer"]) == (count, outer)
            ]
            left.plot(
                *zip(*points, strict=True),
                style,
                marker="o",
                label=f"{count} clusters, {outer}",
                color=f"C{count.bit_length()}",
            )
    left.axhline(results["best_rmse_scaled"], color="black", label="best possible")
    left.set(xscale="log", xlabel="steps between rounds", ylabel="validation RMSE, scaled")
    left.legend(fontsize=6)
    sizes = results["seconds_by_megabytes"]
    right.plot([float(size) for size in sizes], list(sizes.values()), marker="o", label="2 clusters, by size")
    right.set(xscale="log", yscale="log", xlabel="vector, MB", ylabel="seconds a round")
    right.legend()
    FigureCanvasAgg(figure).print_png(str(path))


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer clusters, sizes and windows")
    quick = parser.parse_args().quick
    counts, intervals = ((1, 2), (4, 16)) if quick else ((1, 2, 4, 8), (1, 4, 16, 64, 512))
    windows = BATCH * 8 * (32 if quick else 256)
    results: dict[str, Any] = {"machine": describe(), "windows": windows, "batch": BATCH, "loss": []}
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "market.h5"
        synthesize(store, symbols=16, days=800, seed=0)
        for count in counts:
            clusters = [Cluster(store, number, count) for number in range(count)]
            results.setdefault("best_rmse_scaled", best_rmse_scaled(MarketStore(store), clusters[0]))
            for every in intervals:
                for outer in ("average", "nesterov"):
                    found = loss(clusters, outer, every, windows)
                    results["loss"].append(found)
                    fewer = found["fewer_bytes_than_allreduce"]
                    print(
                        f"{count} clusters, {outer}, every {every}: RMSE {found['rmse_scaled']:.5f} "
                        f"(best {results['best_rmse_scaled']:.5f})"
                        + (f", {fewer:.1f} times fewer bytes" if fewer else ""),
                        flush=True,
                    )
    results["seconds_by_megabytes"] = {
        str(size): round_time(2, int(size * 250_000), 3)
        for size in ((0.1, 1, 10) if quick else (0.1, 1, 10, 100, 400))
    }
    results["seconds_by_clusters_0.1_MB"] = {
        str(count): round_time(count, 25_000, 3) for count in ((2, 8) if quick else (2, 4, 8, 16, 32, 64))
    }
    results["cost"] = cost()
    print(results["cost"])
    print(results["seconds_by_megabytes"], results["seconds_by_clusters_0.1_MB"])
    write_results("sync", results)
    plot(results, Path(__file__).parent / "results" / "sync.png")


if __name__ == "__main__":
    main()
