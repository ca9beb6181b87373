"""How long from launch to the first step, and what does a rank take by then?

    python benchmarks/startup.py [--turns 5] [--ranks 1 2 4]

Writes benchmarks/results/startup.json. Launch to the end of the first step, memory (RSS, and PSS, which shares out what
ranks have in common) and CPU time of the slowest or largest rank; files that rank 0 has opened, by an audit hook,
and libraries mapped; imports alone: the same modules in a process that does nothing else, less one without.
"cold": the pages of these files were dropped before (``posix_fadvise``; what other processes map stays). Then the other
commands on the run, median of the turns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import describe, write_results

LAUNCHED, REPORTS = "STARTUP_LAUNCHED", "STARTUP_REPORTS"
CONFIG = """
[data]
store = "{store}"
window = 30
[model]
units = 32
[train]
epochs = 1
[average]
every = 1
"""


def rank(arguments: list[str]) -> None:
    """``hpc-lstm`` with these arguments, whose first step is reported to a file of the folder $STARTUP_REPORTS."""
    opened: set[str] = set()
    sys.addaudithook(lambda event, about: opened.add(str(about[0])) if event == "open" else None)
    from hpc_lstm import cli
    from hpc_lstm.training import loop

    take_steps, reported = loop.take_steps, []

    def first_step(run: Any, state: Any) -> None:
        take_steps(run, state)
        if not reported:
            reported.append(True)
            write_report(run.world.rank, opened)

    loop.take_steps = first_step
    cli.main(arguments)


def write_report(number: int, opened: set[str]) -> None:
    """What this process has taken so far."""
    seconds = time.time() - float(os.environ[LAUNCHED])
    memory = dict(line.split(":", 1) for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
    mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if ".so" in line}
    report = {
        "seconds": seconds,
        "cpu_s": time.process_time(),
        "rss_mib": int(memory["Rss"].split()[0]) / 1024,
        "pss_mib": int(memory["Pss"].split()[0]) / 1024,
        "files": sorted(opened | mapped),
        "modules": [name for name in sys.modules if name not in ("__main__", "__mp_main__", "machine")],
    }
    Path(os.environ[REPORTS], f"{number}.json").write_text(json.dumps(report))


def timed(command: list[str], **environment: str) -> float:
    """Wall seconds of a command, which must succeed."""
    begun = time.perf_counter()
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return time.perf_counter() - begun


def start(folder: Path, ranks: int) -> list[dict[str, Any]]:
    """The reports of all ranks of one run."""
    reports = Path(tempfile.mkdtemp(dir=folder))
    launcher = ["mpiexec", "-n", str(ranks)] if ranks > 1 else []
    command = [*launcher, sys.executable, __file__, "--rank", "train", str(folder / "job.toml")]
    timed(
        [*command, "--run-dir", str(reports / "run")], **{LAUNCHED: str(time.time()), REPORTS: str(reports)}
    )
    return [json.loads((reports / f"{number}.json").read_text()) for number in range(ranks)]


def drop_pages(files: list[str]) -> None:
    """Ask the system to forget what it has cached of these files."""
    for name in files:
        if os.path.isfile(name) and not name.startswith(("/proc", "/dev", "/sys")):
            handle = os.open(name, os.O_RDONLY)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


def imports_s(modules: list[str]) -> float:
    """Seconds for these modules in a process of their own."""
    code = (
        "import contextlib, importlib, sys, mpi4py; mpi4py.rc.initialize = False\n"
        "for name in sys.argv[1:]:\n"
        "    with contextlib.suppress(ImportError): importlib.import_module(name)"  # some make modules of their own
    )
    return timed([sys.executable, "-c", code, *modules]) - timed([sys.executable, "-c", ""])


def spread(values: list[float]) -> dict[str, float]:
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    options = parser.parse_args()
    results: dict[str, Any] = {"machine": describe(), "load": os.getloadavg()[0], "turns": options.turns}
    program = [sys.executable, "-m", "hpc_lstm"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        timed([*program, "synth", "--symbols", "5", "--days", "2500", "-o", str(folder / "market.h5")])
        (folder / "job.toml").write_text(CONFIG.format(store=folder / "market.h5"))
        for ranks in options.ranks:
            files = start(folder, ranks)[0]["files"]
            for cache in ("warm", "cold"):
                turns = []
                for _ in range(options.turns):
                    if cache == "cold":
                        drop_pages(files)
                    turns.append(start(folder, ranks))
                own = {
                    key: spread([max(one[key] for one in turn) for turn in turns])
                    for key in ("seconds", "cpu_s", "rss_mib", "pss_mib")
                }
                own["files"] = spread([len(turn[0]["files"]) for turn in turns])
                results[f"{ranks} ranks, {cache}"] = own
                print(f"{ranks} ranks, {cache}: {json.dumps(own)}")
        modules = turns[-1][0]["modules"]
        results["imports_s"] = spread([imports_s(modules) for _ in range(options.turns)])
        timed([*program, "train", str(folder / "job.toml"), "--run-dir", str(folder / "run")])
        for command in ("--help", "evaluate", "predict", "timing"):
            rest = {"--help": [], "predict": [str(folder / "run"), "--symbol", "SYN00001"]}
            words = [*program, command, *rest.get(command, [str(folder / "run")])]
            results[command] = spread([timed(words) for _ in range(options.turns)])
            print(f"{command}: {json.dumps(results[command])}")
    write_results("startup", results)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--rank"]:
        rank(sys.argv[2:])
    else:
        main()
