"""The processes of both peers: started, asked, and started anew where they fail."""

from __future__ import annotations

import argparse
import importlib.util
import re
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from gpu_scaling.plan import OURS, TORCH, Cell, Turn
from gpu_scaling.results import Results
from hpc_lstm.jobs.mpiexec import mpiexec_command

sys.path.insert(0, str(Path(__file__).parents[1] / "peers"))
import launch

START_S, ANSWER_S = 120.0, 90.0
# Calls of the engine take up to so many steps; those that do not count are as long, so that their graphs exist.
STEPS_A_CALL = 16
# How often the ranks of a peer are started anew.
RESTARTS = 4
# Where a traceback names its exception; what follows are words of it.
EXCEPTION = re.compile(r"^[\w.]*(Error|Exception|Exit|Unavailable): ")


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


def cause(said: str) -> str:
    """The line that says what failed, of a traceback or of the end of a log; "" if nothing is said."""
    lines = said.strip().splitlines()
    named = [line for line in lines if EXCEPTION.match(line)]
    return (named or [line for line in lines if "rror" in line] or lines or [""])[-1].strip()
