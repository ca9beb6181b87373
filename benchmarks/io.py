"""How fast, and in how much memory, are long CSVs imported and synthetic prices generated?

    python benchmarks/io.py [--symbols N] [--days D] [--repeats R] [--folder DIR]

The CSV has date, symbol, open, high, low, close and volume: ordered by symbol then date, as when symbols are downloaded
one after the other; by date then symbol, as exchanges write it; and the first one gzipped. Beside them, small files of
one symbol each. Each import is a process of its own, timed from start to end including Python's imports, by the clock
and by its processor time, which other programs on the machine disturb less; its peak memory is what the system reports.
Sniffing is the processor time in which files are opened and understood, before their rows are read, as a share of the
process's. Results go to ``results/io.json``.
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
import glob, sys, time
import pyarrow.compute, pyarrow.csv  # that sniffing does not pay for importing them
from hpc_lstm.market import importing
open_price_files, sniffing = importing.open_price_files, []
def timed(*arguments):
    begin = time.process_time()
    files = open_price_files(*arguments)
    sniffing.append(time.process_time() - begin)
    return files
importing.open_price_files = timed
rows = importing.import_prices(sorted(glob.glob(sys.argv[1])), sys.argv[2]).rows
print(rows, sum(sniffing))
"""
SYNTH = """
import sys
from hpc_lstm.market.synthetic import synthesize
synthesize(sys.argv[2], symbols=5000, days=2500, seed=0)
print(5000 * 2500, 0)
"""
USED = """
import resource
used = resource.getrusage(resource.RUSAGE_SELF)  # its ru_maxrss may be that of this script, which started it
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(used.ru_utime + used.ru_stime, peak)
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
            prices = np.sort(rng.uniform(10, 500, (4, rows)), axis=0).round(2)
            columns |= dict(zip(("low", "open", "close", "high"), prices, strict=True))
            table = pa.table({name: columns[name] for name in order})
            csv.write_csv(table, file, csv.WriteOptions(include_header=start == 0, quoting_style="none"))


def write_small(folder: Path, files: int, days: int = 250) -> int:
    """Small CSVs of one symbol each; their bytes."""
    rng = np.random.default_rng(0)
    dates = np.datetime_as_string(np.datetime64("2020-01-01") + np.arange(days))
    for number in range(files):
        close = np.round(100 * np.exp(np.cumsum(rng.normal(0, 0.01, days))), 2)
        rows = [
            f"{dates[n]},{c},{c + 1:.2f},{c - 1:.2f},{c},{c},{1000 + n}" for n, c in enumerate(close.tolist())
        ]
        text = "\n".join(["Date,Open,High,Low,Close,Adj Close,Volume", *rows, ""])
        (folder / f"S{number:04}.csv").write_text(text)
    return sum(path.stat().st_size for path in folder.iterdir())


def measure(path: Path, store: Path, program: str = PROGRAM) -> dict[str, float]:
    """Seconds, processor time, share of sniffing, peak memory and rows of one program that writes ``store``."""
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", program + USED, str(path), str(store)],
        check=True,
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - begin
    rows, sniffing, used, peak = (float(text) for text in done.stdout.split())
    store.unlink()
    return {
        "rows": int(rows),
        "seconds": round(seconds, 2),
        "cpu_seconds": round(used, 2),
        "sniffing": round(sniffing / used, 5),
        "peak_mb": round(peak * 1024 / 1e6, 1),
    }


def summary(runs: list[dict[str, float]], size: int) -> dict[str, Any]:
    """What several runs of one import took."""

    def spread(name: str) -> dict[str, float]:
        values = [run[name] for run in runs]
        return {"min": min(values), "median": round(float(np.median(values)), 5), "max": max(values)}

    return {
        "rows": runs[0]["rows"],
        "file_mb": round(size / 1e6, 1),
        "seconds": spread("seconds"),
        "cpu_seconds": spread("cpu_seconds"),
        "share_of_sniffing": spread("sniffing"),
        "peak_mb": max(run["peak_mb"] for run in runs),
    }


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, value in (("symbols", 4000), ("days", 2500), ("repeats", 1), ("files", 500)):
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
            runs = [measure(source, store) for _ in range(options.repeats)]
            cases[case] = summary(runs, source.stat().st_size)
            print(case, cases[case], flush=True)
        (small := Path(folder) / "small").mkdir()
        size = write_small(small, options.files)
        case = f"{options.files} small files"
        cases[case] = summary([measure(small / "*.csv", store) for _ in range(options.repeats)], size)
        print(case, cases[case], flush=True)
        runs = [measure(store, store, SYNTH) for _ in range(options.repeats)]
        synth = {key: max(run[key] for run in runs) for key in ("rows", "seconds", "cpu_seconds", "peak_mb")}
        print("synth", synth, flush=True)
    result = {
        "question": "seconds, peak memory and share of sniffing of importing long CSVs and many small ones",
        "machine": describe(),
        "pyarrow": pa.__version__,
        "settings": {name: getattr(options, name) for name in ("symbols", "days", "repeats", "files")},
        "limits": LIMITS,
        "import": cases,
        "synth, 5,000 symbols x 2,500 days": synth,
    }
    print(json.dumps(result, indent=2))
    write_results("io", result)


if __name__ == "__main__":
    main()
