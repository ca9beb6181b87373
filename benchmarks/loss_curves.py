"""Does the CUDA engine learn as the others do? Validation loss after each of 20 epochs, with 5 seeds an engine.

    python benchmarks/loss_curves.py --engines native,keras                  on CPUs
    python benchmarks/loss_curves.py --engines cuda [--out FILE]             on a GPU: adds to what the file has

2 x LSTM(64), dropout 0.1, Adam, batches of 64, on 4,096 windows of 30 rows of 3 noisy oscillations, whose next value is
forecast; 2,048 windows later in time validate. All engines begin with the same weights and see the same batches; the C
and the CUDA engine drop the same outputs. ``cuda`` trains in float32, and in bfloat16 by the kernels for small and for
large batches.

An engine's curve is within the spread of another's 5 seeds if after each epoch the mean over its own seeds lies between
the other's lowest and highest loss.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe

sys.path.insert(0, str(Path(__file__).parents[1]))
RESULTS = Path(__file__).parent / "results" / "loss_curves.json"
SEEDS, EPOCHS, BATCH = 5, 20, 64
WINDOW, WINDOWS, VALIDATION = 30, 4096, 2048
FEATURES = ["open", "high", "low"]
# The engines whose spread counts.
REFERENCES = ("native", "keras")
# Of the CUDA engine: precision and kernels.
CUDA = {
    "cuda float32": ("float32", "chains"),
    "cuda bfloat16": ("bfloat16", "chains"),
    "cuda bfloat16, large batches": ("bfloat16", "tiles"),
}


def oscillations(rows: int) -> np.ndarray:
    """Three oscillations of slowly wandering phase that are mixed and observed with noise, float32 [rows, 3]."""
    random = np.random.default_rng(0)
    steps = 2 * np.pi / np.array([9.0, 17.0, 31.0]) + random.normal(0, 0.05, (rows, 3))
    mixed = np.sin(np.cumsum(steps, axis=0)) @ np.array([[1.0, 0.3, 0.2], [0.3, 1.0, 0.3], [0.2, 0.3, 1.0]])
    return (mixed + random.normal(0, 0.2, (rows, 3))).astype(np.float32)


def windows() -> tuple[np.ndarray, np.ndarray]:
    """All windows [N, T, F] and their targets [N, 1], those that validate last and apart from the others."""
    rows = oscillations(WINDOWS + VALIDATION + 2 * WINDOW)
    view = np.lib.stride_tricks.sliding_window_view(rows[:-1], WINDOW, axis=0)
    return np.ascontiguousarray(view.transpose(0, 2, 1)), rows[WINDOW:, :1].copy()


def settings(seed: int, precision: str) -> Any:
    from hpc_lstm import config

    tables = {
        "data": {"store": "none", "window": WINDOW, "features": FEATURES},
        "model": {"layers": 2, "units": 64, "dropout": 0.1},
        "train": {"batch_size": BATCH, "seed": seed, "precision": precision, "learning_rate": 1e-3},
    }
    return config.parse(tables, "loss_curves")


def curve(make: Callable[[Any], Any], precision: str, seed: int) -> list[float]:
    """Validation loss before the first epoch and after each."""
    from hpc_lstm.preprocess.sampler import ShuffledSampler

    inputs, targets = windows()
    engine = make(settings(seed, precision))
    order = ShuffledSampler(WINDOWS, BATCH, seed=seed)
    held_out = slice(len(inputs) - VALIDATION, None)

    def loss() -> float:
        forecasts = np.asarray(engine.predict(inputs[held_out]), np.float64)
        return float(np.mean((forecasts - targets[held_out]) ** 2))

    losses = [loss()]
    for _ in range(EPOCHS):
        steps = WINDOWS // BATCH
        while steps:
            numbers = order.take(min(steps, engine.steps_per_call))
            float(engine.step(inputs[numbers], targets[numbers], 1e-3))
            steps -= len(numbers)
        losses.append(loss())
    return losses


def makers(names: list[str]) -> dict[str, tuple[Callable[[Any], Any], str]]:
    """What builds each engine asked for, and its precision."""
    found: dict[str, tuple[Callable[[Any], Any], str]] = {}
    for name in names:
        if name == "native":
            from hpc_lstm.model.engines.native import NativeEngine

            found[name] = NativeEngine, "float32"
        elif name == "keras":
            from hpc_lstm.model.engines.keras import KerasEngine

            found[name] = KerasEngine, "float32"
        else:
            from hpc_lstm.model.engines.cuda.engine import CudaEngine

            for each, (precision, kernels) in CUDA.items():
                found[each] = (lambda config, kernels=kernels: CudaEngine(config, kernels=kernels)), precision
    return found


def gpu_name() -> str:
    from hpc_lstm.cuda.device import Device

    return Device().name


def compared(curves: dict[str, list[list[float]]]) -> dict[str, dict[str, Any]]:
    """Of each curve beside each reference: after which epochs it lies outside of the spread."""
    found: dict[str, dict[str, Any]] = {}
    for name in curves:
        for reference in (one for one in REFERENCES if one in curves and one != name):
            mean, others = np.mean(curves[name], axis=0), np.array(curves[reference])
            outside = np.flatnonzero((mean < others.min(0)) | (mean > others.max(0)))
            # Before the first epoch all seeds of both are the same to rounding.
            late = [int(epoch) for epoch in outside if epoch > 0]
            pairs = np.array(curves[name]) / others - 1
            found[f"{name} beside {reference}"] = {
                "within_spread": not late,
                "epochs_outside": late,
                "last_epoch": {
                    "mean": float(mean[-1]),
                    "reference": [float(others[:, -1].min()), float(others[:, -1].max())],
                },
                "largest_difference_of_one_seed": float(np.abs(pairs).max()),
            }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engines", default="native,keras", help="of native, keras, cuda")
    parser.add_argument("--out", type=Path, default=RESULTS, help="file of results")
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {"machines": {}, "curves": {}}
    for name, (make, precision) in makers(options.engines.split(",")).items():
        begin = time.monotonic()
        results["curves"][name] = [curve(make, precision, seed) for seed in range(SEEDS)]
        results["machines"][name] = describe() | ({"gpu": gpu_name()} if name in CUDA else {})
        ends = [losses[-1] for losses in results["curves"][name]]
        print(
            f"{name}: {results['curves'][name][0][0]:.4f} to {min(ends):.4f}-{max(ends):.4f},",
            f"{time.monotonic() - begin:.0f} s",
            flush=True,
        )
    results["compared"] = compared(results["curves"])
    for pair, one in results["compared"].items():
        outside = "" if one["within_spread"] else f" at epochs {one['epochs_outside']}"
        print(f"{pair}: {'within the spread' if one['within_spread'] else 'outside of the spread'}{outside}")
    options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
