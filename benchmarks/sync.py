"""What do rounds of clusters cost, and what do they do to the loss?

    python benchmarks/sync.py [--quick] [--only loss|time|cost] [--url s3://bucket/prefix [--endpoint-url URL]]

Three questions, answered with the protocol's own code (``clusters.rounds``):

- Loss after the same number of windows for 1, 2, 4 and 8 clusters, mean and DiLoCo's outer step, vectors of float32
  and bfloat16, a round every 1 to 1024 steps, on a made universe whose best possible error is known. The clusters are
  engines in this process that take turns; each has its own share of the symbols, and Adam's moments stay with it.
- Bytes per window that all clusters send and receive together, and that the one which merges does, against an
  all-reduce of the gradients at each step, which moves 2 (N - 1) / N of the vector each way.
- Time of a round against the size of the vector, and against the number of clusters, which then only bring vectors;
  in a temporary folder, or in the object store at ``--url``, with credentials from where boto3 finds them.

With ``--only``, the other results of an earlier run are kept.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from machine import describe, write_results

from hpc_lstm import config as configuration
from hpc_lstm.clusters.adopting import RoundUpdate
from hpc_lstm.clusters.options import SyncOptions
from hpc_lstm.clusters.rounds import Rounds
from hpc_lstm.clusters.runner import Runner
from hpc_lstm.config import StorageConfig
from hpc_lstm.market.store import MarketStore
from hpc_lstm.market.synthetic import synthesize
from hpc_lstm.parallel.world import World
from hpc_lstm.preprocess import backends, prepare
from hpc_lstm.preprocess.sampler import ShuffledSampler
from hpc_lstm.storage.folder import FolderStore
from hpc_lstm.storage.objects import ObjectStore
from hpc_lstm.storage.signing import Signer
from hpc_lstm.storage.stores import open_store

BATCH = 32
# Amazon S3 Standard, us-east-1: https://aws.amazon.com/s3/pricing/
PUT_DOLLARS, GET_DOLLARS = 0.005 / 1000, 0.0004 / 1000
LOG = logging.getLogger("benchmark")


class Cluster:
    """One cluster's data and engine, used again by each experiment."""

    def __init__(self, store: Path, number: int, count: int) -> None:
        from hpc_lstm.model.engines import registry as engine

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
        self.data = prepare.prepare(MarketStore(store), config.data, World(), backends.create_backend("host"))
        self.engine = engine.create_engine(config, rank=number, threads=2)
        self.fresh = (self.engine.parameters(), self.engine.moments(), self.engine.state())
        self.restart()

    def restart(self) -> None:
        self.engine.set_parameters(self.fresh[0])
        self.engine.set_moments(self.fresh[1])
        self.engine.set_state(self.fresh[2])
        self.order = ShuffledSampler(len(self.data.train), BATCH, 0)

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
def members(
    store: ObjectStore, count: int, initial: np.ndarray, prefix: str = "run/", **options: Any
) -> Iterator[Any]:
    """As many sides of one run, joined, and how to synchronize them all."""
    sides = [
        Rounds(SyncOptions(cluster=f"c{number:03d}", expected=count, keep=2, **options), Signer())
        for number in range(count)
    ]
    for side in sides:
        Runner(side.join(initial, {}, "0" * 64), store, prefix, LOG, 1).result()

    def synchronize(weights: list[np.ndarray], samples: int) -> list[RoundUpdate]:
        runners = [
            Runner(side.synchronize(vector, samples), store, prefix, LOG, 1)
            for side, vector in zip(sides, weights, strict=True)
        ]
        return [runner.result() for runner in runners]

    yield sides, synchronize


