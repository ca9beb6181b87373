"""What does it cost training on a GPU to cut, shuffle and scale its batches as it goes?

    python benchmarks/gpu_batches.py [--units 64,128] [--batches 64,1024,8192] [--precision bfloat16] [--turns 3]

The loop over steps with batches of the CUDA backend, as ``hpc-lstm train`` runs it between two averages, beside the
fused engine alone on a batch that lies ready on the GPU: samples/s of both in turns of a second, and the share of the
loop's time that the host spends on preprocessing, during which the GPU has earlier steps to do.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from gpu_training import Ours, settings, write_store
from machine import describe, write_results

from hpc_lstm.market.store import MarketStore
from hpc_lstm.parallel import gpu
from hpc_lstm.parallel.world import World
from hpc_lstm.preprocess import backends

TURN_S = 1.0


def alone(ours: Ours) -> Callable[[int], float]:
    """Seconds of a number of steps of the same engine, all on the same batches."""
    engine = ours.engine
    inputs, targets = ours.data.train.next_batch(ours.order, engine.steps_per_call)

    def run(steps: int) -> float:
        begin = time.perf_counter()
        loss: Any = 0.0
        for _ in range(0, steps, engine.steps_per_call):
            loss = engine.step(inputs, targets, 1e-3)
        float(loss)
        return time.perf_counter() - begin

    return run


def measure(store: MarketStore, options: argparse.Namespace, turns: int) -> dict[str, Any]:
    """One size of network and batch."""
    loop = Ours(settings(Path(store.path), options), store, backends.create_backend("cuda"))
    engine = alone(Ours(settings(Path(store.path), options), store, backends.create_backend("cuda")))
    steps = loop.engine.steps_per_call * 4
    for run in (loop.run, engine):
        run(steps)
    steps *= max(1, round(TURN_S / engine(steps)))
    taken: dict[str, list[float]] = {"loop": [], "engine": []}
    preprocess = []
    for _ in range(turns):
        taken["engine"].append(engine(steps))
        taken["loop"].append(loop.run(steps))
        preprocess.append(loop.preprocess_s / taken["loop"][-1])
    rates = {name: [steps * options.batch / one for one in each] for name, each in taken.items()}
    ratios = [one / other for one, other in zip(rates["loop"], rates["engine"], strict=True)]
    print(
        f"{options.precision} units {options.units:4} batch {options.batch:5}:",
        f"engine {statistics.median(rates['engine']):11,.0f}, loop {statistics.median(rates['loop']):11,.0f},",
        f"loop / engine {statistics.median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f}),",
        f"preprocessing {statistics.median(preprocess):.1%}",
        flush=True,
    )
    sizes = {"precision": options.precision, "units": options.units, "batch": options.batch, "steps": steps}
    return {**sizes, "samples_per_s": rates, "preprocess_share": preprocess}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", default="64,128")
    parser.add_argument("--batches", default="64,1024,8192")
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    own_gpu = gpu.assign_gpu(World())
    found: dict[str, Any] = {
        "machine": describe() | {"gpu": None if own_gpu is None else own_gpu.name},
        "cases": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "market.h5"
        write_store(path)
        with MarketStore(path) as store:
            for units in map(int, options.units.split(",")):
                for batch in map(int, options.batches.split(",")):
                    sizes = argparse.Namespace(
                        units=units, batch=batch, precision=options.precision, engine="fused"
                    )
                    found["cases"].append(measure(store, sizes, options.turns))
                    write_results("gpu_batches", found)


if __name__ == "__main__":
    main()
