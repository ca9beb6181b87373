"""How fast, and in how much memory, are long CSVs imported and synthetic prices generated?

    python benchmarks/io.py [--symbols N] [--days D] [--repeats R] [--folder DIR]

The CSV has date, symbol, open, high, low, close and volume: ordered by symbol then date, as when symbols are downloaded
one after the other; by date then symbol, as exchanges write it; and the first one gzipped. Each import is a process of
its own, timed from start to end including Python's imports; its peak memory is what the system reports. Results go to
``results/io.json``.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from machine import describe, write_results
from pyarrow import csv

LIMITS = {"seconds": 30.0, "peak_mb": 1500.0}
PROGRAM = """
import resource, sys
from hpc_lstm.market.importing import import_prices
rows = import_prices([sys.argv[1]], sys.argv[2]).rows
print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
SYNTH = """
import resource, sys
from hpc_lstm.market.synthetic import synthesize
synthesize(sys.argv[2], symbols=5000, days=2500, seed=0)
print(5000 * 2500, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def write(path: Path, symbols: int, days: int, by_date: bool) -> None:
    """A CSV of made-up prices, a part at a time."""
    rng = np.random.default_rng(0)
    names = np.array([f"S{number:05}" for number in range(symbols)])
    dates = np.datetime_as_string(np.datetime64("2000-01-03") + np.arange(days))
    outer, inner = (dates, names) if by_date else (names, dates)
    first, second = ("date", "symbol") if by_date else ("symbol", "date")
    order = ["date", "symbol", "open", "high", "low", "close", "volume"]
    with open(path, "wb") as file:
        for start in range(0, len(outer), 100):
            part = outer[start : start + 100]
            rows = len(part) * len(inner)
            columns: dict[str, Any] = {
                first: np.repeat(part, len(inner)),
                second: np.tile(inner, len(part)),
                "volume": rng.integers(1000, 10_000_000, rows),
            }
            for name in ("open", "high", "low", "close"):
                columns[name] = np.round(rng.uniform(10, 500, rows), 2)
            table = pa.table({name: columns[name] for name in order})
            csv.write_csv(table, file, csv.WriteOptions(include_header=start == 0, quoting_style="none"))


def measure(path: Path, store: Path, program: str = PROGRAM) -> dict[str, float]:
    """Seconds, peak memory and rows of one program that writes ``store``."""
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", program, str(path), str(store)], check=True, capture_output=True, text=True
    )
    seconds = time.perf_counter() - begin
    rows, peak = (int(text) for text in done.stdout.split())
    store.unlink()
    return {"rows": rows, "seconds": round(seconds, 2), "peak_mb": round(peak * 1024 / 1e6, 1)}


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, value in (("symbols", 4000), ("days", 2500), ("repeats", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument(
        "--folder", default=None, help="for the files; default: the system's temporary folder"
    )
    options = parser.parse_args()
    cases: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path, store = Path(folder) / "prices.csv", Path(folder) / "market.h5"
        for case in ("by symbol", "by symbol, gzipped", "by date"):
            if case.endswith("gzipped"):
                with open(path, "rb") as plain, gzip.open(f"{path}.gz", "wb", 1) as packed:
                    shutil.copyfileobj(plain, packed, 1 << 20)
                source = Path(f"{path}.gz")
            else:
                write(path, options.symbols, options.days, by_date=case == "by date")
                source = path
            size = source.stat().st_size
            runs = [measure(source, store) for _ in range(options.repeats)]
            seconds = [run["seconds"] for run in runs]
            cases[case] = {
                "rows": runs[0]["rows"],
                "file_mb": round(size / 1e6, 1),
                "seconds": {"min": min(seconds), "median": float(np.median(seconds)), "max": max(seconds)},
                "peak_mb": max(run["peak_mb"] for run in runs),
            }
            print(case, cases[case], flush=True)
        runs = [measure(store, store, SYNTH) for _ in range(options.repeats)]
        synth = {key: max(run[key] for run in runs) for key in ("rows", "seconds", "peak_mb")}
        print("synth", synth, flush=True)
    result = {
        "question": "seconds and peak memory of importing a long CSV",
        "machine": describe(),
        "pyarrow": pa.__version__,
        "settings": {name: getattr(options, name) for name in ("symbols", "days", "repeats")},
        "limits": LIMITS,
        "import": cases,
        "synth, 5,000 symbols x 2,500 days": synth,
    }
    print(json.dumps(result, indent=2))
    write_results("io", result)


if __name__ == "__main__":
    main()
