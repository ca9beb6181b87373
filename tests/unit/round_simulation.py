"""Clusters, a store and a clock that obey a test: every operation is a point where anything may happen.

Each window that a cluster trains on adds one to a coordinate of its weights that is that window's alone. What a
contribution holds can so be read off its vector, whatever it says of itself.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from hpc_lstm.clusters import documents
from hpc_lstm.clusters.encoding import decode_vector
from hpc_lstm.clusters.options import SyncOptions
from hpc_lstm.clusters.rounds import Rounds
from hpc_lstm.clusters.state import ClusterState
from hpc_lstm.clusters.steps import Delete, Get, List, Log, LogStoredRuns, Put, Steps, Wait
from hpc_lstm.errors import RoundLostError
from hpc_lstm.storage.signing import Signer

T = TypeVar("T")
LENGTH = 512
SETTINGS = {"model.units": 3}
SCHEMA = "0" * 64
KEY = Signer(b"a key that all clusters share")


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
        is_again = self.put_first.get(operation.key) == operation.data  # what somebody has deleted
        self.objects[operation.key] = operation.data
        self.put_first.setdefault(operation.key, operation.data)
        self.listings.append(sorted(self.objects))
        if operation.key.endswith("merged.json") and not is_again:
            self._audit(json.loads(operation.data))
        return True

    def list(self, prefix: str, lag: int = 0) -> list[str]:
        keys = self.listings[max(0, len(self.listings) - 1 - lag)]
        return [key for key in keys if key.startswith(prefix)]

    def damage(self, key: str) -> None:
        whole = self.objects[key]
        self.objects[key] = whole[:-1] + bytes([whole[-1] ^ 1])

    def answer(self, step: Any, lag: int = 0) -> Any:
        """Do an operation on objects."""
        if isinstance(step, Put):
            return self.put(step)
        if isinstance(step, Get):
            return self.objects.get(step.key)
        if isinstance(step, List):
            return self.list(step.prefix, lag)
        if isinstance(step, Delete):
            self.delete(step.key)
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
            vector = decode_vector(data, said["payload"]["encoding"], LENGTH).astype(np.float64)
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
        self.round_weights[number] = decode_vector(data, "float32", LENGTH)
        if merged["momentum"] is None:
            total = sum(samples for _, samples in changes)
            added = sum(change * samples for change, samples in changes) / max(total, 1)
            mean = (base + added).astype(np.float32)
            if not np.array_equal(mean, self.round_weights[number]):
                raise Broken(f"round {number}: not the mean of its members")
        if len(self.counted) != merged["samples"]:
            raise Broken(f"round {number}: {merged['samples']} windows said, {len(self.counted)} counted")


class World:
    """All clusters and what they share."""

    def __init__(self, options: list[SyncOptions], periods: int, overlap: bool) -> None:
        self.store, self.now, self.next_window = Store(), 0.0, 0
        self.clusters = [Cluster(self, one, periods, overlap) for one in options]

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
    state: ClusterState


@dataclass
class Cluster:
    """One cluster: what runs now, and what outlives it."""

    world: World
    options: SyncOptions
    periods: int
    overlap: bool
    saved: Saved | None = None
    life: Steps[None] | None = None
    answer: Any = None
    result: np.ndarray | None = None
    missing: int = 0
    contributed: bool = False
    asked_for_more: bool = False
    ended_by: Exception | None = None
    state: ClusterState = field(default_factory=ClusterState)
    logged: list[str] = field(default_factory=list)
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
            step = self.life.send(self.answer)
        except StopIteration:
            return False
        except RoundLostError as error:
            self.ended_by, self.life = error, None
            return False
        if isinstance(step, Put) and lose(step):
            self.world.store.late_puts.append(step)
            self.crash()
            return True
        self.answer = self.world.store.answer(step, lag)
        if isinstance(step, Wait):
            self.world.now += 1.0 if step.attempt else 0.0
            self.answer = self.world.now
        elif isinstance(step, Log):
            self.logged.append(step.text)
        elif isinstance(step, LogStoredRuns):
            self.asked.append(step.text)
        return True

    def _live(self) -> Steps[None]:
        """From the start, or from the checkpoint, to the end."""
        saved = copy.deepcopy(self.saved)
        rounds = Rounds(self.options, KEY, saved.state if saved else None)
        self.state = rounds.state
        zeros = np.zeros(LENGTH, np.float32)
        if saved is None:
            weights = yield from rounds.join(zeros, SETTINGS, SCHEMA)
            samples, period = 0, 0
        else:
            samples, period = saved.samples, saved.period
            weights = yield from rounds.rejoin(saved.weights, samples, SETTINGS, SCHEMA)
        self._check(rounds)
        while (
            period < self.periods
            and not rounds.already_finished
            and (self.asked_for_more or not rounds.state.finished)
        ):
            weights, samples = self._train(weights, samples)
            yield from Log("trained")
            self.saved = Saved(weights.copy(), samples, period, copy.deepcopy(rounds.state))
            yield from Log("checkpoint")
            period += 1
            if self.overlap:
                weights, samples, update = yield from self._while_training(rounds, period, weights, samples)
            else:
                update = yield from rounds.synchronize(weights, samples)
            weights = update.apply(weights)
            self._check(rounds)
        if not rounds.already_finished:
            self.contributed = (yield from rounds.synchronize(weights, samples, final=True)).contributed
            self._check(rounds)
            self.saved = Saved(rounds.state.base, samples, self.periods, copy.deepcopy(rounds.state))
            yield from Log("checkpoint")
        update = yield from rounds.finish()
        self._check(rounds)
        self.result, self.missing = update.weights, update.missing

    def _while_training(self, rounds: Rounds, period: int, weights: np.ndarray, samples: int) -> Steps[Any]:
        """Synchronize, and train and save meanwhile as ``sync.overlap`` does."""
        state = rounds.state.while_contributing(weights, samples)
        synchronizing = rounds.synchronize(weights, samples)
        answer, count = None, 0
        while True:
            try:
                step = synchronizing.send(answer)
            except StopIteration as stop:
                return weights, samples, stop.value
            count += 1
            if count in (3, 9):
                weights, samples = self._train(weights, samples)
            if count in (6, 12):
                self.saved = Saved(weights.copy(), samples, period, copy.deepcopy(state))
            answer = yield step

    def _train(self, weights: np.ndarray, samples: int) -> tuple[np.ndarray, int]:
        weights = weights.copy()
        weights[self.world.new_window()] += 1
        return weights, samples + 1

    def _check(self, rounds: Rounds) -> None:
        number, base = rounds.state.round, rounds.state.base
        if base.tobytes() != self.world.store.round_weights[number].tobytes():
            raise Broken(f"{self.options.cluster} holds other weights of round {number} than the others")


def drive(store: Store, steps: Steps[T]) -> T:
    """One generator alone, to its end."""
    answer, now = None, 0.0
    while True:
        try:
            operation = steps.send(answer)
        except StopIteration as end:
            return end.value
        now += 1
        answer = now if isinstance(operation, Wait) else store.answer(operation)
