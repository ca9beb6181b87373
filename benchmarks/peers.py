"""How fast does hpc_lstm train beside what else there is: keras.fit, TensorFlow's workers, torch DDP, Horovod?

    python benchmarks/peers.py                          # on this machine's cores, 2 ranks; about 20 minutes
    python benchmarks/peers.py --gpu --ranks 1,2        # a GPU a rank; 2 x LSTM(128), batches 8192, 1024, 512

All train the same network from the same weights on the same windows with the same optimizer, in turns, each in its own
environment (made below ``--cache`` on the first run) and in the fastest of the settings that its ``Entry`` lists, which
are tried first for every batch size. A turn trains on ``--samples`` windows from the initial weights on; start-up,
compilation and validation are not in its time. Results are written after every turn, and a run that was stopped goes
on where it was. ``peers/`` has a script a peer.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from machine import describe

from hpc_lstm.errors import InputError
from hpc_lstm.files import write_text
from hpc_lstm.jobs.mpiexec import mpiexec_command

sys.path.insert(0, str(Path(__file__).parent / "peers"))
import data
import launch

# How long ranks may take to start, and for an answer, on CPUs and on GPUs.
START_S, ANSWER_S, ANSWER_GPU_S = 300.0, 600.0, 90.0
# Steps to warm up, and again to compare settings by.
TRIAL_STEPS, TRIAL_STEPS_GPU = 16, 48


@dataclass(frozen=True)
class Entry:
    """A row of the table: one way of training, and the settings of which the fastest is taken.

    Attributes:
        peer: whose script it is.
        variants: launch (set once a process) and options (set once a model).
    """

    name: str
    peer: str
    variants: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


TF_THREADS = ("tensorflow", "one_an_operation")
FIT = [
    (threads, {"steps_per_execution": together, "jit": jit})
    for threads in TF_THREADS
    for together, jit in ((1, False), (16, False), (16, True))
]
WORKERS = [
    (threads, {"steps_per_execution": 16, "loop": loop}) for threads in TF_THREADS for loop in (False, True)
]
ONEDNN = [{"onednn": True}, {"onednn": False}]
CPU = [
    Entry("hpc_lstm", "hpc_lstm", [("ranks", {"every": 16})]),
    Entry("hpc_lstm, average.every = 1", "hpc_lstm", [("ranks", {"every": 1})]),
    Entry("keras.fit, one process", "keras_fit", FIT),
    Entry("MultiWorkerMirroredStrategy", "multi_worker", WORKERS),
    Entry("torch DDP, gloo", "torch_ddp", [("ranks", options) for options in ONEDNN]),
    Entry("Horovod, gloo", "horovod", [("horovod", options) for options in ONEDNN]),
]


def gpu_entries(ranks: int) -> list[Entry]:
    """Rows on GPUs; see ``rival`` for which of them are compared."""
    transports = ("nccl", "host") if ranks > 1 else ("auto",)

    def ours(every: int, precision: str) -> list[tuple[str, dict[str, Any]]]:
        return [("ranks", {"every": every, "precision": precision, "transport": by}) for by in transports]

    def torch(precision: str) -> list[tuple[str, dict[str, Any]]]:
        return [("ranks", {"precision": precision}), ("graph", {"precision": precision, "graph": True})]

    return [
        Entry("hpc_lstm, float32", "hpc_lstm", ours(16, "float32")),
        Entry("torch DDP, TF32", "torch_ddp", torch("tf32")),
        Entry("hpc_lstm, bfloat16", "hpc_lstm", ours(16, "bfloat16")),
        Entry("torch DDP, bfloat16", "torch_ddp", torch("bfloat16")),
        Entry("hpc_lstm, float32, average.every = 1", "hpc_lstm", ours(1, "float32")),
        Entry("hpc_lstm, bfloat16, average.every = 1", "hpc_lstm", ours(1, "bfloat16")),
        Entry("keras.fit, one process", "keras_fit", [(TF_THREADS[0], o) for _, o in FIT[:2]]),
        Entry("MultiWorkerMirroredStrategy", "multi_worker", [(TF_THREADS[0], o) for _, o in WORKERS[:2]]),
    ]


class OutOfTime(Exception):
    """``--budget-s`` is used up."""


class Measurement:
    """Processes, what they have measured, and where that is kept.

    Attributes:
        kept: results so far, as in the file of results.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.deadline = time.monotonic() + options.budget_s
        self.answer_s = ANSWER_GPU_S if options.gpu else ANSWER_S
        self.trial_steps = TRIAL_STEPS_GPU if options.gpu else TRIAL_STEPS
        self.name = "peers_gpu" if options.gpu else "peers"
        self.work = Path(
            options.work or Path(options.cache) / ("work-gpu" if options.gpu else "work")
        ).resolve()
        self.work.mkdir(parents=True, exist_ok=True)
        self.groups: dict[tuple[str, str], launch.Group] = {}
        job = {
            "units": options.units,
            "dropout": options.dropout,
            "learning_rate": 1e-3,
            "cores": len(os.sched_getaffinity(0)),
            "gpu": options.gpu,
            "windows": options.windows,
        }
        self.kept: dict[str, Any] = {
            "job": job,
            "samples_a_turn": options.samples,
            "repeats": options.repeats,
        }
        found = json.loads(self._state.read_text()) if self._state.exists() else {}
        if {key: found.get(key) for key in self.kept} == self.kept and not found.get("complete"):
            self.kept = found
            print(f"going on from {self._state}")
        else:
            windows = data.write(self.work, job)
            print(f"{windows} windows")
            self.kept |= {
                "machine": describe(),
                "train_windows": windows,
                "complete": False,
                "peers": {},
                "unavailable": {},
                "cases": {},
            }

    @property
    def _state(self) -> Path:
        return self.work / "state.json"

    def keep(self) -> None:
        """Write what is known so far, whole or not at all."""
        write_text(self._state, json.dumps(self.kept))
        results = self.options.results / f"{self.name}.json"
        results.write_text(json.dumps(self.kept, indent=2) + "\n")

    def check_time(self) -> None:
        """Raises: OutOfTime."""
        if time.monotonic() > self.deadline:
            raise OutOfTime

    def start(self, entries: list[Entry], ranks: int) -> list[Entry]:
        """Start what the entries need, together; returns those of which something runs."""
        try:
            mpiexec = mpiexec_command(self.options.mpiexec)
        except InputError as error:
            raise SystemExit(f"{error}, or name it by --mpiexec") from None
        for entry in entries:
            for name in dict.fromkeys(name for name, _ in entry.variants):
                try:
                    python = launch.given(self.options.python, entry.peer) or launch.environment(
                        entry.peer, Path(self.options.cache).resolve()
                    )
                    self.groups[entry.name, name] = launch.Group(
                        entry.peer, name, entry.name, python, self.work, ranks, mpiexec, self.options.gpu
                    )
                except (launch.Unavailable, OSError) as error:
                    self.lost(entry, name, ranks, error)
        for entry in entries:
            for name in dict.fromkeys(name for name, _ in entry.variants):
                if (entry.name, name) in self.groups:
                    try:
                        said = self.groups[entry.name, name].ready(START_S)
                        self.kept["peers"][f"{entry.name}, {name}, {ranks} ranks"] = said
                        print(f"{entry.name} ({name}): up after {said['startup_s']} s", flush=True)
                    except launch.Unavailable as error:
                        self.lost(entry, name, ranks, error)
        return [entry for entry in entries if any(key[0] == entry.name for key in self.groups)]

    def lost(self, entry: Entry, name: str, ranks: int, error: Exception) -> None:
        """Remember why a launch is not in the table, or no longer."""
        self.groups.pop((entry.name, name), None)
        lines = str(error).strip().splitlines()
        told = [line for line in lines if "Error" in line or "error" in line] or lines
        self.kept["unavailable"][f"{entry.name}, {name}, {ranks} ranks"] = told[-1][:300]
        print(f"{entry.name} ({name}): not measured: {str(error).strip().splitlines()[-1][:200]}", flush=True)
        self.keep()

    def choose(self, entry: Entry, ranks: int, batch: int, row: dict[str, Any]) -> bool:
        """Prepare the fastest of an entry's variants, tried or known from before; False if none works."""
        variants = [one for one in entry.variants if (entry.name, one[0]) in self.groups]
        if "chosen" in row:
            known = (row["chosen"]["launch"], row["chosen"]["options"])
            variants = [one for one in variants if one == known] or variants
        trials: list[tuple[float, int]] = []
        seconds: dict[int, float] = {}
        for number, (name, options) in enumerate(variants):
            self.check_time()
            if (entry.name, name) not in self.groups:
                continue  # an earlier variant ended it
            try:
                seconds[number] = self.prepare(entry, name, options, batch)
                if len(variants) > 1:
                    wall, _ = self.turn(entry, name, self.trial_steps, validate=False)
                    row.setdefault("trials", []).append(
                        {
                            "launch": name,
                            "options": options,
                            "samples_per_s": round(batch * ranks * self.trial_steps / wall["wall_s"]),
                        }
                    )
                    trials.append((wall["wall_s"], number))
                else:
                    trials.append((0.0, number))
            except launch.Unavailable as error:
                self.lost(entry, name, ranks, error)
        alive = [one for one in sorted(trials) if (entry.name, variants[one[1]][0]) in self.groups]
        if not alive:
            return False
        best = alive[0][1]
        name, options = variants[best]
        last_of_launch = max(number for _, number in alive if variants[number][0] == name)
        if best != last_of_launch:
            self.prepare(entry, name, options, batch)
        row["chosen"] = {"launch": name, "options": options}
        row["prepare_s"] = round(seconds[best], 1)
        return True

    def prepare(self, entry: Entry, name: str, options: dict[str, Any], batch: int) -> float:
        """Build, compile and warm up; the seconds that took."""
        command = {"do": "prepare", "batch": batch, "options": options, "steps": self.trial_steps}
        answers = self.groups[entry.name, name].ask(command, self.answer_s)
        return max(answer["prepare_s"] for answer in answers)

    def turn(self, entry: Entry, name: str, steps: int, validate: bool) -> tuple[dict[str, Any], float]:
        """One timed training; the slowest rank's answer, and the seconds that all ranks' processors took."""
        answers = self.groups[entry.name, name].ask(
            {"do": "train", "steps": steps, "validate": validate}, self.answer_s
        )
        slowest = max(answers, key=lambda answer: answer["wall_s"])
        return slowest, sum(answer["cpu_s"] for answer in answers)

    def measure(self, entries: list[Entry], ranks: int, batch: int) -> None:
        """One batch size: choose settings, then turns."""
        case = self.kept["cases"].setdefault(f"{ranks} ranks, batch {batch}", {})
        steps = self.options.samples // (batch * ranks)
        todo = [e for e in entries if len(case.get(e.name, {}).get("wall_s", [])) < self.options.repeats]
        running = [e for e in todo if self.choose(e, ranks, batch, case.setdefault(e.name, {}))]
        for entry in running:
            for key in ("wall_s", "cpu_s", "samples_per_s", "loss_before", "loss_after"):
                case[entry.name].setdefault(key, [])
        self.keep()
        for number in range(self.options.repeats if running else 0):
            for entry in running[number % len(running) :] + running[: number % len(running)]:
                row = case[entry.name]
                if len(row["wall_s"]) > number or (entry.name, row["chosen"]["launch"]) not in self.groups:
                    continue
                self.check_time()
                try:
                    answer, cpu = self.turn(entry, row["chosen"]["launch"], steps, validate=True)
                except launch.Unavailable as error:
                    self.lost(entry, row["chosen"]["launch"], ranks, error)
                    continue
                speed = batch * ranks * steps / answer["wall_s"]
                row["wall_s"].append(round(answer["wall_s"], 3))
                row["cpu_s"].append(round(cpu, 3))
                row["samples_per_s"].append(round(speed))
                row["loss_before"].append(answer["loss_before"])
                row["loss_after"].append(answer["loss_after"])
                self.keep()
        compare(case)
        print(f"\n{ranks} ranks, batch {batch} a rank, {steps} steps\n" + table(case), flush=True)

    def end(self) -> None:
        """End all processes."""
        launch.end_all(self.groups)


