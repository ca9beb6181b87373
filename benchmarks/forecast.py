"""Who forecasts best on the same windows: hpc_lstm, neuralforecast's LSTM, boosted trees, AR(5), and the best there is?

    python benchmarks/forecast.py [--seeds 5] [--neuralforecast PYTHON] [--only shipped ...] [--resume]

On the shipped prices and on three synthetic universes (10 symbols x 1,500 days), one day ahead, from log returns of
adjusted closes and the calendar. All are judged on the same test windows by the scaled error of docs/metrics.md, in
which persistence has 1. hpc_lstm and neuralforecast are trained alternately, once a seed, on the processor, each with
at most two threads. Their time is that of the whole command, from start to forecasts: seconds on the clock, and
seconds of processor, which other work on the machine changes less. Boosted trees and AR(5) are baselines of `hpc-lstm
evaluate`; the oracle knows how synthetic prices were made. Coverage is that of intervals that are to contain 90 %:
hpc_lstm's by split conformal calibration, neuralforecast's by its quantile loss. ``--neuralforecast`` is an interpreter
that has it (pip install neuralforecast); without one it is left out.

Writes benchmarks/results/forecast.json after every measurement; ``--resume`` goes on from there.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe, write_results

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "forecast.json"
PEER = ROOT / "benchmarks" / "peers" / "neuralforecast_lstm.py"
SHIPPED = ROOT / "examples" / "data" / "us_stocks_2000_2013.csv.gz"
UNIVERSES = ("ar", "regimes", "heavy-tails")
SYMBOLS, DAYS = 10, 1500
# Of gradient boosting, so many that it ends by itself even on a busy machine.
BOOSTING_LIMIT_S = 3600
BASELINES = ("persistence", "drift", "historical-mean", "ar", "smoothing", "gradient-boosting", "oracle")
CONFIG = """
[data]
store = "{store}"
features = ["log-returns(adjusted)", "weekday", "day-of-year"]
target = "log-returns(adjusted)"
scaling = "standard"
window = 30
[model]
layers = 1
units = 32
dropout = 0.1
[train]
epochs = 30
patience = 5
batch_size = 64
learning_rate = 0.003
schedule = "cosine"
seed = {seed}
[checkpoint]
every = "epoch"
"""


def timed(*command: str | Path) -> dict[str, float]:
    """Seconds of a command, which must succeed, on the clock and of processor."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, env=environment)
    seconds, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: {done.stderr[-2000:]}")
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "processor_s": used}


def hpc_lstm(*arguments: str | Path) -> dict[str, float]:
    """Seconds of one of the program's commands."""
    return timed(sys.executable, "-m", "hpc_lstm", *arguments)


def make_store(name: str, store: Path) -> None:
    """Write the market store of a data set."""
    if name == "shipped":
        hpc_lstm("import", SHIPPED, "-o", store)
    else:
        hpc_lstm("synth", "--kind", name, "--symbols", str(SYMBOLS), "--days", str(DAYS), "-o", store)


def train(store: Path, seed: int, run: Path) -> dict[str, Any]:
    """Train into a run directory; its figures on test."""
    config = run.with_suffix(".toml")
    config.write_text(CONFIG.format(store=store, seed=seed))
    used = hpc_lstm("train", config, "--run-dir", run)
    metrics = json.loads((run / "metrics.json").read_text())
    (output,) = metrics["test"]["outputs"]
    return {
        "seed": seed,
        "rmsse": metrics["test"]["model"]["rmsse"],
        "coverage": output["coverage"]["share"],
        "width": output["width"],
        "windows": metrics["test"]["windows"],
        "reached_gain": metrics["test"].get("reached_gain"),
        **used,
    }


def write_series(store_path: Path, run: Path, target: Path) -> None:
    """Every symbol's dates, prices and log returns as CSV, with the part that each row's target belongs to."""
    from hpc_lstm.evaluation.trained_run import open_run, recorded_split
    from hpc_lstm.features.columns import ADJUSTED_COLUMNS
    from hpc_lstm.market.store import MarketStore

    with MarketStore(store_path) as store, target.open("w", newline="") as file:
        cut = recorded_split(open_run(run), store.date_unit)
        assert cut is not None
        column = next(store.column(name) for name in ADJUSTED_COLUMNS if name in store.columns)
        writer = csv.writer(file)
        writer.writerow(["unique_id", "ds", "y", "price", "part"])
        for number, symbol in enumerate(store.symbols):
            first, stop = (int(row) for row in store.offsets[number : number + 2])
            dates, prices = store.dates(first, stop), store.rows(first, stop)[:, column]
            returns = np.diff(np.log(prices), prepend=np.log(prices[0]))
            part = np.where(
                dates <= cut.train_end, "train", np.where(dates <= cut.validation_end, "validation", "test")
            )
            days = dates.astype("datetime64[D]").astype(str)
            writer.writerows(zip([symbol] * len(dates), days, returns, prices, part, strict=True))


def neuralforecast(python: str, series: Path, seed: int, output: Path) -> dict[str, Any]:
    """Train neuralforecast's LSTM on a file of series; its figures on the test rows."""
    used = timed(python, PEER, series, output, str(seed))
    errors: dict[str, list[tuple[float, float]]] = {}
    covered, widths = [], []
    with output.open() as file:
        for row in csv.DictReader(file):
            last, price = float(row["last"]), float(row["price"])
            low, high = float(row["low"]), float(row["high"])
            errors.setdefault(row["unique_id"], []).append((np.expm1(float(row["median"])), price / last - 1))
            covered.append(low <= np.log(price / last) <= high)
            widths.append(high - low)
    total = 0.0
    for pairs in errors.values():
        forecasts, actual = np.array(pairs).T
        total += len(pairs) * np.square(forecasts - actual).mean() / np.square(actual).mean()
    return {
        "seed": seed,
        "rmsse": float(np.sqrt(total / len(covered))),
        "coverage": float(np.mean(covered)),
        "width": float(np.mean(widths)),
        "windows": len(covered),
        **used,
    }


