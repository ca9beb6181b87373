"""How does training scale over the GPUs of one host, beside torch's DistributedDataParallel?

    PYTHONPATH=. python benchmarks/scaling_gpus.py --budget-s 500 [--output scaling_gpus.json]   # on GPUs
    PYTHONPATH=. python benchmarks/scaling_gpus.py --engine native --precisions float32 ...      # to try it
    python benchmarks/scaling_gpus_report.py scaling_gpus.json                        # tables, model, pictures

2 x LSTM, 60 rows of 5 features, in bfloat16 and float32, 128 and 64 units, 8,192 and 1,024 windows a rank (weak
scaling) or 8,192 of all ranks together (strong). On each number of GPUs weights are averaged every 1, 4, 16 and 64
steps by each transport that there is: NCCL, host memory, MPI where it takes GPU memory. torch averages gradients
every step, by NCCL within a CUDA graph of the whole step, in bfloat16 by autocast or in TF32. Two clusters of half
the GPUs each train one model that they merge at a local S3 server: without rounds, with rounds, and with rounds that
overlap.

The ranks of both peers, for each number of ranks, are started once and stay. A repeat is all turns of a setting in a
random order, so that a drift affects all alike; a turn begins with steps that do not count. Settings come in the order
of their value, and no repeat is begun that would end after ``--budget-s``. The file is written after each repeat, and a
call with the same ``--output`` measures what is missing.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import two_clusters
from machine import describe

from hpc_lstm import config as configuration
from hpc_lstm.errors import InputError
from hpc_lstm.files import write_text
from hpc_lstm.jobs.mpiexec import mpiexec_command
from hpc_lstm.model.parameters import network_schema
from hpc_lstm.parallel.gpu_discovery import installed_gpus
from hpc_lstm.sweep.measure import Measurement
from hpc_lstm.sweep.records import make_record
from hpc_lstm.sweep.table import deduplicate
from hpc_lstm.timing.timeline import PHASES

sys.path.insert(0, str(Path(__file__).parent / "peers"))
import data
import launch

FORMAT, VERSION = "hpc_lstm scaling on GPUs", 1
OURS, TORCH = "hpc_lstm", "torch_ddp"
START_S, ANSWER_S = 120.0, 90.0
# Steps that do not count take at least this long: a GPU that has waited for its turn is then back at its clock.
WARMUP_S = 0.05
# Calls of the engine take up to so many steps; those that do not count are as long, so that their graphs exist.
STEPS_A_CALL = 16
# What preparing a setting, and starting and ending two clusters, are taken to need.
PREPARE_S, CLUSTER_START_S = 15.0, 15.0
# Averaging intervals of strong scaling.
STRONG_EVERY = (1, 16)
# How often the ranks of a peer are started anew.
RESTARTS = 4
# Where a traceback names its exception; what follows are words of it.
EXCEPTION = re.compile(r"^[\w.]*(Error|Exception|Exit|Unavailable): ")


@dataclass(frozen=True)
class Cell:
    """A setting of the network and the batch.

    Attributes:
        batch: windows of a rank; with ``scaling`` "strong", of all ranks together.
    """

    scaling: str
    precision: str
    units: int
    batch: int

    @property
    def name(self) -> str:
        return f"{self.scaling}-{self.precision}-{self.units}-{self.batch}"

    def rank_batch(self, ranks: int) -> int:
        return self.batch // ranks if self.scaling == "strong" else self.batch


@dataclass(frozen=True)
class Turn:
    """One timed training in a cell."""

    peer: str
    ranks: int
    every: int = 1
    transport: str = "auto"

    @property
    def name(self) -> str:
        return f"{self.peer}-{self.ranks}" + (f"-{self.transport}-{self.every}" if self.peer == OURS else "")


class Results:
    """What is measured so far, and its file."""

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self.kept: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "settings": settings,
            "machine": describe() | {"topology": topology()},
            "peers": {},
            "unavailable": {},
            "records": [],
            "torch": [],
            "clusters": {},
            "calls_s": [],
        }
        if path.exists():
            self.kept |= load(path)
            if self.kept["settings"] != settings:
                raise SystemExit(f"{path}: measured with other settings; choose another --output")
            print(f"going on from {path}: {len(self.kept['records'])} runs", flush=True)
        self.kept["unavailable"] = {}  # this call tries again
        self.kept["calls_s"].append(0.0)
        self._begin = time.monotonic()
        self._points = {one["name"].rpartition("-r")[0]: one["point"] for one in self.kept["records"]}

    def point(self, name: str) -> int:
        """The number of a setting, by its name."""
        return self._points.setdefault(name, len(self._points))

    def has(self, cell: Cell, turn: Turn, repeat: int, *, graphed: bool = False) -> bool:
        """Whether a turn was measured; of torch, in a CUDA graph if ``graphed``."""
        name = run_name(cell, turn, repeat)
        if turn.peer == OURS:
            return any(one["name"] == name for one in self.kept["records"])
        return any(one["name"] == name and one["options"]["graph"] >= graphed for one in self.kept["torch"])

    def write(self) -> None:
        """Write the file, whole or not at all; environments and settings, which are alike, once."""
        self.kept["calls_s"][-1] = round(time.monotonic() - self._begin, 1)
        records = self.kept["records"]
        environments, places = deduplicate([one["environment"] for one in records])
        configs, config_places = deduplicate([one["config"] for one in records])
        shared = [
            one | {"environment": place, "config": config}
            for one, place, config in zip(records, places, config_places, strict=True)
        ]
        found = self.kept | {"environments": environments, "configs": configs, "records": shared}
        write_text(self.path, json.dumps(found) + "\n")


def load(path: Path) -> dict[str, Any]:
    """A file of results.

    Raises:
        SystemExit: it is none.
    """
    try:
        found = json.loads(path.read_text())
        if (found["format"], found["version"]) != (FORMAT, VERSION):
            raise ValueError("written by another script, or another version of this one")
        environments, configs = found.pop("environments"), found.pop("configs")
        for one in found["records"]:
            one |= {"environment": environments[one["environment"]], "config": configs[one["config"]]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SystemExit(f"{path}: holds no results on scaling: {error}") from None
    return found


class Peers:
    """The processes of both peers, one group for each number of ranks.

    Attributes:
        transports: those that a number of ranks may use.
    """

    def __init__(self, options: argparse.Namespace, work: Path, results: Results) -> None:
        self.options, self.work, self.results, self.gpu = options, work, results, options.engine == "fused"
        self.mpiexec = mpiexec_command(options.mpiexec)
        self.groups: dict[tuple[str, int], launch.Group] = {}
        self.transports: dict[int, list[str]] = {}
        self.unusable: set[tuple[str, int, str]] = set()
        self.without_graph: set[tuple[Cell, int]] = set()
        self.restarts: dict[tuple[str, int], int] = {}

    def start(self) -> None:
        """Start all groups together, and wait until each is up or has failed."""
        wanted = [
            (peer, ranks)
            for peer in (OURS, TORCH)
            if peer in self.options.only
            for ranks in self.options.ranks
        ]
        python = launch.given(self.options.python, TORCH)
        if python is None and importlib.util.find_spec("torch") is None:
            self.results.kept["unavailable"][TORCH] = (
                "torch is not installed; --python torch_ddp=PATH names one"
            )
            wanted = [one for one in wanted if one[0] != TORCH]
        for peer, ranks in wanted:
            self._start(peer, ranks)
        self._together(self._ready, wanted)

    def _start(self, peer: str, ranks: int) -> None:
        python = launch.given(self.options.python, peer) or sys.executable
        self.groups[peer, ranks] = launch.Group(
            peer, "ranks", peer, python, self.work, ranks, self.mpiexec, self.gpu
        )

    def _ready(self, peer: str, ranks: int) -> None:
        said = self.groups[peer, ranks].ready(START_S)
        self.results.kept["peers"][f"{peer}, {ranks} ranks"] = said
        if peer == OURS:
            offered = said["transports"] if ranks > 1 else ["auto"]
            wanted = [one for one in offered if one in self.options.transports or ranks == 1]
            self.transports[ranks] = [one for one in wanted if (peer, ranks, one) not in self.unusable]
        print(f"{peer}, {ranks} ranks: up after {said['startup_s']} s", flush=True)

    def _together(self, work: Callable[[str, int], None], wanted: Sequence[tuple[str, int]]) -> None:
        """Do something for all groups at the same time; those that fail are ended, and their error is kept."""

        def attempt(key: tuple[str, int]) -> None:
            try:
                work(*key)
            except launch.Unavailable as error:
                self.groups.pop(key).end(at_once=True)
                self.note(f"{key[0]}, {key[1]} ranks", error)

        with ThreadPoolExecutor(max(1, len(wanted))) as pool:
            list(pool.map(attempt, wanted))

    def note(self, what: str, error: Exception) -> None:
        """Keep why something could not be measured."""
        told = cause(str(error)) or type(error).__name__
        self.results.kept["unavailable"][what] = told[-400:]
        print(f"{what}: not measured: {told[-200:]}", flush=True)

    def prepare(self, cell: Cell) -> None:
        """Let all groups build what a cell needs; those that cannot are started anew, and try once more."""
        before = set(self.groups)
        self._together(lambda peer, ranks: self._prepare(cell, peer, ranks), list(before))
        for key in before - set(self.groups):
            self._restart(cell, *key)

    def _prepare(self, cell: Cell, peer: str, ranks: int) -> None:
        turn = Turn(peer, ranks, STEPS_A_CALL, self.transports[ranks][0] if peer == OURS else "")
        command = {
            "do": "prepare",
            "batch": cell.rank_batch(ranks),
            "options": self.options_of(cell, turn),
            "steps": STEPS_A_CALL,
        }
        try:
            self.groups[peer, ranks].ask(command, ANSWER_S)
        except launch.Unavailable:
            if peer == TORCH:
                self.without_graph.add((cell, ranks))
            raise

    def graphed(self, cell: Cell, ranks: int) -> bool:
        """Whether torch takes a whole step of a cell as one CUDA graph; where it failed to, it takes it without."""
        return self.gpu and (cell, ranks) not in self.without_graph

    def options_of(self, cell: Cell, turn: Turn) -> dict[str, Any]:
        if turn.peer == OURS:
            return {
                "every": turn.every,
                "transport": turn.transport,
                "units": cell.units,
                "precision": cell.precision,
                "engine": "fused",
            }
        precision = "tf32" if self.gpu and cell.precision == "float32" else cell.precision
        return {"units": cell.units, "precision": precision, "graph": self.graphed(cell, turn.ranks)}

    def train(
        self, cell: Cell, turn: Turn, steps: int, warmup: int, *, validate: bool = False
    ) -> list[dict[str, Any]] | None:
        """Every rank's answer to a turn; None if it failed, which is kept, and its group started anew."""
        key = (turn.peer, turn.ranks)
        try:
            group = self.groups[key]
            options = self.options_of(cell, turn)
            if turn.peer == OURS:  # the engine stays; the interval and the transport change
                command = {"batch": cell.rank_batch(turn.ranks), "options": options, "steps": 0}
                group.ask({"do": "prepare", **command}, ANSWER_S)
            return group.ask(
                {"do": "train", "steps": steps, "warmup": warmup, "validate": validate}, ANSWER_S
            )
        except launch.Unavailable as error:
            self.groups.pop(key).end(at_once=True)
            self.note(f"{turn.name} in {cell.name}", error)
            if turn.peer == OURS:
                self.unusable.add((*key, turn.transport))
            else:
                self.without_graph.add((cell, turn.ranks))
            self._restart(cell, *key)
            return None

    def _restart(self, cell: Cell, peer: str, ranks: int) -> None:
        """Start a group anew, and let it build what a cell needs; a group that failed too often stays away."""
        self.restarts[peer, ranks] = self.restarts.get((peer, ranks), 0) + 1
        if self.restarts[peer, ranks] <= RESTARTS:
            self._start(peer, ranks)
            for work in (self._ready, lambda peer, ranks: self._prepare(cell, peer, ranks)):
                if (peer, ranks) in self.groups:
                    self._together(work, [(peer, ranks)])

    def end(self) -> None:
        """End all processes."""
        launch.end_all(self.groups)


