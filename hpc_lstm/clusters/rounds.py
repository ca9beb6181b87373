"""The protocol by which clusters that share nothing but an object store train one model, round by round.

Pure logic without I/O, threads or clock: the methods are generators of steps (``steps``) that return their result.
Whoever runs them may stop for good between any two steps: what is then in the store is enough to continue from.
docs/sync-protocol.md explains the protocol and why it is safe.
"""

from __future__ import annotations

import reprlib
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from hpc_lstm.clusters import documents, recovery
from hpc_lstm.clusters.documents import Contribution, Member, RoundResult, RunManifest
from hpc_lstm.clusters.encoding import decode_vector, encode_vector
from hpc_lstm.clusters.merging import merge
from hpc_lstm.clusters.options import SyncOptions
from hpc_lstm.clusters.repository import Repository
from hpc_lstm.clusters.session import Session
from hpc_lstm.clusters.state import ClusterState, PendingContribution
from hpc_lstm.clusters.steps import List, Log, LogStoredRuns, Steps, Wait
from hpc_lstm.errors import ConfigError, StorageError
from hpc_lstm.storage.signing import Signer

# Seconds that each cluster gives the one before it, in order of name, to merge first.
STAGGER_S = 1.0
# After this many seconds of waiting for other clusters the log says, once, what else lies in the store.
ALONE_S = 60.0


