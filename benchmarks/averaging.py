"""What share of the wall time do two ranks spend on averaging?

    python benchmarks/averaging.py [--ranks N] [--repeats R]

Trains the quickstart's kind of model on a made universe with ``mpiexec``, for several intervals of averaging in turn,
and reads each rank's phases from its timing file. ``average`` is the time of the averaging itself, ``wait`` that of
waiting for the slowest rank before it; both as shares of the wall time without start-up. Results go to
``results/averaging.json``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from machine import describe, write_results

from hpc_lstm.jobs.mpiexec import mpiexec_command

INTERVALS = (1, 4, 16, 64)
CONFIG = """
[data]
store = "market.h5"
features = ["close", "volume"]
scaling = "standard"
target = "log-returns"
[model]
units = 64
[train]
epochs = 2
batch_size = 64
[checkpoint]
every = "epoch"
"""


def shares(run: Path) -> dict[str, float]:
    """Share of the wall time after start-up, mean over ranks, of each phase."""
    found: dict[str, list[float]] = {}
    for path in sorted((run / "timing").glob("rank-*.jsonl")):
        footer = json.loads(path.read_text().splitlines()[-1])
        wall = footer["wall_ns"] - footer["phases_ns"]["startup"]
        for phase, time in footer["phases_ns"].items():
            found.setdefault(phase, []).append(time / wall)
    return {phase: sum(values) / len(values) for phase, values in found.items() if phase != "startup"}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    program = [sys.executable, "-m", "hpc_lstm"]
    measured: dict[int, list[dict[str, float]]] = {every: [] for every in INTERVALS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "job.toml").write_text(CONFIG)
        subprocess.run(
            [*program, "synth", "--symbols", "8", "--days", "1200", "-o", str(folder / "market.h5")],
            check=True,
        )
        for repeat in range(arguments.repeats):
            for every in INTERVALS:
                run = folder / f"run-{every}-{repeat}"
                command = [
                    *mpiexec_command(),
                    "-n",
                    str(arguments.ranks),
                    *program,
                    "train",
                    str(folder / "job.toml"),
                ]
                subprocess.run(
                    [*command, "--run-dir", str(run), "--set", f"average.every={every}"],
                    check=True,
                    stdout=subprocess.DEVNULL,
                )
                measured[every].append(shares(run))
    print(f"{'every':>6}{'average %':>12}{'wait %':>10}{'compute %':>12}{'preprocess %':>14}")
    table = {}
    for every, repeats in measured.items():
        row = {phase: [round(100 * shares[phase], 3) for shares in repeats] for phase in repeats[0]}
        table[str(every)] = row
        cells = (median(row[phase]) for phase in ("average", "wait", "compute", "preprocess"))
        print("{:>6}{:>12.2f}{:>10.2f}{:>12.2f}{:>14.2f}".format(every, *cells))
    write_results(
        "averaging",
        {
            "machine": describe(),
            "ranks": arguments.ranks,
            "repeats": arguments.repeats,
            "unit": "% of the wall time after start-up, mean over ranks, one number a repeat",
            "share_by_interval": table,
        },
    )


if __name__ == "__main__":
    main()