class Measuring:
    """Goes through the plan until the budget is spent."""

    def __init__(self, options: argparse.Namespace, work: Path, results: Results, peers: Peers) -> None:
        self.options, self.work, self.results, self.peers = options, work, results, peers
        self.end = time.monotonic() + options.budget_s - (time.monotonic() - options.begun)
        self.tables = json.loads((work / "job.json").read_text())["config"]
        self.prepared: Cell | None = None
        self.step_s: dict[tuple[str, int], float] = {}

    def left(self) -> float:
        """Seconds of the budget."""
        return self.end - time.monotonic()

    def cell(self, cell: Cell, repeats: int) -> bool:
        """Measure the missing turns of a cell; returns False once the budget is spent."""
        took = 0.0
        for repeat in range(repeats):
            missing = [turn for turn in self.turns(cell) if not self.measured(cell, turn, repeat)]
            if not missing:
                continue
            need = 0.0 if self.prepared == cell else PREPARE_S
            if self.left() < need + (took or len(missing) * 2 * self.options.turn_s):
                return False
            if self.prepared != cell:
                self.prepare(cell)
            begin = time.monotonic()
            order = np.random.default_rng([self.results.point(cell.name), repeat]).permutation(len(missing))
            for number in order:
                if self.left() < 0:
                    break
                self.turn(cell, missing[number], repeat)
            took = time.monotonic() - begin
            self.results.write()
            print(f"{cell.name}, repeat {repeat + 1}: {took:.1f} s, {self.left():.0f} s left", flush=True)
        return True

    def measured(self, cell: Cell, turn: Turn, repeat: int) -> bool:
        """Whether a turn was measured as it would be now."""
        return self.results.has(cell, turn, repeat, graphed=self.peers.graphed(cell, turn.ranks))

    def turns(self, cell: Cell) -> list[Turn]:
        """The turns of a repeat, of the groups that are up."""
        found = []
        for peer, ranks in sorted(self.peers.groups):
            if cell.batch % ranks and cell.scaling == "strong":
                continue
            if peer == TORCH:
                found.append(Turn(TORCH, ranks))
                continue
            usable = [t for t in self.peers.transports[ranks] if (OURS, ranks, t) not in self.peers.unusable]
            intervals = self.options.every
            if cell.scaling == "strong":
                usable, intervals = usable[:1], [one for one in intervals if one in STRONG_EVERY]
            found += [Turn(OURS, ranks, every, transport) for transport in usable for every in intervals]
        return found

    def prepare(self, cell: Cell) -> None:
        """Build, and time a few steps of each group alone."""
        begin = time.monotonic()
        self.peers.prepare(cell)
        self.prepared, self.step_s = cell, {}
        for peer, ranks in sorted(self.peers.groups):
            turn = Turn(peer, ranks, STEPS_A_CALL, self.peers.transports[ranks][0] if peer == OURS else "")
            steps = STEPS_A_CALL * (1 + (peer == OURS))
            answers = self.peers.train(cell, turn, steps, STEPS_A_CALL)
            if answers is not None:
                self.step_s[peer, ranks] = max(answer["wall_s"] for answer in answers) / steps
        times = ", ".join(f"{p} {n}: {s * 1e3:.3g}" for (p, n), s in self.step_s.items())
        print(f"{cell.name}: prepared in {time.monotonic() - begin:.1f} s; ms a step: {times}", flush=True)

    def turn(self, cell: Cell, turn: Turn, repeat: int) -> None:
        """Measure one turn and keep it."""
        step_s = self.step_s.get((turn.peer, turn.ranks))
        if step_s is None or (turn.peer, turn.ranks) not in self.peers.groups:
            return
        together = min(turn.every, STEPS_A_CALL)
        warmup = together * math.ceil(WARMUP_S / (step_s * together))
        steps = turn.every * max(2, math.ceil(self.options.turn_s / (step_s * turn.every)))
        answers = self.peers.train(cell, turn, steps, warmup, validate=repeat == 0)
        if answers is None:
            return
        wall = max(answer["wall_s"] for answer in answers)
        common = {
            "name": run_name(cell, turn, repeat),
            "repeat": repeat,
            "scaling": cell.scaling,
            "ranks": turn.ranks,
            "wall_s": wall,
            "loss_before": answers[0]["loss_before"],
            "loss_after": answers[0]["loss_after"],
        }
        if turn.peer == OURS:
            record = self.record(cell, turn, answers, common)
            self.results.kept["records"].append(record | common)
            return
        batch = cell.rank_batch(turn.ranks)
        self.results.kept["torch"].append(
            common
            | {
                "axes": axes(cell),
                "batch_size": batch,
                "steps": steps,
                "samples_per_second": batch * turn.ranks * steps / wall,
                "options": self.peers.options_of(cell, turn),
            }
        )

    def record(
        self, cell: Cell, turn: Turn, answers: list[dict[str, Any]], common: dict[str, Any]
    ) -> dict[str, Any]:
        """A turn as a sweep's record, so that the sweep's table, pictures and model take it."""
        environment = self.results.kept["peers"][f"{OURS}, {turn.ranks} ranks"]["environment"]
        batch = cell.rank_batch(turn.ranks)
        config = configuration.parse(
            {
                "data": self.tables["data"],
                "model": self.tables["model"] | {"units": cell.units},
                "train": {"batch_size": batch, "precision": cell.precision, "engine": "fused"},
                "average": {"every": turn.every, "transport": turn.transport},
            },
            "benchmark",
        )
        task = common | {
            "point": self.results.point(common["name"].rpartition("-r")[0]),
            "axes": {"average.every": turn.every, "average.transport": turn.transport, **axes(cell)},
            "config": config.model_dump(),
        }
        seconds = np.array([answer["cycles_s"] for answer in answers])
        cycles = np.zeros((*seconds.shape[:2], len(PHASES)))
        for column, phase in enumerate(("compute", "wait", "average")):
            cycles[:, :, PHASES.index(phase)] = seconds[:, :, column]
        measured = Measurement(turn.every, cycles, [place["node"] for place in environment["ranks"]])
        found = make_record(
            task,
            measured,
            environment,
            parameters=network_schema(config.model, len(config.data.features)).length,
            engine="fused",
            other_load=answers[0]["other_load"],
        )
        del found["busy"]["quantiles_s"]  # most of a record, and for simulations alone
        return found

    def clusters(self) -> bool:
        """Two clusters at an S3 server; returns False once the budget is spent."""
        ranks = max(self.options.ranks) // 2
        if self.results.kept["clusters"] or not ranks or not self.options.clusters_s:
            return True
        if self.left() < 3 * (self.options.clusters_s + CLUSTER_START_S):
            return False
        begin = time.monotonic()
        first, _ = plan(self.options)[0]
        assert first is not None
        alike = [
            one["samples_per_second"] / one["ranks"]
            for one in self.results.kept["records"]
            if one["name"].startswith(f"{first.name}-")
        ]
        windows = self.options.clusters_s * ranks * max(alike, default=0.0)
        store = self.work / "clusters" / "market.h5"
        try:
            two_clusters.write_store(store, self.options.clusters_windows)
            self.results.kept["clusters"] = two_clusters.measure_clusters(
                store,
                ranks,
                self.peers.mpiexec,
                gpu=self.peers.gpu,
                units=first.units,
                precision=first.precision,
                batch=first.batch,
                epochs=max(1, round(windows / (self.options.clusters_windows / 2))),
            )
        except Exception as error:  # whatever it is, the other settings are worth measuring
            self.peers.note("two clusters", error)
        self.results.write()
        print(f"two clusters: {time.monotonic() - begin:.1f} s, {self.left():.0f} s left", flush=True)
        return True