@dataclass(frozen=True)
class RoundUpdate:
    """What closed rounds mean for this cluster.

    Attributes:
        round: the newest round, which it has adopted.
        weights: float32 [P], of that round, the same for all clusters.
        origin: float32 [P]; the cluster's change since these weights is added to the new ones; None: nothing is.
        counted: the cluster's contribution took part.
        missing: clusters without a final contribution when ``Rounds.finish`` stopped waiting for them.
        contributed: what was counted was put by this start, in this call.
    """

    round: int
    weights: np.ndarray
    origin: np.ndarray | None
    counted: bool
    missing: int = 0
    contributed: bool = False

    def apply(self, weights: np.ndarray) -> np.ndarray:
        """The cluster's weights after the update, float32 [P], from those that it has now."""
        if self.origin is None or np.array_equal(self.origin, weights):
            return self.weights
        own = weights.astype(np.float64)
        own -= self.origin
        own += self.weights
        return own.astype(np.float32)


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
        self._logged_runs = False

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
        return self._options.cluster in self._session.finished_clusters and not self.state.finished

    # -- what training calls ---------------------------------------------------------------------------

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
        manifest = yield from self._agree_on_manifest(initial, settings, schema_digest)
        self.state.base, self.state.run = initial, manifest.digest()
        newest = yield from self._repository.newest_closed_round()
        if newest:
            yield from self._load_round(newest, joining=True)
        else:
            self.state.base = yield from self._initial_weights(manifest, initial)
            self.state.result = manifest.digest()
        return self.state.base

    def rejoin(
        self, weights: np.ndarray, samples: int, settings: dict[str, Any], schema_digest: str
    ) -> Steps[np.ndarray]:
        """Return to the run with the state of a checkpoint, whatever has happened since.

        Args:
            weights: float32 [P], of the checkpoint.
            samples: windows trained on in all, of the checkpoint.
            settings, schema_digest: as for ``join``.

        Returns:
            float32 [P], the weights to continue with.
        """
        manifest = yield from self._agree_on_manifest(self.state.base, settings, schema_digest)
        state = self.state
        state.run = manifest.digest()
        newest = yield from self._repository.newest_closed_round()
        if newest > state.round:
            update = yield from self._catch_up(newest, weights, samples)
            return update.apply(weights)
        if state.round:
            key = documents.result_key(state.round)
            self._session.newest = yield from self._repository.require_valid(RoundResult, key)
            if self._session.newest is None:
                raise StorageError(
                    f"{key}: is gone, though this cluster has adopted it; was the run deleted from the store?"
                )
            if state.result not in ("", self._session.newest.digest()):
                raise StorageError(documents.other_history(key, state.round + 1))
            state.result = self._session.newest.digest()
        else:
            state.result = manifest.digest()
        key = documents.contribution_key(state.round + 1, self._options.cluster)
        if (yield from self._repository.find_document(Contribution, key)) is None:
            state.pending = None
            return weights
        # An earlier start made it, before or after the checkpoint; whatever it holds is counted once.
        yield from Log(f"waiting for round {state.round + 1}, to which this cluster has already contributed")
        closed = yield from self._close_round(weights, samples)
        return weights if closed is None else closed.apply(weights)

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
                update = yield from self._catch_up(newest, weights, samples)
            else:
                yield from self._contribute(weights, samples, final)
                closed = yield from self._close_round(weights, samples)
                if closed is None:
                    continue
                update = closed
            if not final:
                return update
            # What was counted may have been an earlier start's contribution, which was not final.
            if update.counted and self._options.cluster in self._session.finished_clusters:
                self.state.finished = True
                return replace(update, origin=None)
            weights = update.apply(weights)

    def finish(self) -> Steps[RoundUpdate]:
        """After the final contribution: adopt further rounds until the final one of every cluster has been counted.

        Returns:
            The last update; its ``missing`` clusters did not come within the deadline.
        """
        while True:
            state = self.state
            missing = self._options.expected - len(self._session.finished_clusters)
            if missing <= 0:
                return RoundUpdate(state.round, state.base, None, True)
            closed = yield from self._close_round(state.base, state.samples, following=True)
            if closed is None:
                return RoundUpdate(self.state.round, self.state.base, None, True, missing)

    # -- joining ---------------------------------------------------------------------------------------

    def _agree_on_manifest(
        self, initial: np.ndarray, settings: dict[str, Any], schema_digest: str
    ) -> Steps[RunManifest]:
        """The run's manifest, written by the first cluster and compared by the others."""
        key = documents.manifest_key()
        manifest = yield from self._repository.require_valid(RunManifest, key)
        if manifest is None:
            payload, _ = yield from self._repository.put_vector(0, initial, "float32", "weights")
            manifest = RunManifest(
                settings=settings,
                schema_digest=schema_digest,
                length=len(initial),
                initial=payload,
                id=self._options.run_id,
                place=self._options.place,
            )
            if not (yield from self._repository.put_document(key, manifest)):
                manifest = yield from self._repository.require_valid(RunManifest, key)
                if manifest is None:
                    raise StorageError(f"{key}: was there and is gone; is somebody deleting this run?")
        self._refuse_other_run(manifest)
        self._repository.belong_to(manifest)
        self._session.initial_key = documents.payload_key(0, manifest.initial.sha256)
        _refuse_other_settings(manifest, settings)
        if (manifest.schema_digest, manifest.length) != (schema_digest, len(initial)):
            raise ConfigError(
                "the clusters of this run train a network with other parameters; use another sync.run"
            )
        return manifest

    def _refuse_other_run(self, manifest: RunManifest) -> None:
        """Refuse a valid manifest that was put there in place of the run's own.

        Raises:
            StorageError: it is another one than this cluster has joined; or this cluster joins now, and it may be of
                another run.
        """
        key, known = documents.manifest_key(), self.state.run
        if known:
            if known != manifest.digest():
                raise StorageError(
                    f"{key}: is of another run than this cluster has joined; put the run's own back, or start another "
                    "sync.run"
                )
            return
        if not self._repository.is_signed or self._options.accept_older:
            return
        if not manifest.id:
            raise StorageError(
                f"{key}: was signed by an older version, and may be that of an earlier run of this name; if it is this "
                "run's, join once with --accept-unsigned"
            )
        if manifest.place != self._options.place:
            raise StorageError(
                f"{key}: was signed for {_shortened(manifest.place)} and lies in {_shortened(self._options.place)}; if "
                "you have moved the run, join once with --accept-unsigned"
            )

    def _initial_weights(self, manifest: RunManifest, own: np.ndarray) -> Steps[np.ndarray]:
        """The weights that all clusters start from, float32 [P]; ``own`` if they are the same."""
        if documents.payload_hash(encode_vector(own, "float32")) == manifest.initial.sha256:
            return own
        attempt, since = 0, (yield from Wait(0))
        while True:
            vector = yield from self._repository.get_vector(0, manifest.initial, manifest.length)
            if vector is not None:
                return vector
            attempt += 1
            yield from recovery.wait_for_payload(
                *(self._session, attempt, since, self._session.initial_key),
                "the weights that all clusters start from",
            )

    # -- contributing ----------------------------------------------------------------------------------

    def _contribute(self, weights: np.ndarray, samples: int, final: bool) -> Steps[None]:
        """Put this cluster's contribution to the next round, unless an earlier start's is there, which then counts."""
        options, state = self._options, self.state
        number = state.round + 1
        what: Literal["weights", "change"] = "weights"
        vector = weights
        if options.payload != "float32":  # rounding costs a change far less than the weights
            what, vector = "change", self._session.outgoing_change(state.base, weights)
        payload, data = yield from self._repository.put_vector(number, vector, options.payload, what)
        contribution = Contribution(
            round=number,
            cluster=options.cluster,
            samples=samples - state.samples,
            staleness=state.staleness,
            lease=options.lease,
            final=final,
            payload=payload,
            previous=self._repository.name_of(state.result),
        )
        key = documents.contribution_key(number, options.cluster)
        if not (yield from self._repository.put_document(key, contribution)):
            stored = yield from self._repository.find_document(Contribution, key)
            if stored is not None and stored.model_copy(update={"lease": options.lease}) != contribution:
                return
        self._session.upload = (documents.payload_key(number, payload.sha256), data)
        state.pending = PendingContribution(weights.copy(), samples, payload.sha256)

    def _rounding_error(self, base: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """What rounding has lost of a contribution, float32 [P]; in float32 nothing."""
        if self._options.payload == "float32":
            return self.state.residual
        change = self._session.outgoing_change(base, weights)
        return change - decode_vector(encode_vector(change, "bfloat16"), "bfloat16", len(change))

    # -- closing ---------------------------------------------------------------------------------------

    def _close_round(
        self, weights: np.ndarray, samples: int, following: bool = False
    ) -> Steps[RoundUpdate | None]:
        """Wait until the next round is closed, or close it.

        Args:
            following: this cluster has made its final contribution and only follows the others.

        Returns:
            None if nobody contributed in time to a round that this cluster only follows, or if this cluster has
            withdrawn its contribution.
        """
        options, session = self._options, self._session
        number, finished = self.state.round + 1, session.finished_clusters
        contributions: dict[str, Contribution] = {}
        now = since = yield from Wait(0)
        ready_since: float | None = None
        attempt, logged_quorum = 0, False
        while True:
            keys = yield from List(documents.round_prefix(number))
            if documents.result_key(number) in keys:
                return (yield from self._catch_up(number, weights, samples))
            if attempt and attempt % recovery.CHECK_EVERY == 0:
                yield from recovery.restore_payloads(session)
                if not following and (yield from recovery.withdraw_contribution(session, contributions)):
                    return None
            yield from self._delete_expired_rounds()  # here, where there may be time
            if self.state.pending:  # a listing may lag behind what this cluster has put itself
                keys = [*keys, documents.contribution_key(number, options.cluster)]
            yield from self._repository.read_contributions(number, keys, contributions, self.state.result)

            present = finished | {one.cluster for one in contributions.values()}
            expired = now - since >= options.deadline_s
            quorum = expired and len(present) >= options.quorum
            if contributions and (quorum or len(present) >= options.expected):
                ready_since = now if ready_since is None else ready_since
                if now - ready_since >= self._merge_delay_s(contributions) and (
                    yield from merge(session, contributions, expired=expired)
                ):
                    return (yield from self._catch_up(number, weights, samples))
            elif expired and not logged_quorum and (contributions or not following):
                logged_quorum = True
                yield from Log(
                    f"round {number}: {len(present)} of {options.expected} clusters have contributed or finished "
                    f"after {now - since:.0f} s, {options.quorum} are needed (sync.quorum); waiting"
                )
            if expired and following and not contributions:  # or none that can be read
                return None
            if now - since >= ALONE_S and len(present) < options.expected and not self._logged_runs:
                self._logged_runs = True
                yield from LogStoredRuns(
                    f"round {number}: {len(present)} of {options.expected} clusters have contributed or finished "
                    f"after {now - since:.0f} s"
                )
            attempt += 1
            now = yield from Wait(attempt)

    def _merge_delay_s(self, contributions: dict[str, Contribution]) -> float:
        """How long this cluster lets others merge first: all would make the same bytes, but one is cheaper."""
        names = sorted(one.cluster for one in contributions.values())
        own = self._options.cluster
        return (names.index(own) if own in names else len(names)) * STAGGER_S

    def _delete_expired_rounds(self) -> Steps[None]:
        newest, self._session.expired_round = self._session.expired_round, 0
        if newest >= 1:
            yield from self._repository.delete_rounds(newest)

    # -- adopting --------------------------------------------------------------------------------------

    def _catch_up(self, number: int, weights: np.ndarray, samples: int) -> Steps[RoundUpdate]:
        """Adopt round ``number`` or a newer one, and decide what becomes of this cluster's own change.

        Args:
            weights, samples: of this cluster now, as for ``synchronize``.
        """
        state, session = self.state, self._session
        before, base, pending = state.round, state.base, state.pending
        newest, results = yield from self._load_round(number)
        counted = self._rounds_counted_in(results)
        first = counted.get(before + 1)
        pending_counted = pending is not None and first is not None and pending.payload in ("", first.payload)
        contributed = pending_counted and session.upload is not None
        state.pending = session.upload = None

        if len(counted) > (1 if pending_counted else 0):
            # An earlier start of this cluster got further than the checkpoint: at least this change is in there.
            state.dropped += samples - state.samples
            state.samples, state.staleness = samples, 0
            state.residual = state.residual[:0]
            return RoundUpdate(newest, state.base, weights, True)
        if pending_counted and pending is not None:
            state.residual = self._rounding_error(base, pending.weights)
            state.samples, state.staleness = pending.samples, 0
            return RoundUpdate(newest, state.base, pending.weights, True, contributed=contributed)
        if state.finished and samples == state.samples:
            return RoundUpdate(newest, state.base, base, True)  # it only follows, and contributes nothing

        if self._options.late == "fold":
            state.staleness += newest - before
            yield from Log(
                f"round {newest}: too late to be counted; the change is added to the next contribution"
            )
            return RoundUpdate(newest, state.base, base, False)
        upto = pending.samples if pending is not None else samples
        state.dropped += upto - state.samples
        state.samples, state.staleness = upto, 0
        yield from Log(f"round {newest}: too late to be counted; the change is dropped")
        return RoundUpdate(newest, state.base, pending.weights if pending is not None else weights, False)

    def _load_round(self, number: int, *, joining: bool = False) -> Steps[tuple[int, list[RoundResult]]]:
        """Adopt the weights of round ``number``, or of a newer one if they are gone.

        Args:
            joining: the cluster knows no round before.

        Returns:
            Which, and the results of all rounds since the one that the cluster stood at.

        Raises:
            StorageError: the rounds do not follow on the one that the cluster stood at.
            RoundLostError: they are gone, and nobody has put them again for too long.
        """
        attempt, since = 0, (yield from Wait(0))
        while True:
            key = documents.result_key(number)
            result = yield from self._repository.require_valid(RoundResult, key)
            if result is not None and result.round == number:
                length = len(self.state.base)
                vector = yield from self._repository.get_vector(number, result.payload, length)
                if vector is not None:
                    results = [result] if joining else (yield from self._results_up_to(result))
                    self.state.round, self.state.base, self.state.result = number, vector, result.digest()
                    self._session.newest, self._session.momentum = result, None
                    return number, results
                if attempt % (2 * recovery.CHECK_EVERY) == recovery.CHECK_EVERY:
                    yield from recovery.recompute_result(self._session, result)
            newer = yield from self._repository.newest_closed_round()
            if newer > number:
                number, attempt, since = newer, 0, (yield from Wait(0))
                continue
            attempt += 1
            if result is not None:
                key = documents.payload_key(number, result.payload.sha256)
            yield from recovery.wait_for_payload(
                self._session, attempt, since, key, f"the weights of round {number}, which is closed,"
            )

    def _results_up_to(self, newest: RoundResult) -> Steps[list[RoundResult]]:
        """The results of the rounds after ``state.round`` up to ``newest``, in order.

        Raises:
            StorageError: one does not build on the one before; or one is missing in a signed run.
        """
        results, known = [], self.state.result
        for number in range(self.state.round + 1, newest.round + 1):
            key, result = documents.result_key(number), newest
            if number < newest.round:
                found = yield from self._repository.require_valid(RoundResult, key)
                if found is None:
                    if self._repository.is_signed:
                        raise StorageError(
                            f"{key}: is gone, though later rounds are there; restore the store"
                        )
                    known = ""
                    continue
                result = found
            if not self._repository.follows(result, known):
                raise StorageError(documents.other_history(key, number))
            results.append(result)
            known = result.digest()
        return results

    def _rounds_counted_in(self, results: list[RoundResult]) -> dict[int, Member]:
        """How this cluster took part, by round."""
        members = {result.round: result.member(self._options.cluster) for result in results}
        return {number: member for number, member in members.items() if member is not None}


def _refuse_other_settings(manifest: RunManifest, settings: dict[str, Any]) -> None:
    for name in sorted({*manifest.settings, *settings}):
        theirs, own = manifest.settings.get(name), settings.get(name)
        if theirs != own:
            key = name if name in settings else _shortened(name)
            raise ConfigError(
                f"{key}: is {_shortened(own)} here and {_shortened(theirs)} in the run that the clusters share; use "
                "the same value, or another sync.run"
            )


def _shortened(value: Any) -> str:
    """A value of a document as one line of bounded length."""
    form = reprlib.Repr()
    form.maxlist = form.maxdict = form.maxstring = form.maxother = 100
    return form.repr(value)
