"""How fast does training go on a GPU, preprocessing included, and what share of it is preprocessing?

    python benchmarks/gpu_training.py [--batch 8192] [--units 128] [--engine fused] [--quick]

The same network (stacked LSTMs, dropout, Adam, float32) is trained on the same number of windows by

    cuda      this package: CUDA backend, and the engine that `--engine` names; windows are cut, shuffled and scaled
              as it goes
    host      the same with the host backend
    loop      a hand-written ``tf.function`` step on windows that lie ready on the GPU, read back once at the end
    fit       ``keras.fit`` on windows that lie ready in memory, best of two ``steps_per_execution``

in one process, in turns, after a warm-up of each. ``loop`` and ``fit`` have no preprocessing to do: what they could
not do without is not in their time.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe, write_results

from hpc_lstm import config as configuration
from hpc_lstm.market.store import MarketStore
from hpc_lstm.market.store_writer import StoreWriter
from hpc_lstm.parallel import gpu
from hpc_lstm.parallel.world import World
from hpc_lstm.preprocess import backends, prepare

WINDOW = 60
COLUMNS = ["open", "high", "low", "close", "volume"]


def settings(store: Path, options: argparse.Namespace) -> configuration.RunConfig:
    return configuration.parse(
        {
            "data": {"store": str(store), "window": WINDOW, "features": COLUMNS, "target": "close"},
            "model": {"layers": 2, "units": options.units, "dropout": 0.2},
            "train": {
                "batch_size": options.batch,
                "engine": options.engine,
                "precision": options.precision,
            },
        },
        "benchmark",
    )


def write_store(path: Path) -> None:
    """50 symbols of 20,000 rows, five columns: random walks."""
    generator = np.random.default_rng(0)
    with StoreWriter(path, COLUMNS, "benchmark") as writer:
        for number in range(50):
            walk = 100 * np.exp(np.cumsum(generator.normal(0, 0.01, (20_000, len(COLUMNS))), axis=0))
            writer.append(f"S{number}", np.arange(20_000, dtype=np.int64), walk)


class Ours:
    """This package's loop over steps, as ``training.loop.take_steps``."""

    def __init__(self, config: configuration.RunConfig, store: MarketStore, backend: Any) -> None:
        from hpc_lstm.model.engines import registry as engine
        from hpc_lstm.preprocess.sampler import ShuffledSampler

        self.data = prepare.prepare(store, config.data, World(), backend)
        self.engine = engine.create_engine(config)
        self.order = ShuffledSampler(len(self.data.train), config.train.batch_size, 0)
        self.preprocess_s = 0.0

    def run(self, steps: int) -> float:
        """Seconds of ``steps`` steps; ``preprocess_s`` is what of it was preprocessing."""
        begin, self.preprocess_s = time.perf_counter(), 0.0
        loss: Any = 0.0
        for first in range(0, steps, self.engine.steps_per_call):
            count = min(self.engine.steps_per_call, steps - first)
            asked = time.perf_counter()
            inputs, targets = self.data.train.next_batch(self.order, count, cut=not self.engine.cuts_windows)
            self.preprocess_s += time.perf_counter() - asked - self.data.train.waited_ns / 1e9
            loss = self.engine.step(inputs, targets, 1e-3)
            self.data.train.used_by(loss)
        float(loss)
        return time.perf_counter() - begin


def loop(tf: Any, config: configuration.RunConfig, inputs: Any, targets: Any) -> Callable[[int], float]:
    """The loop that somebody writes by hand: a compiled step, batches sliced on the GPU."""
    import keras

    from hpc_lstm.model import network

    model = network.build_network(config.model, WINDOW, len(COLUMNS), seed=0)
    optimizer = keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    batch = config.train.batch_size

    @tf.function
    def step(start: Any) -> Any:
        x, y = inputs[start : start + batch], targets[start : start + batch]
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(x, training=True) - y))
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    def run(steps: int) -> float:
        begin = time.perf_counter()
        for number in range(steps):
            loss = step(tf.constant(number * batch))
        float(loss)
        return time.perf_counter() - begin

    return run


def fit(
    config: configuration.RunConfig, inputs: np.ndarray, targets: np.ndarray, together: int
) -> Callable[[int], float]:
    """``keras.fit`` on arrays."""
    import keras

    from hpc_lstm.model import network

    model = network.build_network(config.model, WINDOW, len(COLUMNS), seed=0)
    model.compile(keras.optimizers.Adam(), "mse", steps_per_execution=together, jit_compile=False)
    batch = config.train.batch_size

    def run(steps: int) -> float:
        begin = time.perf_counter()
        model.fit(inputs[: steps * batch], targets[: steps * batch], batch_size=batch, epochs=1, verbose=0)
        return time.perf_counter() - begin

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, default=8192)
    parser.add_argument("--units", type=int, default=128)
    parser.add_argument("--engine", default="auto", help="as in train.engine")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--quick", action="store_true", help="fewer turns")
    options = parser.parse_args()
    world = World()
    own_gpu = gpu.assign_gpu(world)
    from hpc_lstm.model.engines import tensorflow_runtime

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "market.h5"
        write_store(path)
        config, store = settings(path, options), MarketStore(path)
        ours = {name: Ours(config, store, backends.create_backend(name)) for name in ("cuda", "host")}
        tf = tensorflow_runtime.start_tensorflow()
        inputs, targets = ours["host"].data.train.batch(np.arange(options.steps * options.batch))
        runs: dict[str, Callable[[int], float]] = {name: one.run for name, one in ours.items()}
        runs["loop"] = loop(tf, config, tf.constant(inputs), tf.constant(targets))
        runs["fit, 1 step an execution"] = fit(config, inputs, targets, 1)
        runs["fit, 8 steps an execution"] = fit(config, inputs, targets, 8)
        for run in runs.values():
            run(options.steps)
        taken: dict[str, list[float]] = {name: [] for name in runs}
        shares: dict[str, list[float]] = {name: [] for name in ours}
        for _ in range(2 if options.quick else 5):
            for name, run in runs.items():
                taken[name].append(run(options.steps))
                if name in ours:
                    shares[name].append(ours[name].preprocess_s / taken[name][-1])
    samples = options.steps * options.batch
    speeds = {name: samples / statistics.median(times) for name, times in taken.items()}
    best_fit = max(speed for name, speed in speeds.items() if name.startswith("fit"))
    for name, speed in speeds.items():
        share = f", preprocessing {statistics.median(shares[name]):.2%}" if name in shares else ""
        print(f"{name}: {speed:,.0f} samples/s{share}")
    print(f"cuda / loop {speeds['cuda'] / speeds['loop']:.2f}, cuda / fit {speeds['cuda'] / best_fit:.2f}")
    write_results(
        "gpu_training",
        {
            "machine": describe() | {"gpu": None if own_gpu is None else own_gpu.name},
            "versions": {"tensorflow": tf.__version__},
            "batch": options.batch,
            "units": options.units,
            "steps": options.steps,
            "seconds": taken,
            "samples_per_second": speeds,
            "preprocess_share": {name: statistics.median(values) for name, values in shares.items()},
            "cuda_over_loop": speeds["cuda"] / speeds["loop"],
            "cuda_over_fit": speeds["cuda"] / best_fit,
        },
    )


if __name__ == "__main__":
    main()
