"""How long do commands take on a machine with a GPU: training until its first step, and forecasts?

    python benchmarks/gpu_commands.py [--turns 3] [--units 64,256]

``train`` from its launch to its first step, with kernels that are compiled ("cold") or come from the cache ("warm"),
and where that time goes by the stages that every run records. Then ``evaluate`` and ``predict --all`` as whole
processes, forecasting on CPUs, on the GPU, and where ``auto`` says. Runs are 2 x LSTM in bfloat16 with 60 rows of 5
features, of 50 symbols x 2,600 days. And a run of three epochs on 116,000 windows (50 symbols x 3,390 days) as a whole
process, from its launch to its end.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from machine import describe, write_results
from startup import FIRST_STEP, LAUNCHED, REPORTS, spread, timed, turns_of

from hpc_lstm.cuda.device import Device
from hpc_lstm.timing.spans import load_timing

SYMBOLS, DAYS, DAYS_OF_WHOLE = 50, 2600, 3390
EPOCHS_OF_WHOLE = 3
CONFIG = """
[data]
store = "{store}"
window = 60
features = ["close", "open", "high", "low", "volume"]
target = "log-returns"
scaling = "standard"
[model]
units = {units}
[train]
batch_size = 1024
epochs = {epochs}
precision = "bfloat16"
"""
PROGRAM = [sys.executable, "-m", "hpc_lstm"]
DEVICES = ("gpu", "cpu", "auto")


def launch(folder: Path, config: Path) -> dict[str, float]:
    """Seconds from the launch of a run to the end of its first step, and of the stages before it."""
    reports = Path(tempfile.mkdtemp(dir=folder))
    command = [sys.executable, str(FIRST_STEP), "train", str(config), "--run-dir", str(reports / "run")]
    timed(command, **{LAUNCHED: str(time.time()), REPORTS: str(reports)})
    seconds = json.loads((reports / "0.json").read_text())["seconds"]
    stages = {one.name: (one.end_ns - one.start_ns) / 1e9 for one in load_timing(reports / "run").stages}
    return {"launch to first step": seconds, "before": seconds - sum(stages.values()), **stages}


def measure_launch(folder: Path, config: Path, turns: int) -> dict[str, Any]:
    """``launch`` with an empty cache of kernels and without that of NVRTC, and with what it has left in the first."""
    found: dict[str, Any] = {}
    for cache in ("cold", "warm"):
        runs = []
        for turn in range(turns):
            if cache == "cold":
                os.environ["HPC_LSTM_CACHE"] = str(folder / f"cache{turn}")
                os.environ["CUDA_CACHE_DISABLE"] = "1"
            runs.append(launch(folder, config))
            os.environ.pop("CUDA_CACHE_DISABLE", None)
        found[cache] = {name: spread([run[name] for run in runs]) for name in runs[0]}
        print(cache, {name: round(one["median"], 3) for name, one in found[cache].items()}, flush=True)
    return found


def write_store(path: Path, days: int) -> None:
    timed([*PROGRAM, "synth", "--symbols", str(SYMBOLS), "--days", str(days), "-o", str(path)])


def measure_whole(folder: Path, units: int, turns: int) -> dict[str, Any]:
    """Seconds of a run of a few epochs, with kernels from the cache, and its steps."""
    store, config = folder / "whole.h5", folder / f"whole{units}.toml"
    if not store.exists():
        write_store(store, DAYS_OF_WHOLE)
    config.write_text(CONFIG.format(store=store, units=units, epochs=EPOCHS_OF_WHOLE))
    runs = [Path(tempfile.mkdtemp(dir=folder)) / "run" for _ in range(turns)]
    seconds = [timed([*PROGRAM, "train", str(config), "--run-dir", str(run)])[0] for run in runs]
    steps = json.loads((runs[0] / "metrics.json").read_text())["steps"]
    return {"epochs": EPOCHS_OF_WHOLE, "steps": steps, "seconds": spread(seconds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--units", type=lambda text: [int(one) for one in text.split(",")], default=[64, 256])
    options = parser.parse_args()
    results: dict[str, Any] = {"machine": {**describe(), "gpu": Device().name}, "turns": options.turns}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = folder / "market.h5"
        write_store(store, DAYS)
        for units in options.units:
            config, run = folder / f"{units}.toml", folder / f"run{units}"
            config.write_text(CONFIG.format(store=store, units=units, epochs=1))
            own: dict[str, Any] = {"train": measure_launch(folder, config, options.turns)}
            own["whole run"] = measure_whole(folder, units, options.turns)
            print(f"{units} units, whole run: {own['whole run']}", flush=True)
            timed([*PROGRAM, "train", str(config), "--run-dir", str(run)])
            for command, words in (("evaluate", []), ("predict --all", ["--all"])):
                for device in DEVICES:
                    whole = [*PROGRAM, command.split()[0], str(run), *words, "--device", device]
                    if device == "gpu":
                        timed(whole)  # compiles what is not in the cache
                    own[f"{command}, {device}"] = found = turns_of(whole, options.turns)
                    print(
                        f"{units} units, {command}, {device}: {found['seconds']['median']:.2f} s", flush=True
                    )
            results[f"{units} units"] = own
    write_results("gpu_commands", results)


if __name__ == "__main__":
    main()
