"""How fast are the engines beside ``keras.fit``? Samples a second of all three, on the same model and windows and
this CPU.

    python benchmarks/engines.py [--quick]
    python benchmarks/engines.py --gpu [...]    the same question on a GPU: see gpu_engines.py

They train in turns, so that whatever else the machine does meets all alike. Each lives
in a process of its own, because threads are set once per process. ``keras.fit`` runs in its best settings:
without XLA (which is slower here), on in-memory arrays of windows, with the best of three
``steps_per_execution`` and of TensorFlow's own threads and the Keras engine's. The engines' time includes shuffling
and cutting each batch out of the rows.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np
from machine import describe, write_results

WINDOW, FEATURES, DROPOUT = 60, 1, 0.2
STEPS_PER_EXECUTION = (1, 8, 32)
FIT_THREADS = ("tensorflow", "engine")
ENGINES = ("fused", "keras")


def data(batch: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """A random walk's rows [R, F] and the targets [N, 1] of its N = batch * steps windows."""
    rows = np.random.default_rng(0).normal(size=(batch * steps + WINDOW, FEATURES)).cumsum(0)
    rows = ((rows - rows.min()) / np.ptp(rows)).astype(np.float32)
    return rows, rows[WINDOW:, :1].copy()


def settings(units: int, batch: int, engine: str = "auto") -> Any:
    from hpc_lstm import config

    return config.parse(
        {
            "data": {"store": "none", "window": WINDOW, "features": ["close"] * FEATURES},
            "model": {"units": units, "dropout": DROPOUT},
            "train": {"batch_size": batch, "engine": engine},
        },
        "benchmark",
    )


class EngineRunner:
    """One of this package's engines, fed as the training loop feeds it."""

    def __init__(self, threads: int, variant: str) -> None:
        self._threads, self._name = threads, variant

    def prepare(self, units: int, batch: int, option: int) -> None:
        from hpc_lstm.model.engines import registry as engine

        self._batch = batch
        self._engine = engine.create_engine(settings(units, batch, self._name), threads=self._threads)

    def run(self, steps: int) -> float:
        from hpc_lstm.preprocess import host
        from hpc_lstm.preprocess.sampler import ShuffledSampler

        rows, targets = data(self._batch, steps)
        order = ShuffledSampler(len(targets), self._batch, seed=0)
        begin = time.perf_counter()
        losses = []
        for first in range(0, steps, self._engine.steps_per_call):
            numbers = order.take(min(self._engine.steps_per_call, steps - first))
            losses.append(self._engine.step(host.gather(rows, numbers, WINDOW), targets[numbers], 1e-3))
        sum(float(loss) for loss in losses)
        return time.perf_counter() - begin


class FitRunner:
    """``keras.fit`` on all windows as one array."""

    def __init__(self, threads: int, variant: str) -> None:
        from hpc_lstm.model.engines import tensorflow_runtime

        tensorflow_runtime.start_tensorflow(threads if variant == "engine" else 0)

    def prepare(self, units: int, batch: int, option: int) -> None:
        import keras

        from hpc_lstm.model import network

        self._batch = batch
        self._model = network.build_network(settings(units, batch).model, WINDOW, FEATURES, seed=0)
        self._model.compile(keras.optimizers.Adam(), "mse", jit_compile=False, steps_per_execution=option)

    def run(self, steps: int) -> float:
        rows, targets = data(self._batch, steps)
        view = np.lib.stride_tricks.sliding_window_view(rows[:-1], WINDOW, axis=0)
        windows = np.ascontiguousarray(view.transpose(0, 2, 1))
        begin = time.perf_counter()
        self._model.fit(windows, targets, batch_size=self._batch, epochs=1, shuffle=True, verbose=0)
        return time.perf_counter() - begin