def loss(clusters: list[Cluster], outer: str, every: int, windows: int, payload: str) -> dict[str, Any]:
    """Validation error over all clusters' windows after they have trained on ``windows`` together."""
    steps = windows // (BATCH * len(clusters))
    for one in clusters:
        one.restart()
    initial = clusters[0].fresh[0]
    with (
        tempfile.TemporaryDirectory() as folder,
        members(FolderStore(Path(folder)), len(clusters), initial, outer=outer, payload=payload) as (
            sides,
            synchronize,
        ),
    ):
        done = 0
        while done < steps:
            count = min(every, steps - done)
            for one in clusters:
                one.train(count)
            done += count
            weights = [one.engine.parameters() for one in clusters]
            for one, vector, update in zip(
                clusters, weights, synchronize(weights, done * BATCH), strict=True
            ):
                one.engine.set_parameters(update.apply(vector))
        sums = [one.error() for one in clusters]
        moved = [side.bytes_put + side.bytes_got for side in sides]
    mean = sum(total for total, _ in sums) / sum(count for _, count in sums)
    allreduce = 2 * 4 * len(initial) * 2 * (len(clusters) - 1) / len(clusters) / BATCH
    together, most = sum(moved) / len(moved) / (done * BATCH), max(moved) / (done * BATCH)
    return {
        "clusters": len(clusters),
        "outer": outer,
        "payload": payload,
        "every": every,
        "rmse_scaled": float(np.sqrt(mean)),
        "bytes_per_window": together,
        "bytes_per_window_of_the_busiest": most,
        "allreduce_bytes_per_window": allreduce,
        "fewer_bytes_than_allreduce": allreduce / together if len(clusters) > 1 else None,
        "fewer_bytes_of_the_busiest": allreduce / most if len(clusters) > 1 else None,
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
        sides = [Rounds(SyncOptions(cluster=f"c{n}", expected=2, keep=2), Signer()) for n in range(2)]
        for side, store in zip(sides, stores, strict=True):
            Runner(side.join(np.zeros(length, np.float32), {}, "0" * 64), store, "run/", LOG, 1).result()
            store.counts.clear()
        for turn in range(turns):
            runners = [
                Runner(side.synchronize(np.full(length, turn, np.float32), turn + 1), store, "run/", LOG, 1)
                for side, store in zip(sides, stores, strict=True)
            ]
            for runner in runners:
                runner.result()
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


def round_time(place: ObjectStore | None, count: int, length: int, turns: int) -> float:
    """Median seconds of a round of ``count`` clusters that bring vectors of ``length`` numbers."""
    generator = np.random.default_rng(0)
    taken = []
    prefix = f"benchmark-{uuid.uuid4().hex}/"
    with tempfile.TemporaryDirectory() as folder:
        store = place or FolderStore(Path(folder))
        try:
            with members(store, count, np.zeros(length, np.float32), prefix) as (_, synchronize):
                for turn in range(turns):
                    weights = [generator.normal(size=length).astype(np.float32) for _ in range(count)]
                    begun = time.perf_counter()
                    synchronize(weights, turn + 1)
                    taken.append(time.perf_counter() - begun)
        finally:
            for key, _ in store.list(prefix):
                store.delete(key)
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
    for count in sorted({one["clusters"] for one in results["loss"]} - {1}):
        for outer, payload, style in (
            ("average", "float32", "-"),
            ("nesterov", "float32", "--"),
            ("nesterov", "bfloat16", ":"),
        ):
            points = [
                (o["every"], o["rmse_scaled"])
                for o in results["loss"]
                if (o["clusters"], o["outer"], o["payload"]) == (count, outer, payload)
            ]
            left.plot(
                *zip(*points, strict=True),
                style,
                marker=".",
                label=f"{count} clusters, {outer}, {payload}",
                color=f"C{count.bit_length()}",
            )
    left.axhline(results["best_rmse_scaled"], color="black", label="best possible")
    left.set(xscale="log", xlabel="steps between rounds", ylabel="validation RMSE, scaled")
    left.legend(fontsize=6)
    for key, name in (("round_times", "folder"), ("round_times_object_store", "S3")):
        if key in results:
            sizes = results[key]["seconds_by_megabytes"]
            right.plot([float(size) for size in sizes], list(sizes.values()), marker="o", label=name)
    right.set(xscale="log", yscale="log", xlabel="vector, MB", ylabel="seconds a round of 2 clusters")
    right.legend()
    FigureCanvasAgg(figure).print_png(str(path))


def losses(quick: bool) -> dict[str, Any]:
    """Loss and bytes of each number of clusters, interval, outer step and encoding."""
    counts, intervals = ((1, 2), (4, 16)) if quick else ((1, 2, 4, 8), (1, 4, 16, 64, 512, 1024))
    windows = BATCH * 8 * (32 if quick else 512)
    results: dict[str, Any] = {"windows": windows, "batch": BATCH, "loss": []}
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "market.h5"
        synthesize(store, symbols=16, days=800, seed=0)
        for count in counts:
            clusters = [Cluster(store, number, count) for number in range(count)]
            results.setdefault("best_rmse_scaled", best_rmse_scaled(MarketStore(store), clusters[0]))
            # One cluster alone has nobody to synchronize, and less than two rounds are none to speak of.
            fit = [every for every in intervals if 2 * every * BATCH * count <= windows]
            for every in fit if count > 1 else fit[-1:]:
                for outer, payload in (
                    ("average", "float32"),
                    ("nesterov", "float32"),
                    ("nesterov", "bfloat16"),
                ):
                    found = loss(clusters, outer, every, windows, payload)
                    results["loss"].append(found)
                    fewer = found["fewer_bytes_than_allreduce"]
                    print(
                        f"{count} clusters, {outer}, {payload}, every {every}: RMSE {found['rmse_scaled']:.5f} "
                        f"(best {results['best_rmse_scaled']:.5f})"
                        + (f", {fewer:.1f} times fewer bytes" if fewer else ""),
                        flush=True,
                    )
    return results


def times(quick: bool, place: ObjectStore | None) -> dict[str, Any]:
    """Seconds of a round by size and by number of clusters."""
    sizes = (0.1, 1, 10) if quick else (0.1, 1, 10, 100, 400)
    counts = (2, 8) if quick else (2, 4, 8, 16, 32, 64)
    found = {
        "seconds_by_megabytes": {str(mb): round_time(place, 2, int(mb * 250_000), 3) for mb in sizes},
        "seconds_by_clusters_0.1_MB": {str(count): round_time(place, count, 25_000, 3) for count in counts},
    }
    print(found)
    return {"round_times" if place is None else "round_times_object_store": {"machine": describe()} | found}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer clusters, sizes and windows")
    parser.add_argument("--only", choices=("loss", "time", "cost"))
    parser.add_argument("--url", help="object store of the rounds that are timed; default: a folder")
    parser.add_argument("--endpoint-url")
    args = parser.parse_args()
    target = Path(__file__).parent / "results" / "sync.json"
    results: dict[str, Any] = json.loads(target.read_text()) if target.exists() else {}
    if args.only in (None, "loss"):
        results |= {"machine": describe()} | losses(args.quick)
    if args.only in (None, "time"):
        place = None
        if args.url:
            config = StorageConfig(url=args.url, endpoint_url=args.endpoint_url or "")
            place = open_store(config, Path())
            place.check()
        results |= times(args.quick, place)
    if args.only in (None, "cost"):
        results["cost"] = cost()
        print(results["cost"])
    write_results("sync", results)
    plot(results, target.with_suffix(".png"))


if __name__ == "__main__":
    main()
