"""Is C compiled for the very processor faster than a build for its level of x86-64 or ARM?

    python benchmarks/builds.py [--turns 9]

Writes benchmarks/results/builds.json: CPU time of loss and gradient of a batch on one thread, compiled with
``-march=native``, over that of each build which this processor executes. Builds alternate, in another order each turn.
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import describe, write_results

from hpc_lstm.config import ModelConfig
from hpc_lstm.model.engines.native_kernels import Kernels, NetworkSizes
from hpc_lstm.model.engines.native_workers import Workers
from hpc_lstm.model.engines.network_math import TrainBatch
from hpc_lstm.model.initial_weights import initial_weights
from hpc_lstm.model.losses.mse import MeanSquaredError
from hpc_lstm.model.parameters import network_schema
from hpc_lstm.native.builds import LEVELS, processor_flags
from hpc_lstm.native.compiler import find_compiler
from hpc_lstm.native.library import kernel_source

LAYERS, ROWS, FEATURES, DROPOUT = 2, 60, 5, 0.2
SHAPES = ((16, 64), (64, 16), (64, 64), (64, 256), (128, 64))
TURN_S = 0.15


def compile_all(folder: Path) -> dict[str, ctypes.CDLL]:
    """The kernels for this processor, "native", and for each level that it executes."""
    compiler, source = find_compiler(), kernel_source("lstm")
    options = {level.name: level.option for level in LEVELS if level.flags <= processor_flags()}
    libraries = {}
    for name, option in {"native": compiler.native, **options}.items():
        path = folder / f"{name}.so"
        path.write_bytes(compiler.compile(source, "lstm", option))
        libraries[name] = ctypes.CDLL(str(path))
    return libraries


def ratios(libraries: dict[str, ctypes.CDLL], units: int, batch: int, turns: int) -> dict[str, list[float]]:
    """CPU time with "native" over that with each library, of every turn."""
    schema, random = (
        network_schema(ModelConfig(layers=LAYERS, units=units), FEATURES),
        np.random.default_rng(0),
    )
    shape = NetworkSizes(LAYERS, units, FEATURES, ROWS, DROPOUT, 1, 1)
    workers = {
        name: Workers(Kernels(library, shape, MeanSquaredError()), 1) for name, library in libraries.items()
    }
    flat, keys = initial_weights(schema, 0), np.array([1, 2], np.uint32)
    inputs = random.normal(size=(batch, ROWS, FEATURES)).astype("f")
    targets, gradient = random.normal(size=(batch, 1)).astype("f"), np.empty_like(flat)

    training = TrainBatch(inputs, targets, keys)

    def seconds(name: str, steps: int) -> float:
        begun = time.process_time()
        for _ in range(steps):
            workers[name].loss_and_gradient(flat, training, gradient)
        return (time.process_time() - begun) / steps

    steps = max(1, int(TURN_S / seconds("native", 3)))
    names, found = list(libraries), {name: [] for name in libraries}
    for turn in range(turns):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            found[name].append(seconds(name, steps))
    return {
        name: [own / other for own, other in zip(found["native"], found[name], strict=True)]
        for name in names
        if name != "native"
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=9)
    turns = parser.parse_args().turns
    results = []
    with tempfile.TemporaryDirectory() as folder:
        libraries = compile_all(Path(folder))
        for units, batch in SHAPES:
            for name, found in ratios(libraries, units, batch, turns).items():
                spread = {"min": min(found), "median": statistics.median(found), "max": max(found)}
                results.append(
                    {"units": units, "batch": batch, "build": name, "native_time_over_its": spread}
                )
                print(
                    f"2 x LSTM({units}), batch {batch}: {name} {spread['median']:.2f} times as fast as native"
                )
    write_results("builds", {"machine": describe(), "compiler": find_compiler().version, "results": results})


if __name__ == "__main__":
    main()