def cause(said: str) -> str:
    """The line that says what failed, of a traceback or of the end of a log; "" if nothing is said."""
    lines = said.strip().splitlines()
    named = [line for line in lines if EXCEPTION.match(line)]
    return (named or [line for line in lines if "rror" in line] or lines or [""])[-1].strip()


def axes(cell: Cell) -> dict[str, Any]:
    """The settings of a cell, by their keys."""
    return {
        "train.precision": cell.precision,
        "model.units": cell.units,
        "train.batch_size": cell.batch,
    }


def run_name(cell: Cell, turn: Turn, repeat: int) -> str:
    """The name of a run, the same in every call."""
    return f"{cell.name}-{turn.name}-r{repeat:02d}"


def plan(options: argparse.Namespace) -> list[tuple[Cell | None, int]]:
    """Cells with the repeats to bring them to, in the order of their value; None: the two clusters."""
    cells = [(p, u, b) for p in options.precisions for u in options.units for b in options.batches]
    weak = [Cell("weak", *one) for one in cells]
    strong = [Cell("strong", *one) for one in cells if one[2] == options.batches[0]]
    fewer = min(options.repeats, options.first_repeats)
    found: list[tuple[Cell | None, int]] = [(weak[0], options.repeats)]
    found += [(cell, options.repeats) for cell in weak[1 : len(options.batches)]]
    found += [(None, 1), (strong[0], fewer)]
    found += [(cell, fewer) for cell in [*weak[len(options.batches) :], *strong[1:]]]
    return found + [(cell, options.repeats) for cell in [*weak, *strong]]


