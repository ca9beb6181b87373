"""The protocol by which clusters that share nothing but an object store train one model, round by round.

Pure logic without I/O, threads or clock: the methods are generators of steps (``steps``) that return their result.
Whoever runs them may stop for good between any two steps: what is then in the store is enough to continue from.
docs/sync-protocol.md explains the protocol and why it is safe.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from hpc_lstm.clusters import documents
from hpc_lstm.clusters.adopting import RoundUpdate, catch_up, load_round
from hpc_lstm.clusters.closing import close_round
from hpc_lstm.clusters.contributing import contribute
from hpc_lstm.clusters.documents import Contribution, RoundResult
from hpc_lstm.clusters.ending import end_alike
from hpc_lstm.clusters.joining import agree_on_manifest, initial_weights
from hpc_lstm.clusters.options import SyncOptions
from hpc_lstm.clusters.repository import Repository
from hpc_lstm.clusters.session import Session
from hpc_lstm.clusters.state import ClusterState
from hpc_lstm.clusters.steps import Log, Steps
from hpc_lstm.errors import StorageError
from hpc_lstm.storage.signing import Signer


class Rounds:
    """One cluster's side of all rounds of a run.

    Args:
        options: how it takes part.
        signer: signs and verifies documents.
        state: how far it has come; of a checkpoint, or None.
    """

    def __init__(self, options: SyncOptions, signer: Signer, state: ClusterState | None = None) -> None:
        self._repository = Repository(signer)
        self._session = Session(options, state or ClusterState(), self._repository)
        self._options = options

    @property
    def state(self) -> ClusterState:
        """How far the cluster has come: the object itself, which changes while a method runs."""
        return self._session.state

    @property
    def bytes_put(self) -> int:
        """Bytes of vectors put so far."""
        return self._repository.bytes_put

    @property
    def bytes_got(self) -> int:
        """Bytes of vectors read so far."""
        return self._repository.bytes_got

    @property
    def already_finished(self) -> bool:
        """True if an earlier start of this cluster, of which no checkpoint tells, has made its final contribution."""
        return self._session.has_finished and not self.state.finished

    def join(self, initial: np.ndarray, settings: dict[str, Any], schema_digest: str) -> Steps[np.ndarray]:
        """Join the run for the first time.

        Args:
            initial: float32 [P], the run's initial weights if this cluster is the first.
            settings: what every cluster must share, by key.

        Returns:
            float32 [P], the weights of the newest round, or the run's initial ones.

        Raises:
            ConfigError: the run's clusters train something else; names the key that differs.
        """
        manifest = yield from agree_on_manifest(self._session, initial, settings, schema_digest)
        self.state.base, self.state.run = initial, manifest.digest()
        newest = yield from self._repository.newest_closed_round()
        if newest:
            yield from load_round(self._session, newest, joining=True)
        else:
            self.state.base = yield from initial_weights(self._session, manifest, initial)
            self.state.result = manifest.digest()
        return self.state.base

    def rejoin(
        self, weights: np.ndarray, samples: int, settings: dict[str, Any], schema_digest: str
    ) -> Steps[np.ndarray]:
        """Return to the run with the state of a checkpoint, whatever has happened since.

        The checkpoint may be from just before the final contribution, which then was that of its weights: the cluster
        has finished, and trains further only if it is asked for more epochs.

        Args:
            weights: float32 [P], of the checkpoint.
            samples: windows trained on in all, of the checkpoint.
            settings, schema_digest: as for ``join``.

        Returns:
            float32 [P], the weights to continue with.
        """
        self._session.rejoining = True
        update = yield from self._take_up(weights, samples, settings, schema_digest)
        self._session.rejoining = False
        return weights if update is None else update.apply(weights)

    def _take_up(
        self, weights: np.ndarray, samples: int, settings: dict[str, Any], schema_digest: str
    ) -> Steps[RoundUpdate | None]:
        """What has become of the rounds since a checkpoint; None: nothing that concerns this cluster."""
        manifest = yield from agree_on_manifest(self._session, self.state.base, settings, schema_digest)
        state = self.state
        state.run = manifest.digest()
        newest = yield from self._repository.newest_closed_round()
        if newest > state.round:
            return (yield from catch_up(self._session, newest, weights, samples))
        if state.round:
            key = documents.result_key(state.round)
            self._session.newest = yield from self._repository.require_valid(RoundResult, key)
            if self._session.newest is None:
                raise StorageError(
                    f"{key}: is gone, though this cluster has adopted it: objects of this run were deleted, or put "
                    "back to an earlier state; restore the store, or start another sync.run"
                )
            if state.result not in ("", self._session.newest.digest()):
                raise StorageError(documents.other_history(key, state.round + 1))
            state.result = self._session.newest.digest()
        else:
            state.result = manifest.digest()
        key = documents.contribution_key(state.round + 1, self._options.cluster)
        if (yield from self._repository.find_document(Contribution, key)) is None:
            state.pending = None
            return None
        # An earlier start made it, before or after the checkpoint; whatever it holds is counted once.
        yield from Log(f"waiting for round {state.round + 1}, to which this cluster has already contributed")
        return (yield from close_round(self._session, weights, samples))

    def synchronize(self, weights: np.ndarray, samples: int, final: bool = False) -> Steps[RoundUpdate]:
        """Contribute the change since the last round to the next one, and adopt its result.

        A final contribution is repeated until it is counted, and left out if it was counted before.

        Args:
            weights: float32 [P], of this cluster now.
            samples: windows trained on in all.
            final: the cluster trains no further.
        """
        if final and self.state.finished and samples == self.state.samples:
            return RoundUpdate(self.state.round, self.state.base, None, True)
        while True:
            newest = yield from self._repository.newest_closed_after(self.state.round)
            if newest > self.state.round:
                update = yield from catch_up(self._session, newest, weights, samples)
            else:
                yield from contribute(self._session, weights, samples, final)
                closed = yield from close_round(self._session, weights, samples)
                if closed is None:
                    continue
                update = closed
            if not final:
                return update
            # What was counted may have been an earlier start's contribution, which was not final.
            if update.counted and self._session.has_finished:
                self.state.finished = True
                return replace(update, origin=None)
            weights = update.apply(weights)

    def finish(self) -> Steps[RoundUpdate]:
        """After the final contribution: adopt further rounds until the final one of every cluster has been counted.

        Returns:
            The last update; its ``missing`` clusters did not come within the deadline.

        Raises:
            StorageError: another cluster has ended with another result of the same round.
        """
        update = yield from self._follow()
        yield from end_alike(self._session)
        return update

    def _follow(self) -> Steps[RoundUpdate]:
        while True:
            state = self.state
            missing = self._options.expected - len(self._session.finished_clusters)
            if missing <= 0:
                return RoundUpdate(state.round, state.base, None, True)
            closed = yield from close_round(self._session, state.base, state.samples, following=True)
            if closed is None:
                return RoundUpdate(self.state.round, self.state.base, None, True, missing)