def baselines(run: Path) -> dict[str, Any]:
    """The figures of the other forecasts on a run's test windows, and how long boosted trees take."""
    without = hpc_lstm("evaluate", run)
    used = hpc_lstm("evaluate", run, "--gradient-boosting", "--boosting-limit", str(BOOSTING_LIMIT_S))
    metrics = json.loads((run / "metrics.json").read_text())
    return {
        "rmsse": {
            method: metrics["test"][method]["rmsse"] for method in BASELINES if method in metrics["test"]
        },
        "windows": metrics["test"]["windows"],
        "notes": metrics["notes"],
        "evaluate": without,
        "gradient_boosting": {key: used[key] - without[key] for key in used},
        "against_best": metrics["test"]["against_best"],
    }


@dataclass
class Measurements:
    """All that was measured, and where; every addition is written at once.

    Attributes:
        settings: with which; results of others are not gone on with.
        folder: of stores, runs and series.
    """

    settings: dict[str, Any]
    folder: Path
    data_sets: dict[str, Any]

    def add(self, name: str, method: str, found: dict[str, Any]) -> None:
        """Add a method's figures on a data set."""
        of = self.data_sets.setdefault(name, {"hpc_lstm": [], "neuralforecast": [], "baselines": None})
        if method == "baselines":
            of[method] = found
        else:
            of[method].append(found)
        print(name, method, found, flush=True)
        write_results("forecast", {"machine": describe(), **self.settings, "data_sets": self.data_sets})

    def has(self, name: str, method: str, seed: int = 0) -> bool:
        """Whether a method's figures, with a seed where it has one, are there."""
        found = self.data_sets.get(name, {}).get(method)
        return bool(found) and (method == "baselines" or any(of["seed"] == seed for of in found))

    def run_of(self, name: str, seed: int) -> Path:
        """The run directory of a data set and seed, trained if need be; its figures are added if they lack."""
        store, run = self.folder / f"{name}.h5", self.folder / f"{name}-{seed}"
        if not run.exists():
            if not store.exists():
                make_store(name, store)
            found = train(store, seed, run)
            if not self.has(name, "hpc_lstm", seed):
                self.add(name, "hpc_lstm", found)
        return run

    def measure(self, name: str, seed: int, python: str | None) -> None:
        """Measure what lacks of all methods on one data set with one seed."""
        series = self.folder / f"{name}.csv"
        if not self.has(name, "hpc_lstm", seed):
            self.run_of(name, seed)
        if python and not self.has(name, "neuralforecast", seed):
            if not series.exists():
                write_series(self.folder / f"{name}.h5", self.run_of(name, 1), series)
            found = neuralforecast(python, series, seed, self.folder / "peer.csv")
            windows = self.data_sets[name]["hpc_lstm"][0]["windows"]
            if found["windows"] != windows:
                sys.exit(f"{name}: neuralforecast forecast {found['windows']} windows, hpc_lstm {windows}")
            self.add(name, "neuralforecast", found)
        if not self.has(name, "baselines"):
            self.add(name, "baselines", baselines(self.run_of(name, 1)))


def table(data_sets: dict[str, Any]) -> str:
    """The medians side by side."""
    lines = []
    for name, found in data_sets.items():
        lines.append(f"{name}, {found['baselines']['windows']:,} windows")
        for method in ("hpc_lstm", "neuralforecast"):
            runs = found[method]
            if runs:
                errors = [run["rmsse"] for run in runs]
                middle = {
                    key: statistics.median(run[key] for run in runs)
                    for key in ("coverage", "width", "seconds", "processor_s")
                }
                lines.append(
                    f"  {method:<18}{statistics.median(errors):.4f} ({min(errors):.4f}-{max(errors):.4f}, "
                    f"{len(errors)} seeds)  coverage {middle['coverage']:.1%}  width {middle['width']:.2%}  "
                    f"{middle['seconds']:.0f} s, {middle['processor_s']:.0f} s of processor"
                )
        lines += [f"  {method:<18}{value:.4f}" for method, value in found["baselines"]["rmsse"].items()]
        trees = found["baselines"]["gradient_boosting"]
        lines.append(
            f"  gradient-boosting: {trees['seconds']:.0f} s, {trees['processor_s']:.0f} s of processor"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--neuralforecast", metavar="PYTHON", help="an interpreter that has neuralforecast")
    parser.add_argument("--only", nargs="+", default=["shipped", *UNIVERSES], help="data sets")
    parser.add_argument("--resume", action="store_true", help="go on with the results that are there")
    arguments = parser.parse_args()
    digest = hashlib.sha256(PEER.read_bytes()).hexdigest()
    settings = {"symbols": SYMBOLS, "days": DAYS, "config": CONFIG, "peer_sha256": digest}
    before = json.loads(RESULTS.read_text()) if arguments.resume and RESULTS.exists() else {}
    if before and any(before.get(key) != value for key, value in settings.items()):
        sys.exit(f"{RESULTS} was measured with other settings: leave --resume out to begin anew")
    with tempfile.TemporaryDirectory() as folder:
        measurements = Measurements(settings, Path(folder), before.get("data_sets", {}))
        for seed in range(1, arguments.seeds + 1):
            for name in arguments.only:
                measurements.measure(name, seed, arguments.neuralforecast)
    print(table(measurements.data_sets))


if __name__ == "__main__":
    main()