class Worker:
    """A process that runs one of the two when told to."""

    def __init__(self, kind: str, threads: int, variant: str = "") -> None:
        command = [sys.executable, __file__, "--worker", kind, variant, "--threads", str(threads)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, *request: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("a worker ended early; its message is above")
        return json.loads(answer)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def serve(kind: str, variant: str, threads: int) -> None:
    """The worker's side: a JSON list in, a JSON value out, line by line."""
    # Whatever libraries print must not get between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    runner = {"engine": EngineRunner, "fit": FitRunner}[kind](threads, variant)
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        answers.write(json.dumps(getattr(runner, name)(*arguments)) + "\n")
        answers.flush()


def measure(
    workers: dict[str, Worker], units: int, batch: int, repeats: int, seconds: float
) -> dict[str, Any]:
    """One case: samples a second of all, and their ratios turn by turn."""
    engines = [workers[name] for name in ENGINES]
    for engine in engines:
        engine.ask("prepare", units, batch, 0)
        engine.ask("run", 64)
    trials = {}
    for threads in FIT_THREADS:
        for option in STEPS_PER_EXECUTION:
            workers[threads].ask("prepare", units, batch, option)
            workers[threads].ask("run", 64)
            trials[threads, option] = workers[threads].ask("run", 64)
    threads, option = min(trials, key=lambda key: trials[key])
    fit = workers[threads]
    fit.ask("prepare", units, batch, option)
    fit.ask("run", 64)
    # Turns are long enough for what a call of fit costs once not to count.
    steps = 32 * max(2, round(seconds / (trials[threads, option] / 2)))
    names = (*ENGINES, "fit")
    turns = [[one.ask("run", steps) for one in (*engines, fit)] for _ in range(repeats)]
    samples = {name: [batch * steps / turn[at] for turn in turns] for at, name in enumerate(names)}
    return {
        "units": units,
        "batch": batch,
        "steps": steps,
        "samples_per_s": {name: [round(each) for each in samples[name]] for name in names},
        "fit_steps_per_execution": option,
        "fit_threads": threads,
        "fused_over": {name: compared(samples["fused"], samples[name]) for name in names[1:]},
    }


def compared(ours: list[float], theirs: list[float]) -> dict[str, float]:
    """Ratios turn by turn."""
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    found = {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}
    return {name: round(value, 2) for name, value in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one small case, short turns")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        serve(*options.worker, options.threads)
        return
    cases = [(16, 16)] if options.quick else [(units, batch) for units in (16, 64) for batch in (16, 64, 256)]
    workers = {name: Worker("engine", options.threads, name) for name in ENGINES}
    workers |= {name: Worker("fit", options.threads, name) for name in FIT_THREADS}
    print("units batch    fused    keras      fit  samples/s   fused over keras, fit (least-most)")
    results = []
    for units, batch in cases:
        found = measure(workers, units, batch, 2 if options.quick else 5, 1.0 if options.quick else 3.0)
        results.append(found)
        speeds = "".join(f"{statistics.median(each):9.0f}" for each in found["samples_per_s"].values())
        ratios = "   ".join(
            f"{r['median']:.2f} ({r['least']:.2f}-{r['most']:.2f})" for r in found["fused_over"].values()
        )
        print(
            f"{units:5} {batch:5}{speeds}             {ratios}"
            f"   {found['fit_steps_per_execution']}, {found['fit_threads']}",
            flush=True,
        )
    for worker in workers.values():
        worker.close()
    from importlib.metadata import version

    report = {
        "machine": describe(),
        "threads": options.threads,
        "versions": {name: version(name) for name in ("tensorflow", "keras", "numpy")},
        "model": {
            "layers": 2,
            "window": WINDOW,
            "features": FEATURES,
            "dropout": DROPOUT,
            "optimizer": "adam",
        },
        "cases": results,
    }
    write_results("engines", report)


if __name__ == "__main__" and "--gpu" in sys.argv:
    import gpu_engines

    gpu_engines.main()
elif __name__ == "__main__":
    main()
