"""Goes through the plan until the budget is spent: turns of every setting, and two clusters."""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import two_clusters

from gpu_scaling.peers import STEPS_A_CALL, Peers
from gpu_scaling.plan import OURS, TORCH, Cell, Turn, axes, plan, run_name
from gpu_scaling.results import Results
from hpc_lstm import config as configuration
from hpc_lstm.model.parameters import network_schema
from hpc_lstm.sweep.measure import Measurement
from hpc_lstm.sweep.records import make_record
from hpc_lstm.timing.timeline import PHASES

# Steps that do not count take at least this long: a GPU that has waited for its turn is then back at its clock.
WARMUP_S = 0.05
# What preparing a setting, and starting and ending two clusters, are taken to need.
PREPARE_S, CLUSTER_START_S = 15.0, 15.0
# Averaging intervals of strong scaling.
STRONG_EVERY = (1, 16)


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
        meetings = np.array([answer["meetings"] for answer in answers])
        calls = np.zeros((*meetings.shape[:2], len(PHASES)))
        for column, phase in enumerate(("compute", "wait", "average"), start=1):
            calls[:, :, PHASES.index(phase)] = meetings[:, :, column]
        nodes = [place["node"] for place in environment["ranks"]]
        measured = Measurement(turn.every, calls, nodes, meetings[0, :, 0].astype(np.int64))
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
