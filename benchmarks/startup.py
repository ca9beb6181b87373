"""How long from launch to the first step, and what does a rank take by then?

    python benchmarks/startup.py [--turns 5] [--ranks 1 2 4]

Writes benchmarks/results/startup.json, the tables between the two marks in docs/performance.md and the script's row
in docs/measurements.md. Launch to the end of the first step, memory (RSS, and PSS, which shares out what ranks have
in common) and CPU time of the slowest or largest rank; files that rank 0 has opened, by an audit hook, and libraries
mapped (``first_step.py``); imports alone: the same modules in a process that does nothing else, less one without.
"cold": the pages of these files were dropped before (``posix_fadvise``; what other processes map stays). Then the
other commands on the run. On a busy machine ``chrt -r 1`` in front lets them go first, as on an idle one.
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

from first_step import LAUNCHED, REPORTS
from machine import describe, write_results

from hpc_lstm.files import write_text
from hpc_lstm.jobs.mpiexec import mpiexec_command

ROOT = Path(__file__).parents[1]
FIRST_STEP = Path(__file__).with_name("first_step.py")
PAGE, SUMMARY = ROOT / "docs" / "performance.md", ROOT / "docs" / "measurements.md"
BEGIN, END = (
    "<!-- Written by benchmarks/startup.py -->\n",
    "<!-- End of what benchmarks/startup.py writes -->\n",
)
# With it, Python would compile the sources anew in every process, which an installed package spares it.
UNSET = ("PYTHONDONTWRITEBYTECODE",)
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


def timed(command: list[str], **environment: str) -> tuple[float, float]:
    """Wall and CPU seconds of a command, which must succeed."""
    given = {name: value for name, value in os.environ.items() if name not in UNSET}
    begun, before = time.perf_counter(), os.times()
    done = subprocess.run(command, env=given | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    after = os.times()
    cpu = sum(after[2:4]) - sum(before[2:4])  # user and system time of children that have ended
    return time.perf_counter() - begun, cpu


def turns_of(command: list[str], turns: int, less: list[str] | None = None) -> dict[str, Any]:
    """Seconds of a command, less those of another one at the same time."""
    found = []
    for _ in range(turns):
        wall, cpu = timed(command)
        base = (0.0, 0.0) if less is None else timed(less)
        found.append((wall - base[0], cpu - base[1]))
    return {"seconds": spread([wall for wall, _ in found]), "cpu_s": spread([cpu for _, cpu in found])}


def start(folder: Path, ranks: int) -> list[dict[str, Any]]:
    """The reports of all ranks of one run."""
    reports = Path(tempfile.mkdtemp(dir=folder))
    launcher = [*mpiexec_command(), "-n", str(ranks)] if ranks > 1 else []
    command = [*launcher, sys.executable, str(FIRST_STEP), "train", str(folder / "job.toml")]
    timed(
        [*command, "--run-dir", str(reports / "run")], **{LAUNCHED: str(time.time()), REPORTS: str(reports)}
    )
    return [json.loads((reports / f"{number}.json").read_text()) for number in range(ranks)]


def files_of(report: dict[str, Any]) -> set[str]:
    """The files that a rank has opened or mapped."""
    return {*report["opened"], *report["mapped"]}


def drop_pages(files: set[str]) -> None:
    """Ask the system to forget what it has cached of these files."""
    for name in files:
        if os.path.isfile(name) and not name.startswith(("/proc", "/dev", "/sys")):
            handle = os.open(name, os.O_RDONLY)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


def imports(modules: list[str], turns: int) -> dict[str, Any]:
    """Seconds for these modules in a process of their own."""
    code = (
        "import contextlib, importlib, sys, mpi4py; mpi4py.rc.initialize = False\n"
        # As the program does, on a rank that is alone.
        "from hpc_lstm.cli.startup import end_without_collection, prepare_imports\n"
        "from hpc_lstm.parallel.mpi_start import loading_mpi\n"
        "prepare_imports(); end_without_collection()\n"
        "with loading_mpi(on_one_node=True):\n"
        "    for name in sys.argv[1:]:\n"
        "        with contextlib.suppress(ImportError): importlib.import_module(name)"  # some make modules of their own
    )
    return turns_of([sys.executable, "-c", code, *modules], turns, less=[sys.executable, "-c", ""])


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
    # By chrt, on a machine that does other work: what is measured goes first.
    results["real_time"] = os.sched_getscheduler(0) in (os.SCHED_RR, os.SCHED_FIFO)
    program = [sys.executable, "-m", "hpc_lstm"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        timed([*program, "synth", "--symbols", "5", "--days", "2500", "-o", str(folder / "market.h5")])
        (folder / "job.toml").write_text(CONFIG.format(store=folder / "market.h5"))
        for ranks in options.ranks:
            files = files_of(start(folder, ranks)[0])
            for cache in ("warm", "cold"):
                turns = []
                for _ in range(options.turns):
                    if cache == "cold":
                        drop_pages(files)
                    turns.append(start(folder, ranks))
                own: dict[str, Any] = {
                    key: spread([max(one[key] for one in turn) for turn in turns])
                    for key in ("seconds", "cpu_s", "rss_mib", "pss_mib")
                }
                own["files"] = spread([len(files_of(turn[0])) for turn in turns])
                results[f"{title(ranks)}, {cache}"] = own
                print(f"{title(ranks)}, {cache}: {json.dumps(own)}")
        modules = turns[-1][0]["modules"]
        results["imports"] = imports(modules, options.turns)
        results["commands"] = {}
        for command, words in commands(folder, program):
            results["commands"][command] = turns_of(words, options.turns)
            print(f"{command}: {json.dumps(results['commands'][command])}")
    write_results("startup", results)
    before, _, rest = PAGE.read_text().partition(BEGIN)
    write_text(PAGE, f"{before}{BEGIN}{tables(results)}{END}{rest.partition(END)[2]}")
    write_row(results, options.ranks)


def write_row(results: dict[str, Any], ranks: list[int]) -> None:
    """Write the script's row in docs/measurements.md, which follows that of memory.py."""
    runs = [results[f"{title(number)}, warm"] for number in ranks]
    seconds = " / ".join(f"{run['seconds']['median']:.2f}" for run in runs)
    row = (
        f"| `train` from its launch to the end of the first step on {' / '.join(map(str, ranks))} ranks; memory (RSS) "
        f"of a rank; files that it opens; median of {results['turns']} with {results['machine']['processor']} "
        "([more](performance.md#how-long-a-start-takes)) "
        f"| {seconds} s; {runs[0]['rss_mib']['median']:.0f} MiB; {runs[0]['files']['median']:.0f} | `startup.py` |\n"
    )
    lines = [line for line in SUMMARY.read_text().splitlines(True) if not line.endswith("| `startup.py` |\n")]
    at = next(number for number, line in enumerate(lines, 1) if line.endswith("| `memory.py` |\n"))
    write_text(SUMMARY, "".join([*lines[:at], row, *lines[at:]]))


