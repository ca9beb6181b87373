"""Clusters, a store and a clock that obey a test: every operation is a point where anything may happen.

Each window that a cluster trains on adds one to a coordinate of its weights that is that window's alone. What a
contribution holds can so be read off its vector, whatever it says of itself.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hpc_lstm.clusters import documents, outer_step
from hpc_lstm.clusters.rounds import (
    Delete,
    Get,
    List,
    LogStoredRuns,
    Pause,
    Put,
    Rounds,
    Say,
    Standing,
    Terms,
)
from hpc_lstm.clusters.signing import Seal
from hpc_lstm.errors import RoundLostError

LENGTH = 512
SETTINGS = {"model.units": 3}
SCHEMA = "0" * 64
KEY = Seal(b"a key that all clusters share")


class Broken(AssertionError):
    """What must never happen has happened."""


class Store:
    """Objects, as they are and as a listing that lags behind shows them."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.put_first: dict[str, bytes] = {}  # as they were before anybody damaged them
        self.listings: list[list[str]] = [[]]
        self.late_puts: list[Put] = []
        self.counted: set[int] = set()
        self.round_weights: dict[int, np.ndarray] = {0: np.zeros(LENGTH, np.float32)}

    def put(self, operation: Put) -> bool:
        if operation.key in self.objects:
            return False
        self.objects[operation.key] = operation.data
        self.put_first.setdefault(operation.key, operation.data)
        self.listings.append(sorted(self.objects))
        if operation.key.endswith("merged.json"):
            self._audit(json.loads(operation.data))
        return True

    def list(self, prefix: str, lag: int = 0) -> list[str]:
        keys = self.listings[max(0, len(self.listings) - 1 - lag)]
        return [key for key in keys if key.startswith(prefix)]

    def damage(self, key: str) -> None:
        whole = self.objects[key]
        self.objects[key] = whole[:-1] + bytes([whole[-1] ^ 1])

    def answer(self, wanted: Any, lag: int = 0) -> Any:
        """Do an operation on objects."""
        if isinstance(wanted, Put):
            return self.put(wanted)
        if isinstance(wanted, Get):
            return self.objects.get(wanted.key)
        if isinstance(wanted, List):
            return self.list(wanted.prefix, lag)
        if isinstance(wanted, Delete):
            self.delete(wanted.key)
        return None

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)
        self.listings.append(sorted(self.objects))

    def _audit(self, merged: dict[str, Any]) -> None:
        """Read every member's vector, and count each window that is in it."""
        number = merged["round"]
        base = self.round_weights[number - 1]
        changes = []
        for member in merged["members"]:
            key = documents.contribution_key(number, member["cluster"])
            said = json.loads(self.put_first[key])
            data = self.put_first[documents.payload_key(number, member["payload"])]
            vector = outer_step.decode(data, said["payload"]["encoding"], LENGTH).astype(np.float64)
            change = vector - (base if said["payload"]["what"] == "weights" else 0)
            windows = set(np.flatnonzero(np.abs(change) > 1e-3).tolist())
            if not np.allclose(change[sorted(windows)], 1, atol=1e-3):
                raise Broken(f"round {number}: {member['cluster']} brings windows in part")
            if len(windows) != member["samples"]:
                raise Broken(f"round {number}: {member} holds {len(windows)} windows")
            if windows & self.counted:
                raise Broken(f"round {number}: {member['cluster']} brings windows that are counted already")
            self.counted |= windows
            changes.append((change, member["samples"]))
        data = self.put_first[documents.payload_key(number, merged["payload"]["sha256"])]
        self.round_weights[number] = outer_step.decode(data, "float32", LENGTH)
        if merged["momentum"] is None:
            total = sum(samples for _, samples in changes)
            added = sum(change * samples for change, samples in changes) / max(total, 1)
            wanted = (base + added).astype(np.float32)
            if not np.array_equal(wanted, self.round_weights[number]):
                raise Broken(f"round {number}: not the mean of its members")
        if len(self.counted) != merged["samples"]:
            raise Broken(f"round {number}: {merged['samples']} windows said, {len(self.counted)} counted")


class World:
    """All clusters and what they share."""

    def __init__(self, terms: list[Terms], periods: int, overlap: bool) -> None:
        self.store, self.now, self.next_window = Store(), 0.0, 0
        self.clusters = [Cluster(self, one, periods, overlap) for one in terms]

    def new_window(self) -> int:
        self.next_window += 1
        if self.next_window >= LENGTH:
            raise Broken("the simulation needs more coordinates")
        return self.next_window


@dataclass
class Saved:
    """A checkpoint."""

    weights: np.ndarray
    samples: int
    period: int
    standing: Standing