def compare(case: dict[str, Any]) -> None:
    """How many times as fast as each row its ``rival`` is, turn by turn, by wall and processor time."""
    for name, row in case.items():
        ours = case.get(rival(name, case), {})
        if not ours.get("wall_s") or not row.get("wall_s"):
            continue
        for key, times in (("hpc_lstm_is_times_as_fast", "wall_s"), ("by_processor_time", "cpu_s")):
            ratios = [theirs / mine for mine, theirs in zip(ours[times], row[times])]  # noqa: B905
            row[key] = {
                "median": round(statistics.median(ratios), 2),
                "least": round(min(ratios), 2),
                "most": round(max(ratios), 2),
            }


def rival(name: str, case: dict[str, Any]) -> str:
    """The row of hpc_lstm that a row is compared with: the first, in bfloat16 where the row computes in that.

    In float32 hpc_lstm's own kernels keep more bits than the TF32 that torch computes in.
    """
    ours = [one for one, row in case.items() if one.startswith("hpc_lstm") and row.get("wall_s")]
    return next((one for one in ours if ("bfloat16" in one) == ("bfloat16" in name)), "")


def overview(cases: dict[str, dict[str, Any]]) -> str:
    """All cases as docs/peers.md has them: a row an entry, median samples/s."""
    names = list(dict.fromkeys(name for case in cases.values() for name in case))
    lines = [f"| | {' | '.join(cases)} |", "| --- " * (1 + len(cases)) + "|"]
    for name in names:
        speeds = [case.get(name, {}).get("samples_per_s") for case in cases.values()]
        cells = [f"{statistics.median(each):,.0f}" if each else "not measured" for each in speeds]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def table(case: dict[str, Any]) -> str:
    """A row an entry: median speed, ratio, loss."""
    lines = [f"{'':36}{'samples/s':>10}{'hpc_lstm is':>14}{'by cpu time':>13}{'loss':>10}"]
    for name, row in case.items():
        if not row.get("wall_s"):
            lines.append(f"{name:36}{'-':>10}")
            continue
        speed, loss = statistics.median(row["samples_per_s"]), statistics.median(row["loss_after"])
        ratios = [
            f"{row[key]['median']:.2f}x" if key in row else "-"
            for key in ("hpc_lstm_is_times_as_fast", "by_processor_time")
        ]
        lines.append(f"{name:36}{speed:10.0f}{ratios[0]:>14}{ratios[1]:>13}{loss:10.6f}  {row['chosen']}")
    return "\n".join(lines)


