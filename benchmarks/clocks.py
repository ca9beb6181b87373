"""How long does comparing the ranks' clocks take, and how small is the error?

    python benchmarks/clocks.py [--ranks 2 4 8] [--repeats R]

Starts ranks with ``mpiexec``, possibly more than the machine has cores, and compares their clocks ``repeats`` times.
The time is the slowest rank's, measured from a barrier; the error is the largest that any rank states.
Results go to ``results/clocks.json``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from statistics import median

from machine import describe, write_results

from hpc_lstm.jobs.mpiexec import mpiexec_command


def compare_here(repeats: int) -> None:
    """On every rank: compare clocks; rank 0 prints the seconds and the error in ns."""
    from hpc_lstm.parallel.launch import connect
    from hpc_lstm.timing.clocks import compare_clocks
    from hpc_lstm.timing.timeline import Timeline

    world, timeline = connect(), Timeline()
    for _ in range(repeats):
        world.barrier()
        began = time.perf_counter()
        error = compare_clocks(world, timeline).error_ns
        results = world.allgather((time.perf_counter() - began, error))
        if world.rank == 0:
            print(
                json.dumps([max(took for took, _ in results), max(error for _, error in results)]), flush=True
            )


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--compare", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.compare:
        compare_here(arguments.repeats)
        return
    table = {}
    for ranks in arguments.ranks:
        command = [*mpiexec_command(), "-n", str(ranks), sys.executable, __file__, "--compare"]
        done = subprocess.run(
            [*command, "--repeats", str(arguments.repeats)], check=True, capture_output=True, text=True
        )
        took, errors = zip(*map(json.loads, done.stdout.splitlines()), strict=True)
        table[str(ranks)] = {
            "seconds": {"median": median(took), "max": max(took)},
            "error_us": {"median": median(errors) / 1e3, "max": max(errors) / 1e3},
        }
        print(f"{ranks:>4} ranks: {median(took):.4f} s, error {median(errors) / 1e3:.1f} us (median)")
    write_results("clocks", {"machine": describe(), "repeats": arguments.repeats, "by_ranks": table})


if __name__ == "__main__":
    main()
