"""This cluster among those that share its run: when its ranks meet the others, and what they then go on with.

Rank 0 alone talks to the store, on a thread; it tells the other ranks. Every method is collective.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from hpc_lstm import config as configuration
from hpc_lstm.clusters import signing
from hpc_lstm.clusters.lease import Lease
from hpc_lstm.clusters.rounds import Outcome, Rounds, Sent, Standing, Terms, Wanted
from hpc_lstm.clusters.runner import Errand
from hpc_lstm.config import RunConfig
from hpc_lstm.model.engine import Engine
from hpc_lstm.parallel.world import World
from hpc_lstm.storage.objects import ObjectStore
from hpc_lstm.timing.timeline import Timeline

# How often waiting ranks ask whether it is over, or whether one of them was asked to stop.
FIRST_POLL_S, LONGEST_POLL_S = 0.005, 0.1
# What all clusters of a run must share: weights mean the same, and merges are made alike.
SHARED = (
    *("data.features", "data.target", "data.horizon", "data.window", "data.scaling", "data.feature_range"),
    *("model.layers", "model.units", "sync.outer", "sync.outer_lr", "sync.outer_momentum"),
)


class Interrupted(Exception):
    """Some rank was asked to stop while all were waiting for other clusters."""


class Clusters:
    """One cluster's side of the rounds.

    Args:
        prefix: of the run's keys in the store, with the slash.

    Attributes:
        missing: clusters that had not finished when this one gave up waiting for them.
        engine: whose weights meet the others'.
        complete: an earlier start of this cluster, of which no checkpoint tells, has brought its last change.
    """

    def __init__(
        self,
        store: ObjectStore,
        prefix: str,
        world: World,
        config: RunConfig,
        engine: Engine,
        log: logging.Logger,
        timeline: Timeline,
    ) -> None:
        self._store, self._prefix, self._world, self._log = store, prefix, world, log
        self._timeline, self._begun = timeline, 0  # when the errand under way was begun
        self._config, self.engine = config, engine
        self.missing, self.complete = 0, False
        self._errand: Errand | None = None
        self._under_way = False  # of this meeting; the same on every rank
        self._before: Standing | None = None  # what a checkpoint says while an errand changes the standing
        self._lease: Lease | None = None

    def take_name(self) -> None:
        """Make sure that no other job trains as this cluster.

        Raises:
            InputError: one does; or the key for signatures is none.
            StopRequested: rank 0 was asked to stop while it waited for an earlier owner's silence.
        """

        def take() -> None:
            if self._world.rank == 0:
                self._seal = signing.from_environment(self._prefix.rstrip("/"))
                sync = self._config.sync
                self._lease = Lease(
                    *(self._store, self._prefix, sync.cluster, sync.lease_s, self._log),
                    lambda: self._world.stop_requested,
                )

        self._world.raise_on_all(take)

    def begin(self, samples: int, standing: Standing | None, resumed: bool) -> None:
        """Meet the run, and go on with the weights that it has come to.

        Args:
            samples: windows that the cluster has trained on in all.
            standing: where the cluster stands by its checkpoint, on rank 0; None at a fresh start.
            resumed: the run goes on from a checkpoint.

        Raises:
            Interrupted: see there.
            InputError: the clusters of the run train something else, or the store refuses.
        """
        config, world = self._config, self._world
        if self._lease is not None:
            self._rounds = Rounds(terms(config, self._lease.number), self._seal, standing)
        weights = self.engine.parameters()
        settings = {key: configuration.get(config, key) for key in SHARED}
        digest = self.engine.schema.digest()
        # Without a standing, the checkpoint is of a start that had not met anybody.
        if world.bcast(standing is not None) and resumed:
            self._start(lambda: self._rounds.rejoin(weights, samples, settings, digest))
        else:
            self._start(lambda: self._rounds.join(weights, settings, digest))
        found = self._wait()
        self._set(found if world.rank == 0 else weights)
        self._end()
        self.complete = world.bcast(world.rank == 0 and self._rounds.complete)
        self._say(f"cluster {config.sync.cluster}: at round {world.bcast(self.number)}")

    def exchange(self, samples: int, due: bool) -> None:
        """Bring this cluster's change to the next round if it is due, and take up what a round has come to.

        Every rank holds the same weights.

        Raises:
            Interrupted: see there; nothing is lost.
            InputError: another job has taken over this cluster's name, or the store refuses.
        """
        self._check()
        if self._under_way and self._world.bcast(self._errand is not None and self._errand.done):
            self._take_up()
        if due and not self._under_way:
            weights = self.engine.parameters()
            self._start(lambda: self._rounds.meet(weights, samples), (weights, samples))
            if not self._config.sync.overlap:
                self._take_up()

    def depart(self, samples: int) -> None:
        """Bring the last change, and follow the others to the end of the run; raises as ``exchange``."""
        self._check()
        if self._under_way:
            self._take_up()
        if not self.complete:
            weights = self.engine.parameters()
            self._start(lambda: self._rounds.meet(weights, samples, final=True), (weights, samples))
            self._take_up()
        self._start(lambda: self._rounds.follow())
        self.missing = self._take_up().missing
        if self.missing:
            self._say(
                f"{self.missing} of {self._config.sync.expected} clusters had not finished "
                f"{self._config.sync.deadline_s:g} s after the last round (sync.deadline_s): the model is that of "
                f"round {self._world.bcast(self.number)}"
            )

    @property
    def number(self) -> int:
        """The newest round that is taken up; on rank 0."""
        return self._standing.number if self._world.rank == 0 else 0

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold, on rank 0; empty on others."""
        return pack(self._standing) if self._world.rank == 0 else {}

    def facts(self) -> dict[str, Any]:
        """What ``metrics.json`` says of the rounds, on rank 0; empty on others."""
        if self._world.rank:
            return {}
        standing = self._standing
        return {
            "cluster": self._config.sync.cluster,
            "round": standing.number,
            "samples_dropped": standing.lost,
            "bytes_put": self._rounds.bytes_put,
            "bytes_got": self._rounds.bytes_got,
            "clusters_missing": self.missing,
        }

    def close(self) -> None:
        """Give up what is under way, and let the cluster's name go; idempotent, and not collective."""
        if self._errand is not None:
            self._errand.give_up()
        if self._lease is not None:
            self._lease.release()

    # -- errands ---------------------------------------------------------------------------------------

    @property
    def _standing(self) -> Standing:
        return self._rounds.standing if self._before is None else self._before

    def _start(self, wanted: Callable[[], Wanted], sends: tuple[np.ndarray, int] | None = None) -> None:
        self._under_way = True
        self._begun = self._timeline.now()
        if self._world.rank == 0:
            # A copy: the errand changes the standing on its own thread, between any two checkpoints.
            standing = self._rounds.standing
            self._before = standing.meeting(*sends) if sends else replace(standing)
            self._errand = Errand(
                wanted(), self._store, self._prefix, self._log, self._config.storage.max_failures
            )

    def _wait(self) -> Any:
        """The errand's result, on rank 0."""
        world, pause = self._world, FIRST_POLL_S
        while True:
            done = world.rank == 0 and self._errand is not None and self._errand.done
            finished, stop = world.allreduce_sum(np.array([done, world.stop_requested], np.float64))
            if finished:
                return world.raise_on_all(lambda: self._errand.result() if self._errand is not None else None)
            if stop:
                if self._errand is not None:
                    self._errand.give_up()
                raise Interrupted
            self._check()
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_POLL_S)

    def _take_up(self) -> Outcome:
        """Wait for the outcome, and put the ranks' weights where it says."""
        outcome: Outcome | None = self._wait()
        weights = self.engine.parameters()
        self._set(outcome.applied(weights) if outcome is not None else weights)
        if outcome is not None:
            self._note(outcome)
        self._end()
        said = (outcome.number, outcome.counted, outcome.missing) if outcome is not None else None
        number, counted, missing = self._world.bcast(said)  # type: ignore[misc]
        return Outcome(number, weights, None, counted, missing)

    def _note(self, outcome: Outcome) -> None:
        """Tell timeline and log of the round that is taken up; on rank 0."""
        if self._errand is not None:
            seen = self._timeline.at(self._errand.ended_ns)
            self._timeline.record_round(outcome.number, self._begun if outcome.brought else -1, seen)
        if not outcome.missing:
            took = "with this cluster" if outcome.counted else "without this cluster"
            self._say(f"round {outcome.number} has closed {took}")

    def _set(self, weights: np.ndarray) -> None:
        self.engine.set_parameters(self._world.bcast_array(np.ascontiguousarray(weights, np.float32).copy()))

    def _end(self) -> None:
        self._errand, self._before, self._under_way = None, None, False

    def _check(self) -> None:
        self._world.raise_on_all(lambda: self._lease.check() if self._lease is not None else None)

    def _say(self, text: str) -> None:
        if self._world.rank == 0:
            self._log.info("%s", text)