def title(ranks: int) -> str:
    return f"{ranks} rank{'' if ranks == 1 else 's'}"


def commands(folder: Path, program: list[str]) -> list[tuple[str, list[str]]]:
    """The other commands, each with its words, on a run that met at a folder."""
    url, run = (folder / "bucket").as_uri(), str(folder / "run")
    settings = [f"storage.url={url}", "sync.cluster=one", "average.every=16"]
    training = [*program, "train", str(folder / "job.toml"), "--run-dir", run]
    timed([*training, *(word for setting in settings for word in ("--set", setting))])
    words = {
        "--help": [],
        "evaluate": [run],
        "predict": [run, "--symbol", "SYN00001"],
        "timing": [run],
        "rounds": [url],
        "checkpoints": [url],
        "report": [run],
    }
    return [(command, [*program, command, *rest]) for command, rest in words.items()]


def tables(results: dict[str, Any]) -> str:
    """What was measured, in Markdown."""
    machine, priority = results["machine"], ", at real-time priority" if results["real_time"] else ""
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}, load {results['load']:.1f} "
        f"before{priority}; median (smallest to largest) of {results['turns']}; of several ranks the slowest or "
        "largest.",
        "",
        "| `train`, launch to first step | wall, s | CPU, s | RSS, MiB | PSS, MiB | files |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, own in results.items():
        if ", warm" in name or ", cold" in name:
            digits = {"seconds": 2, "cpu_s": 2, "rss_mib": 0, "pss_mib": 0, "files": 0}
            lines.append(f"| {name} | {' | '.join(cell(own[key], digits[key]) for key in digits)} |")
    lines += ["", "| a whole process | wall, s | CPU, s |", "| --- | --- | --- |"]
    for name, own in (
        ("imports of `train` alone", results["imports"]),
        *((f"`{c}`", o) for c, o in results["commands"].items()),
    ):
        lines.append(f"| {name} | {cell(own['seconds'], 2)} | {cell(own['cpu_s'], 2)} |")
    return "\n".join(lines) + "\n"


def cell(values: dict[str, float], digits: int) -> str:
    """``median (min to max)``."""
    low, middle, high = (f"{values[key]:.{digits}f}" for key in ("min", "median", "max"))
    return middle if low == high else f"{middle} ({low} to {high})"


if __name__ == "__main__":
    main()
