"""Many examples of each kind of changed input, on all processors, within a time, and going on where it stopped.

    python tests/fuzz/campaign.py --examples 100000 --record fuzz.json

The record says which seeds of each kind were run, what came of them, and on what; kinds with the fewest examples
come first.
The exit code is 1 if an input was neither read nor refused in one line.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

sys.path[:0] = [str(folder) for folder in Path(__file__).parents[:3]]

# Seeds that one process runs in one go.
CHUNK = 250
# Between two writings of the record.
SAVE_S = 10


class Record:
    """What has been run of each kind, as one JSON file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        content = json.loads(path.read_text()) if path.exists() else {"runs": [], "kinds": {}}
        self.runs: list[dict[str, Any]] = content["runs"]
        self.kinds: dict[str, dict[str, Any]] = content["kinds"]

    def kind(self, name: str) -> dict[str, Any]:
        """Starts of the chunks that are done, counts of what came of their examples, and what is wrong by seed."""
        return self.kinds.setdefault(name, {"read": 0, "refused": 0, "wrong": {}, "chunks": []})

    def add(self, name: str, start: int, found: dict[int, str]) -> None:
        """Count one chunk."""
        from worker import REFUSED, RIGHT

        kind = self.kind(name)
        counts = Counter(found.values())
        kind["read"] += counts[RIGHT]
        kind["refused"] += counts[REFUSED]
        kind["wrong"] |= {
            str(seed): text[-4000:] for seed, text in found.items() if text not in (RIGHT, REFUSED)
        }
        kind["chunks"] = sorted([*kind["chunks"], start])

    def summary(self) -> dict[str, Any]:
        """Counts by kind, and with which versions of what reads the inputs: the record without the seeds."""
        kinds = {
            name: {"read": kind["read"], "refused": kind["refused"], "wrong": len(kind["wrong"])}
            for name, kind in self.kinds.items()
        }
        used = [run["versions"] for run in self.runs]
        versions = [one for place, one in enumerate(used) if one not in used[:place]]
        return {
            "inputs": sum(sum(kind.values()) for kind in kinds.values()),
            "versions": versions,
            "kinds": kinds,
        }

    def save(self) -> None:
        """Write the file, whole or not at all."""
        from hpc_lstm.files import whole_file

        content = {"chunk": CHUNK, "runs": self.runs, "kinds": self.kinds}
        with whole_file(self.path) as part:
            part.write_text(json.dumps(content, indent=1))


def tasks(record: Record, names: Iterable[str], examples: int) -> list[tuple[str, int]]:
    """Chunks that are not done, of kinds with the fewest examples first."""
    missing = [
        (rank, name, start)
        for name in names
        for rank, start in enumerate(range(0, examples, CHUNK))
        if start not in record.kind(name)["chunks"]
    ]
    return [(name, start) for _, name, start in sorted(missing, key=lambda task: task[0])]


class Runner:
    """Runs chunks in one process, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        from inspector import Inspector
        from worker import INSPECTION_S

        from hpc_lstm.hdf5 import reading

        self._folder = Path(tempfile.mkdtemp(dir=folder))
        self._examples: dict[str, Callable[[int], None]] = {}
        os.environ["HPC_LSTM_CACHE"] = str(self._folder / "cache")
        reading._inspect = Inspector(INSPECTION_S)
        importlib.import_module("matplotlib.figure")  # some examples draw: no child imports it again

    def run(self, name: str, start: int) -> dict[int, str]:
        """What came of each seed of a chunk."""
        from targets import TARGETS
        from worker import outcome, outcomes

        if name not in self._examples:
            target = next(target for target in TARGETS if target.name == name)
            folder = self._folder / name.replace(" ", "-")
            folder.mkdir()
            self._examples[name] = target.example(folder)
            outcome(self._examples[name], -1)  # imports what each child would import anew
        return outcomes(self._examples[name], range(start, start + CHUNK))


def work(
    folder: Path, chunks: list[tuple[str, int]], taken: Any, deadline: float, answers: Connection
) -> None:
    """Run chunks that nobody has taken, as long as there is time."""
    runner = None
    while time.monotonic() < deadline:
        with taken.get_lock():
            number = taken.value
            taken.value += 1
        if number >= len(chunks):
            break
        runner = runner or Runner(folder)
        answers.send((*chunks[number], runner.run(*chunks[number])))


def run_all(record: Record, chunks: list[tuple[str, int]], jobs: int, seconds: float) -> None:
    """Run chunks in processes, and count each as it ends."""
    context = multiprocessing.get_context("fork")
    deadline = time.monotonic() + seconds
    taken = context.Value("l", 0)
    with tempfile.TemporaryDirectory(prefix="hpc_lstm-fuzz-") as folder:
        answers = []
        for _ in range(jobs):
            receiving, sending = context.Pipe(duplex=False)
            context.Process(target=work, args=(Path(folder), chunks, taken, deadline, sending)).start()
            sending.close()
            answers.append(receiving)
        saved = time.monotonic()
        while answers:
            for answer in wait(answers):
                assert isinstance(answer, Connection)
                try:
                    record.add(*answer.recv())
                except EOFError:
                    answers.remove(answer)
            if time.monotonic() - saved > SAVE_S:
                record.save()
                saved = time.monotonic()


def versions() -> dict[str, str]:
    """Of what reads the inputs."""
    import h5py
    import numpy
    import pyarrow
    import pydantic

    modules = {"numpy": numpy, "h5py": h5py, "pyarrow": pyarrow, "pydantic": pydantic}
    found = {name: module.__version__ for name, module in modules.items()}
    return {"python": platform.python_version(), "hdf5": h5py.version.hdf5_version} | found


def main() -> int:
    """Run what the command line asks for."""
    from targets import TARGETS

    names = [target.name for target in TARGETS]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--examples", type=int, default=100_000, help="of each kind, with those in the record"
    )
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="after which no more are begun")
    parser.add_argument("--record", type=Path, default=Path("fuzz.json"), help="goes on where it is there")
    parser.add_argument(
        "--summary", type=Path, help="write the counts of the record to this file, and run nothing"
    )
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="these kinds", metavar="KIND")
    options = parser.parse_args()

    record = Record(options.record)
    if options.summary:
        options.summary.write_text(json.dumps(record.summary(), indent=1) + "\n")
        return 0
    begun = time.monotonic()
    run = {"began": time.strftime("%Y-%m-%dT%H:%M:%S"), "jobs": options.jobs, "seconds": 0}
    run |= {"processors": os.cpu_count(), "versions": versions()}
    record.runs.append(run)
    try:
        run_all(record, tasks(record, options.only, options.examples), options.jobs, options.seconds)
    finally:
        run["seconds"] = round(time.monotonic() - begun)
        record.save()
    for name in names:
        kind = record.kind(name)
        wrong = len(kind["wrong"])
        print(f"{name:16} {kind['read']:>7,} read {kind['refused']:>7,} refused {wrong:>7,} wrong")
    return int(any(record.kind(name)["wrong"] for name in names))


if __name__ == "__main__":
    sys.exit(main())
