"""Run a command of ``hpc-lstm``, and report what each rank has taken by the end of its first step.

    FIRST_STEP_LAUNCHED=$(date +%s.%N) FIRST_STEP_REPORTS=FOLDER python benchmarks/first_step.py train job.toml

Rank r writes r.json to the folder: seconds since the launch, CPU seconds, memory, the files that Python has opened and
the libraries that are mapped, and the modules that it has imported. It imports nothing else itself, so that what it
counts is the program's.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

LAUNCHED, REPORTS = "FIRST_STEP_LAUNCHED", "FIRST_STEP_REPORTS"


def main(arguments: list[str]) -> None:
    """``hpc-lstm`` with these arguments."""
    opened: set[str] = set()

    def note(event: str, about: tuple[Any, ...]) -> None:
        # Numbers are of files that are open already.
        if event == "open" and isinstance(about[0], str) and not about[2] & os.O_DIRECTORY:
            opened.add(about[0])

    sys.addaudithook(note)
    from hpc_lstm.cli import main as run
    from hpc_lstm.cli import training

    connect = training.connected_world

    @contextlib.contextmanager
    def connected_world(*given: Any) -> Iterator[Any]:
        with connect(*given) as world:
            from hpc_lstm.training import loop  # what the command imports next

            take_steps, reported = loop.take_steps, []

            def first_step(run: Any, state: Any) -> Any:
                averages = take_steps(run, state)
                if not reported:
                    reported.append(True)
                    write_report(world.rank, opened)
                return averages

            loop.take_steps = first_step
            yield world

    training.connected_world = connected_world
    run(arguments)


def write_report(rank: int, opened: set[str]) -> None:
    """What this process has taken so far."""
    seconds, cpu_s = time.time() - float(os.environ[LAUNCHED]), time.process_time()
    files = sorted(opened)  # without those that are read here
    memory = dict(line.split(":", 1) for line in read("/proc/self/smaps_rollup")[1:])
    mapped = {line.split()[-1] for line in read("/proc/self/maps") if ".so" in line}
    report = {
        "seconds": seconds,
        "cpu_s": cpu_s,
        "rss_mib": int(memory["Rss"].split()[0]) / 1024,
        "pss_mib": int(memory["Pss"].split()[0]) / 1024,
        "opened": files,
        "mapped": sorted(mapped),
        "modules": [name for name in sys.modules if name not in ("__main__", "__mp_main__")],
    }
    with open(os.path.join(os.environ[REPORTS], f"{rank}.json"), "w") as file:
        json.dump(report, file)


def read(path: str) -> list[str]:
    with open(path) as file:
        return file.read().splitlines()


if __name__ == "__main__":
    main(sys.argv[1:])
