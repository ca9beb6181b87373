"""Synchronizing the ranks of this cluster with the other clusters of a run.

Rank 0 alone talks to the object store, on a thread, and broadcasts the outcome. Every method is collective unless it
says otherwise.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from hpc_lstm import config as configuration
from hpc_lstm.clusters.adopting import RoundUpdate
from hpc_lstm.clusters.lease import Lease
from hpc_lstm.clusters.options import sync_options
from hpc_lstm.clusters.rounds import Rounds
from hpc_lstm.clusters.runner import Runner
from hpc_lstm.clusters.state import ClusterState
from hpc_lstm.clusters.steps import Steps
from hpc_lstm.config import RunConfig
from hpc_lstm.model.engine import Engine
from hpc_lstm.parallel.world import World
from hpc_lstm.storage.objects import ObjectStore
from hpc_lstm.storage.signing import Signer
from hpc_lstm.timing.timeline import Timeline

# How often waiting ranks ask whether the runner is done, or whether one of them was asked to stop.
FIRST_POLL_S, MAX_POLL_S = 0.005, 0.1

# Among the settings that clusters compare: the option that keeps an earlier run's scaling.
KEPT_SCALING = "--keep-scaling"


class Interrupted(Exception):
    """Some rank was asked to stop while all were waiting for other clusters."""


class ClusterSynchronizer:
    """One cluster's side of the rounds.

    Args:
        prefix: of the run's keys in the store, with the slash.
        engine: whose weights are synchronized.
        place: of the store.
        signer: signs and verifies what the clusters tell each other; on rank 0; None: there is no key.
        scaling: digest of the scaling that the cluster keeps from an earlier run, which all must then keep; "": none.

    Attributes:
        missing: clusters that had not finished when this one stopped waiting for them.
        already_finished: an earlier start of this cluster, unknown to the checkpoint, has made its final contribution.
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
        place: str = "",
        signer: Signer | None = None,
        scaling: str = "",
    ) -> None:
        self._store, self._prefix, self._world, self._log = store, prefix, world, log
        self._config, self._timeline, self.engine = config, timeline, engine
        self._scaling, self._place, self._signer = (
            scaling,
            place,
            (signer or Signer()).within(prefix.rstrip("/")),
        )
        self.missing, self.already_finished = 0, False
        self._lease: Lease | None = None  # on rank 0, as the three that follow
        self._rounds: Rounds | None = None
        self._runner: Runner[Any] | None = None
        self._saved_state: ClusterState | None = (
            None  # for checkpoints, while the runner changes the real one
        )
        self._running, self._started_ns = False, 0  # the same on every rank; when the runner was started

    def acquire_lease(self) -> None:
        """Make sure that no other job trains under this cluster's name.

        Raises:
            InputError: one does.
            StopRequested: rank 0 was asked to stop while it waited for an earlier owner's lease to expire.
        """

        def acquire() -> None:
            if self._world.rank == 0:
                sync = self._config.sync
                self._lease = Lease(
                    *(self._store, self._prefix, sync.cluster, sync.lease_s, self._log),
                    lambda: self._world.stop_requested,
                )

        self._world.raise_on_all(acquire)

    def join(
        self, samples: int, state: ClusterState | None, resumed: bool, *, accept_older: bool = False
    ) -> None:
        """Join the run, for the first time or again, and set the engine's weights to where it stands.

        Args:
            samples: windows that the cluster has trained on in all.
            state: of the checkpoint, on rank 0; None at a fresh start.
            resumed: the engine's weights come from a checkpoint.
            accept_older: take a signed run that an older version began, or that was moved.

        Raises:
            Interrupted: a rank was asked to stop.
            InputError: the clusters of the run train something else, or the store refuses.
        """
        config, world = self._config, self._world
        if self._lease is not None:
            options = sync_options(config.sync, self._lease.number, self._place, accept_older=accept_older)
            self._rounds = Rounds(options, self._signer, state)
        # A checkpoint between two averages: the cluster's weights are the mean of its ranks'.
        own = self.engine.parameters()
        weights = (world.allreduce_sum(own.astype(np.float64)) / world.size).astype(np.float32)
        settings = configuration.shared_settings(config)
        if self._scaling:
            settings[KEPT_SCALING] = self._scaling
        digest = self.engine.schema.digest()
        # A checkpoint without a state is of a start that had not joined yet.
        if world.bcast(state is not None) and resumed:
            self._start(lambda rounds: rounds.rejoin(weights, samples, settings, digest))
        else:
            self._start(lambda rounds: rounds.join(weights, settings, digest))
        found = self._wait()
        joined = self._from_first(found if world.rank == 0 else weights)
        if not np.array_equal(joined, weights):
            # Each rank keeps what it has trained on since the ranks last averaged.
            self.engine.set_parameters(RoundUpdate(0, joined, weights, True).apply(own))
        self._end()
        self.already_finished = world.bcast(self._rounds is not None and self._rounds.already_finished)
        self._log_on_first(f"cluster {config.sync.cluster}: joined at round {world.bcast(self.round)}")

    def synchronize(self, samples: int, due: bool) -> None:
        """Apply the result of a round that has closed, and contribute to the next one if it is due.

        Every rank holds the same weights. With ``sync.overlap`` it returns while the next round is open.

        Raises:
            Interrupted: a rank was asked to stop; nothing is lost.
            InputError: another job has taken over this cluster's name, or the store refuses.
        """
        self._check_lease()
        if self._running and self._world.bcast(self._runner is not None and self._runner.done):
            self._apply_update()
        if due and not self._running:
            weights = self.engine.parameters()
            self._start(lambda rounds: rounds.synchronize(weights, samples), (weights, samples))
            if not self._config.sync.overlap:
                self._apply_update()

    def finish(self, samples: int) -> None:
        """Make the final contribution, and adopt rounds until all clusters have; raises as ``synchronize``."""
        self._check_lease()
        if self._running:
            self._apply_update()
        if not self.already_finished:
            weights = self.engine.parameters()
            self._start(lambda rounds: rounds.synchronize(weights, samples, final=True), (weights, samples))
            self._apply_update()
        self._start(lambda rounds: rounds.finish())
        self.missing = self._apply_update()
        if self.missing:
            self._log_on_first(
                f"{self.missing} of {self._config.sync.expected} clusters had not finished "
                f"{self._config.sync.deadline_s:g} s after the last round (sync.deadline_s): the model is that of "
                f"round {self._world.bcast(self.round)}"
            )

    @property
    def round(self) -> int:
        """The newest round that is adopted, on rank 0; 0 on others. Not collective."""
        return self._state.round if self._rounds is not None else 0

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold, on rank 0; empty on others. Not collective."""
        return self._state.state_dict() if self._rounds is not None else {}

    def metrics(self) -> dict[str, Any]:
        """What ``metrics.json`` says about the rounds, on rank 0; empty on others. Not collective."""
        if self._rounds is None:
            return {}
        return {
            "cluster": self._config.sync.cluster,
            "round": self._state.round,
            "samples_dropped": self._state.dropped,
            "bytes_put": self._rounds.bytes_put,
            "bytes_got": self._rounds.bytes_got,
            "clusters_missing": self.missing,
        }

    def close(self) -> None:
        """Cancel the runner, and release the cluster's name; idempotent, and not collective."""
        if self._runner is not None:
            self._runner.cancel()
        if self._lease is not None:
            self._lease.release()

    # -- the runner ------------------------------------------------------------------------------------

    @property
    def _state(self) -> ClusterState:
        assert self._rounds is not None
        return self._rounds.state if self._saved_state is None else self._saved_state

    def _start(
        self, steps: Callable[[Rounds], Steps[Any]], contribution: tuple[np.ndarray, int] | None = None
    ) -> None:
        """Start a method of the protocol on rank 0.

        Args:
            contribution: the weights and samples that it contributes, if it does.
        """
        self._running, self._started_ns = True, self._timeline.now()
        if self._rounds is not None:
            # A copy: the runner changes the state on its own thread, while checkpoints are being made.
            state = self._rounds.state
            self._saved_state = state.while_contributing(*contribution) if contribution else replace(state)
            attempts = self._config.storage.max_failures
            self._runner = Runner(steps(self._rounds), self._store, self._prefix, self._log, attempts)

    def _wait(self) -> Any:
        """The runner's result, on rank 0; None on others."""
        world, pause = self._world, FIRST_POLL_S
        while True:
            done = self._runner is not None and self._runner.done
            finished, stop = world.allreduce_sum(np.array([done, world.stop_requested], np.float64))
            if finished:
                return world.raise_on_all(lambda: self._runner.result() if self._runner is not None else None)
            if stop:
                if self._runner is not None:
                    self._runner.cancel()
                raise Interrupted
            self._check_lease()
            time.sleep(pause)
            pause = min(2 * pause, MAX_POLL_S)

    def _apply_update(self) -> int:
        """Wait for the runner's ``RoundUpdate`` and apply it to the weights of all ranks; returns its ``missing``."""
        update: RoundUpdate | None = self._wait()
        weights = self.engine.parameters()
        self._set_weights(update.apply(weights) if update is not None else weights)
        if update is not None:
            self._record(update)
        self._end()
        missing: int = self._world.bcast(update.missing if update is not None else 0)
        return missing

    def _record(self, update: RoundUpdate) -> None:
        """Write an update into the timeline and the log; on rank 0."""
        if self._runner is not None:
            seen = self._timeline.at(self._runner.ended_ns)
            self._timeline.record_round(update.round, self._started_ns if update.contributed else -1, seen)
        if not update.missing:
            self._log.info(
                "round %d has closed %s this cluster", update.round, "with" if update.counted else "without"
            )

    def _set_weights(self, weights: np.ndarray) -> None:
        self.engine.set_parameters(self._from_first(weights))

    def _from_first(self, weights: np.ndarray) -> np.ndarray:
        """The weights of rank 0, float32 [P]; on other ranks ``weights`` are of that length."""
        return self._world.bcast_array(np.ascontiguousarray(weights, np.float32).copy())

    def _end(self) -> None:
        self._runner, self._saved_state, self._running = None, None, False

    def _check_lease(self) -> None:
        self._world.raise_on_all(lambda: self._lease.check() if self._lease is not None else None)

    def _log_on_first(self, text: str) -> None:
        if self._world.rank == 0:
            self._log.info("%s", text)