def terms(config: RunConfig, lease: int = 0) -> Terms:
    """``[sync]`` as the rounds' logic takes it."""
    sync = config.sync
    return Terms(
        cluster=sync.cluster,
        expected=sync.expected,
        quorum=sync.quorum or sync.expected // 2 + 1,
        deadline_s=sync.deadline_s,
        late=sync.late,
        outer=sync.outer,
        outer_lr=sync.outer_lr,
        outer_momentum=sync.outer_momentum,
        payload=sync.payload,
        keep=sync.keep,
        lease=lease,
    )


def pack(standing: Standing) -> dict[str, Any]:
    """A standing as named arrays and numbers."""
    state: dict[str, Any] = {
        "number": standing.number,
        "base": standing.base,
        "samples": standing.samples,
        "staleness": standing.staleness,
        "residual": standing.residual,
        "lost": standing.lost,
        "departed": int(standing.departed),
    }
    if standing.sent is not None:
        state |= {
            "sent/weights": standing.sent.weights,
            "sent/samples": standing.sent.samples,
            "sent/payload": standing.sent.payload,
        }
    return state


def unpack(state: dict[str, Any]) -> Standing:
    """What ``pack`` was given."""
    sent = None
    if "sent/weights" in state:
        sent = Sent(np.asarray(state["sent/weights"]), int(state["sent/samples"]), str(state["sent/payload"]))
    return Standing(
        number=int(state["number"]),
        base=np.asarray(state["base"]),
        samples=int(state["samples"]),
        staleness=int(state["staleness"]),
        sent=sent,
        residual=np.asarray(state["residual"]),
        lost=int(state["lost"]),
        departed=bool(state["departed"]),
    )