@dataclass
class Cluster:
    """One cluster: what runs now, and what outlives it."""

    world: World
    terms: Terms
    periods: int
    overlap: bool
    saved: Saved | None = None
    life: Generator[Any, Any, None] | None = None
    answer: Any = None
    result: np.ndarray | None = None
    missing: int = 0
    brought: bool = False
    ended_by: Exception | None = None
    standing: Standing = field(default_factory=Standing)
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def start(self) -> None:
        self.life, self.answer = self._live(), None

    def crash(self) -> None:
        """End for good between two operations."""
        self.life = None

    def step(self, lag: int = 0, lose: Callable[[Put], bool] = lambda put: False) -> bool:
        """Do one operation; False if there is nothing to do.

        Args:
            lag: changes of the store that a listing does not show yet.
            lose: whether a put is still on its way when its sender dies, which it does at once.
        """
        if self.life is None or self.result is not None:
            return False
        try:
            wanted = self.life.send(self.answer)
        except StopIteration:
            return False
        except RoundLostError as error:
            self.ended_by, self.life = error, None
            return False
        if isinstance(wanted, Put) and lose(wanted):
            self.world.store.late_puts.append(wanted)
            self.crash()
            return True
        self.answer = self.world.store.answer(wanted, lag)
        if isinstance(wanted, Pause):
            self.world.now += 1.0 if wanted.looks else 0.0
            self.answer = self.world.now
        elif isinstance(wanted, Say):
            self.said.append(wanted.text)
        elif isinstance(wanted, LogStoredRuns):
            self.asked.append(wanted.text)
        return True

    def _live(self) -> Generator[Any, Any, None]:
        """From the start, or from the checkpoint, to the end."""
        saved = copy.deepcopy(self.saved)
        rounds = Rounds(self.terms, KEY, saved.standing if saved else None)
        self.standing = rounds.standing
        zeros = np.zeros(LENGTH, np.float32)
        if saved is None:
            weights = yield from rounds.join(zeros, SETTINGS, SCHEMA)
            samples, period = 0, 0
        else:
            samples, period = saved.samples, saved.period
            weights = yield from rounds.rejoin(saved.weights, samples, SETTINGS, SCHEMA)
        self._check(rounds)
        while period < self.periods and not rounds.complete:
            weights, samples = self._train(weights, samples)
            yield Say("trained")
            self.saved = Saved(weights.copy(), samples, period, copy.deepcopy(rounds.standing))
            yield Say("checkpoint")
            period += 1
            if self.overlap:
                weights, samples, outcome = yield from self._while_training(rounds, period, weights, samples)
            else:
                outcome = yield from rounds.meet(weights, samples)
            weights = outcome.applied(weights)
            self._check(rounds)
        if not rounds.complete:
            self.brought = (yield from rounds.meet(weights, samples, final=True)).brought
            self._check(rounds)
            self.saved = Saved(rounds.standing.base, samples, self.periods, copy.deepcopy(rounds.standing))
            yield Say("checkpoint")
        outcome = yield from rounds.follow()
        self._check(rounds)
        self.result, self.missing = outcome.weights, outcome.missing

    def _while_training(
        self, rounds: Rounds, period: int, weights: np.ndarray, samples: int
    ) -> Generator[Any, Any, Any]:
        """Meet, and train and save on as ``sync.overlap`` does."""
        standing, meeting = rounds.standing.meeting(weights, samples), rounds.meet(weights, samples)
        answer, count = None, 0
        while True:
            try:
                wanted = meeting.send(answer)
            except StopIteration as stop:
                return weights, samples, stop.value
            count += 1
            if count in (3, 9):
                weights, samples = self._train(weights, samples)
            if count in (6, 12):
                self.saved = Saved(weights.copy(), samples, period, copy.deepcopy(standing))
            answer = yield wanted

    def _train(self, weights: np.ndarray, samples: int) -> tuple[np.ndarray, int]:
        weights = weights.copy()
        weights[self.world.new_window()] += 1
        return weights, samples + 1

    def _check(self, rounds: Rounds) -> None:
        number, base = rounds.standing.number, rounds.standing.base
        if base.tobytes() != self.world.store.round_weights[number].tobytes():
            raise Broken(f"{self.terms.cluster} holds other weights of round {number} than the others")


def drive(store: Store, wanted: Generator[Any, Any, Any]) -> Any:
    """One generator alone, to its end."""
    answer, now = None, 0.0
    while True:
        try:
            operation = wanted.send(answer)
        except StopIteration as end:
            return end.value
        now += 1
        answer = now if isinstance(operation, Pause) else store.answer(operation)
