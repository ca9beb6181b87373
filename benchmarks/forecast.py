"""Who forecasts best on the same windows: hpc_lstm, neuralforecast's LSTM, boosted trees, AR(5), and the best there is?

    python benchmarks/forecast.py [--seeds 5] [--neuralforecast PYTHON] [--only shipped ...]

On the shipped prices and on three synthetic universes (20 symbols x 1,500 days), one day ahead, from log returns of
adjusted closes and the calendar. All are judged on the same test windows by the scaled error of docs/metrics.md, in
which persistence has 1. hpc_lstm and neuralforecast are trained alternately, once a seed, on the processor; their time
is that of the whole command, from start to forecasts. Boosted trees and AR(5) are baselines of `hpc-lstm evaluate`, the
oracle knows how synthetic prices were made. Coverage is that of intervals that are to contain 90 %: hpc_lstm's by split
conformal calibration, neuralforecast's by its quantile loss. ``--neuralforecast`` is an interpreter that has it (pip
install neuralforecast); without one it is left out. Writes benchmarks/results/forecast.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe, write_results

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ROOT / "examples" / "data" / "us_stocks_2000_2013.csv.gz"
UNIVERSES = ("ar", "regimes", "heavy-tails")
SYMBOLS, DAYS = 20, 1500
COVERAGE = 0.9
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


def hpc_lstm(*arguments: str | Path) -> float:
    """Wall seconds of a command, which must succeed."""
    begun = time.perf_counter()
    command = [sys.executable, "-m", "hpc_lstm", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr}")
    return time.perf_counter() - begun


def make_store(name: str, folder: Path) -> Path:
    """The market store of a data set."""
    store = folder / f"{name}.h5"
    if name == "shipped":
        hpc_lstm("import", SHIPPED, "-o", store)
    else:
        hpc_lstm("synth", "--kind", name, "--symbols", str(SYMBOLS), "--days", str(DAYS), "-o", store)
    return store


def train(store: Path, seed: int, folder: Path) -> tuple[dict[str, Any], float, Path]:
    """The metrics of one run, its seconds, and its directory."""
    config, run = folder / f"{store.stem}-{seed}.toml", folder / f"{store.stem}-{seed}"
    config.write_text(CONFIG.format(store=store, seed=seed))
    seconds = hpc_lstm("train", config, "--run-dir", run)
    return json.loads((run / "metrics.json").read_text()), seconds, run


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


def neuralforecast(python: str, series: Path, seed: int, folder: Path) -> dict[str, Any]:
    """Scaled error, coverage and seconds of neuralforecast's LSTM on the test rows of a file of series."""
    output = folder / "neuralforecast.csv"
    script = Path(__file__).parent / "peers" / "neuralforecast_lstm.py"
    begun = time.perf_counter()
    done = subprocess.run(
        [python, str(script), str(series), str(output), str(seed)], capture_output=True, text=True
    )
    seconds = time.perf_counter() - begun
    if done.returncode:
        sys.exit(f"neuralforecast: {done.stderr[-2000:]}")
    errors: dict[str, list[tuple[float, float]]] = {}
    covered = []
    with output.open() as file:
        for row in csv.DictReader(file):
            last, price = float(row["last"]), float(row["price"])
            forecast = last * np.exp(float(row["median"]))
            errors.setdefault(row["unique_id"], []).append((forecast / last - 1, price / last - 1))
            covered.append(float(row["low"]) <= np.log(price / last) <= float(row["high"]))
    total = 0.0
    for pairs in errors.values():
        forecasts, actual = np.array(pairs).T
        total += len(pairs) * np.square(forecasts - actual).mean() / np.square(actual).mean()
    return {
        "rmsse": float(np.sqrt(total / len(covered))),
        "coverage": float(np.mean(covered)),
        "windows": len(covered),
        "seconds": seconds,
    }


def measure(name: str, seeds: int, python: str | None, folder: Path) -> dict[str, Any]:
    """All methods on one data set."""
    store = make_store(name, folder)
    ours, theirs = [], []
    metrics: dict[str, Any] = {}
    for seed in range(1, seeds + 1):
        metrics, seconds, run = train(store, seed, folder)
        (output,) = metrics["test"]["outputs"]
        ours.append(
            {
                "rmsse": metrics["test"]["model"]["rmsse"],
                "validation_rmsse": metrics["validation"]["model"]["rmsse"],
                "coverage": output["coverage"]["share"],
                "windows": metrics["test"]["windows"],
                "seconds": seconds,
                "reached_gain": metrics["test"].get("reached_gain"),
            }
        )
        if python:
            series = folder / f"{name}.csv"
            if seed == 1:
                write_series(store, run, series)
            theirs.append(neuralforecast(python, series, seed, folder))
        print(name, seed, ours[-1], *theirs[-1:], flush=True)
    boosting = hpc_lstm("evaluate", run, "--gradient-boosting")
    test = json.loads((run / "metrics.json").read_text())["test"]
    others = ("persistence", "drift", "historical-mean", "ar", "smoothing", "gradient-boosting", "oracle")
    return {
        "hpc_lstm": ours,
        "neuralforecast": theirs,
        "baselines": {method: test[method]["rmsse"] for method in others if method in test},
        "evaluate_with_boosting_s": boosting,
        "against_best": test["against_best"],
    }


def table(results: dict[str, Any]) -> str:
    """The medians side by side."""
    lines = []
    for name, found in results.items():
        lines.append(name)
        for method in ("hpc_lstm", "neuralforecast"):
            runs = found[method]
            if runs:
                errors = [run["rmsse"] for run in runs]
                middle = {key: statistics.median(run[key] for run in runs) for key in ("coverage", "seconds")}
                lines.append(
                    f"  {method:<18}{statistics.median(errors):.4f} ({min(errors):.4f}-{max(errors):.4f})  "
                    f"coverage {middle['coverage']:.1%}  {middle['seconds']:.1f} s"
                )
        lines += [f"  {method:<18}{value:.4f}" for method, value in found["baselines"].items()]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--neuralforecast", metavar="PYTHON", help="an interpreter that has neuralforecast")
    parser.add_argument("--only", nargs="+", default=["shipped", *UNIVERSES], help="data sets")
    arguments = parser.parse_args()
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.only:
            results[name] = measure(name, arguments.seeds, arguments.neuralforecast, Path(folder))
            write_results("forecast", {"machine": describe(), "config": CONFIG, "data_sets": results})
    print(table(results))


if __name__ == "__main__":
    main()
