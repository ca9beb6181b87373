"""How much memory does a rank take? Its slice plus a constant: windows are never stored.

    python benchmarks/memory.py [--ranks N] [--symbols S] [--days D]

Makes a universe of 5,000 symbols x 2,500 days, trains a few steps on 5 of its columns with windows of 60 rows on 4
ranks, and notes the peak resident memory of each rank as the operating system counts it. Results go to
``results/memory.json``.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from machine import describe, write_results

from hpc_lstm.jobs.mpiexec import mpiexec_command

CONFIG = """
[data]
store = "market.h5"
features = ["open", "high", "low", "close", "volume"]
target = "close"
scaling = "minmax"
window = 60
split = [0.9, 0.05, 0.05]
[model]
layers = 1
units = 4
dropout = 0.0
[train]
epochs = 1
batch_size = {batch_size}
"""
# Each rank ends by saying the most memory it ever held.
RANK = """
import resource, sys
from hpc_lstm import cli
try:
    cli.main(sys.argv[1:])
finally:
    # In one write: the ranks' lines must not get into one another.
    sys.stdout.write(f"peak_kib {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss} \\n")
    sys.stdout.flush()
"""


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--symbols", type=int, default=5000)
    parser.add_argument("--days", type=int, default=2500)
    parser.add_argument("--batch-size", type=int, default=4096)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "job.toml").write_text(CONFIG.format(batch_size=arguments.batch_size))
        size = ["--symbols", str(arguments.symbols), "--days", str(arguments.days)]
        subprocess.run(
            [sys.executable, "-m", "hpc_lstm", "synth", *size, "-o", str(folder / "market.h5")], check=True
        )
        ranks = [*mpiexec_command(), "-n", str(arguments.ranks), sys.executable, "-c", RANK]
        done = subprocess.run(
            [*ranks, "train", str(folder / "job.toml"), "--run-dir", str(folder / "run")],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    peaks = [int(found) / 1024 for found in re.findall(r"peak_kib (\d+) ", done.stdout)]
    if len(peaks) != arguments.ranks:
        raise SystemExit(f"{len(peaks)} of {arguments.ranks} ranks have said their peak")
    print("peak memory of each rank, MiB: " + ", ".join(f"{peak:.0f}" for peak in peaks))
    write_results(
        "memory",
        {
            "machine": describe(),
            "symbols": arguments.symbols,
            "days": arguments.days,
            "features": 5,
            "window": 60,
            "ranks": arguments.ranks,
            "peak_mib_of_each_rank": [round(peak) for peak in peaks],
        },
    )


if __name__ == "__main__":
    main()