def plot(results: dict[str, Any], path: Path) -> None:
    """Bars: samples a second by case and peer, with all turns as dots."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    cases = {
        name: case
        for name, case in results["cases"].items()
        if any(row.get("wall_s") for row in case.values())
    }
    figure, axes = pyplot.subplots(
        1, len(cases), figsize=(3.2 * len(cases) + 2, 4), squeeze=False, layout="constrained"
    )
    names = list(
        dict.fromkeys(name for case in cases.values() for name, row in case.items() if row.get("wall_s"))
    )
    colours = {name: f"C{number}" for number, name in enumerate(names)}
    for axis, (title, case) in zip(axes[0], cases.items(), strict=True):
        for place, name in enumerate(names):
            speeds = case.get(name, {}).get("samples_per_s", [])
            if speeds:
                axis.bar(place, statistics.median(speeds), color=colours[name], alpha=0.6, label=name)
                axis.plot([place] * len(speeds), speeds, ".", color="black", markersize=3)
        axis.set_title(title.replace("1 ranks", "1 rank"), fontsize=10)
        axis.set_xticks([])
    axes[0][0].set_ylabel("samples a second (median of turns; dots: turns)")
    handles = [pyplot.Rectangle((0, 0), 1, 1, color=colours[name], alpha=0.6) for name in names]
    figure.legend(handles, names, loc="outside lower center", ncols=3, fontsize=8)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    print(f"wrote {path}")


def cases(options: argparse.Namespace) -> Iterator[tuple[int, list[Entry]]]:
    """Ranks and the entries to measure on them."""
    wanted = options.only.split(",")
    for ranks in map(int, options.ranks.split(",")):
        entries = gpu_entries(ranks) if options.gpu else CPU
        yield ranks, [entry for entry in entries if entry.peer in wanted]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gpu", action="store_true", help="a GPU a rank")
    parser.add_argument("--only", default="", help="peers, by comma: " + ", ".join(launch.SCRIPTS))
    parser.add_argument("--ranks", default="2", help="by comma")
    parser.add_argument("--batches", default="", help="windows a rank, by comma")
    parser.add_argument("--units", type=int, default=0)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--windows", type=int, default=0, help="to train on")
    parser.add_argument(
        "--samples", type=int, default=0, help="windows that a turn trains on, again and again"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--budget-s", type=float, default=float("inf"), help="stop after this many seconds")
    parser.add_argument(
        "--python",
        default="",
        help="interpreter in place of environments of their own, by comma: for all peers, or PEER=PATH",
    )
    parser.add_argument("--mpiexec")
    parser.add_argument("--cache", default=".venv-peers", help="environments and work files")
    parser.add_argument("--work", default="", help="work files, if not below --cache")
    parser.add_argument(
        "--results", type=Path, default=Path(__file__).parent / "results", help="folder of the results"
    )
    options = parser.parse_args()
    options.only = options.only or ("hpc_lstm,torch_ddp" if options.gpu else ",".join(launch.SCRIPTS))
    options.batches = options.batches or ("8192,1024,512" if options.gpu else "16,64,256")
    options.units = options.units or (128 if options.gpu else 64)
    options.windows = options.windows or (2**18 if options.gpu else 2**14)
    options.samples = options.samples or (2**19 if options.gpu else 2**14)
    unknown = set(options.only.split(",")) - set(launch.SCRIPTS)
    if unknown:
        parser.error(f"no such peer: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the peers are ended, too
    measurement = Measurement(options)
    try:
        for ranks, entries in cases(options):
            running = measurement.start(entries, ranks)
            for batch in map(int, options.batches.split(",")):
                measurement.measure(running, ranks, batch)
            measurement.end()
        measurement.kept["complete"] = True
    except OutOfTime:
        print("out of time; what is known is written")
    finally:
        measurement.end()
        for case in measurement.kept["cases"].values():
            compare(case)
        measurement.keep()
    print("\n" + overview(measurement.kept["cases"]))
    try:
        plot(measurement.kept, options.results / f"{measurement.name}.png")
    except ImportError:
        print("no plot: matplotlib is not here")


if __name__ == "__main__":
    main()