def topology() -> str:
    """How the GPUs are linked, by nvidia-smi; "" without it."""
    try:
        asked = subprocess.run(["nvidia-smi", "topo", "-m"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return asked.stdout.partition("\n\n")[0]


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )

    def numbers(text: str) -> list[int]:
        return [int(part) for part in text.split(",")]

    def words(text: str) -> list[str]:
        return text.split(",")

    parser.add_argument("--output", type=Path, default=Path("scaling_gpus.json"), help="the file of results")
    parser.add_argument(
        "--budget-s", type=float, default=3600.0, help="no repeat is begun that would end later"
    )
    parser.add_argument(
        "--engine", choices=("fused", "native"), default="fused", help="native: on processors"
    )
    parser.add_argument("--ranks", type=numbers, help="default: 1, 2, 4, 8, as many GPUs as there are")
    parser.add_argument("--precisions", type=words, default=["bfloat16", "float32"])
    parser.add_argument("--units", type=numbers, default=[128, 64])
    parser.add_argument("--batches", type=numbers, default=[8192, 1024])
    parser.add_argument("--every", type=numbers, default=[1, 4, 16, 64])
    parser.add_argument("--transports", type=words, default=["nccl", "host", "mpi"], help="of averages")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--first-repeats", type=int, default=3, help="of all but the first settings at first")
    parser.add_argument("--turn-s", type=float, default=0.2, help="seconds of a turn, at least")
    parser.add_argument("--windows", type=int, default=2**18, help="to train on, of all ranks")
    parser.add_argument("--clusters-windows", type=int, default=4_000_000, help="of the two clusters' store")
    parser.add_argument("--clusters-s", type=float, default=8.0, help="that they train, about; 0: do not")
    parser.add_argument("--only", type=words, default=[OURS, TORCH], help="peers")
    parser.add_argument("--python", default="", help="interpreters, by comma: PATH, or PEER=PATH")
    parser.add_argument("--mpiexec")
    parser.add_argument("--work", type=Path, help="work files; default: a temporary folder")
    options = parser.parse_args()
    options.begun = time.monotonic()
    gpus = len(installed_gpus())
    if options.ranks is None:
        options.ranks = [n for n in (1, 2, 4, 8) if n <= gpus] if options.engine == "fused" else [1, 2]
    if options.engine == "fused" and gpus < max(options.ranks, default=1):
        parser.error(
            f"{gpus} GPUs for {max(options.ranks, default=1)} ranks; --engine native runs on processors"
        )
    if options.engine == "native" and options.precisions != ["float32"]:
        parser.error("--engine native computes in float32 alone: --precisions float32")
    return options


def main() -> None:
    """Measure what is missing, and write."""
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the peers are ended, too
    root = str(Path(__file__).resolve().parents[1])
    os.environ["PYTHONPATH"] = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    job = {
        "units": options.units[0],
        "more_units": options.units[1:],
        "dropout": 0.1,
        "learning_rate": 1e-3,
        "cores": len(os.sched_getaffinity(0)),
        "gpu": options.engine == "fused",
        "windows": options.windows,
    }
    gpus = sorted({gpu.name for gpu in installed_gpus()})
    kept = {key: value for key, value in job.items() if key != "cores"}
    results = Results(options.output, {"engine": options.engine, "gpus": gpus, **kept})
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        print(f"{data.write(work, job)} windows", flush=True)
        try:
            peers = Peers(options, work.resolve(), results)
        except InputError as error:
            raise SystemExit(f"{error}, or name it by --mpiexec") from None
        try:
            measuring = Measuring(options, work.resolve(), results, peers)
            peers.start()
            for cell, repeats in plan(options):
                if not (measuring.clusters() if cell is None else measuring.cell(cell, repeats)):
                    print("the budget is spent; the same call goes on", flush=True)
                    break
            else:
                print("complete", flush=True)
        finally:
            peers.end()
            results.write()
            print(f"wrote {options.output}", flush=True)


if __name__ == "__main__":
    main()
