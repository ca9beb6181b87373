"""How clusters that share nothing but an object store agree on one model, round by round.

Pure logic: no I/O, no threads, no clock. Each method is a generator that yields what it wants done (``Put``, ``Get``,
``List``, ``Delete``, ``Pause``, ``Say``), is sent the answer, and returns its result. Whoever runs it may stop it
between any two of these, for good: what is then in the store is enough to go on from. docs/sync-protocol.md tells
the protocol and why it is safe.
"""

from __future__ import annotations

import reprlib
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

import numpy as np

from hpc_lstm.clusters import documents, outer_step
from hpc_lstm.clusters.documents import Contribution, Document, Member, Merged, Payload, RunCard
from hpc_lstm.clusters.outer_step import Encoding
from hpc_lstm.clusters.signing import Seal
from hpc_lstm.errors import ConfigError, RoundLostError, StorageError

D = TypeVar("D", bound=Document)
# How many looks pass between two checks that what this cluster has put is still whole.
CARE = 4
# Seconds that each cluster lets those before it in order of name be first to merge.
STAGGER_S = 1.0
# What cannot be read is waited for as long as other clusters are, but not less.
LEAST_PATIENCE_S = 60.0
# After so many seconds of waiting for other clusters the log says, once, what else lies in the store.
LONELY_S = 60.0


@dataclass(frozen=True)
class Put:
    """Create an object; answered by whether it was new. Payloads may be put again: their name is their content."""

    key: str
    data: bytes


@dataclass(frozen=True)
class Get:
    """An object's bytes; answered by None if there is none, by no bytes if it is larger than ``limit``."""

    key: str
    limit: int


@dataclass(frozen=True)
class List:
    """Keys under a prefix; answered by them."""

    prefix: str


@dataclass(frozen=True)
class Delete:
    """Remove an object."""

    key: str


@dataclass(frozen=True)
class Discard:
    """Remove what killed writers left under a prefix that is in no listing."""

    prefix: str


@dataclass(frozen=True)
class Pause:
    """Wait before looking again; answered by this machine's clock in seconds. ``looks`` 0: do not wait."""

    looks: int


@dataclass(frozen=True)
class Say:
    """Write a line into the log; answered by nothing."""

    text: str


@dataclass(frozen=True)
class LogStoredRuns:
    """Write into the log which runs lie in the store, after ``text``; answered by nothing."""

    text: str


Operation = Put | Get | List | Delete | Discard | Pause | Say | LogStoredRuns
Wanted = Generator[Operation, Any, Any]


@dataclass(frozen=True)
class Terms:
    """How this cluster takes part; see ``[sync]`` of the configuration."""

    cluster: str
    expected: int = 1
    quorum: int = 1
    deadline_s: float = 600.0
    late: Literal["fold", "drop"] = "fold"
    outer: Literal["average", "nesterov"] = "average"
    outer_lr: float = 0.7
    outer_momentum: float = 0.9
    payload: Encoding = "float32"
    keep: int = 4
    lease: int = 0


@dataclass(frozen=True)
class Sent:
    """A contribution whose round has not closed yet.

    Attributes:
        weights: float32 [P] that it was made of.
        samples: windows that the cluster had trained on in all.
        payload: SHA-256 of its vector; "" if that was not yet made.
    """

    weights: np.ndarray
    samples: int
    payload: str = ""


@dataclass
class Standing:
    """Where a cluster stands among the others: all that it must remember.

    Attributes:
        number: newest round that it has adopted; 0 is the weights that all began with.
        base: float32 [P], the weights of that round.
        samples: windows that it had trained on, in all, up to which they are counted or given up.
        staleness: rounds that have passed without it since its change was last counted.
        sent: its contribution to the next round, if it has made one.
        residual: float32 [P], what rounding to bfloat16 has left over of what is counted; empty without.
        lost: windows whose change was dropped.
        departed: its final contribution has been counted.
    """

    number: int = 0
    base: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))
    samples: int = 0
    staleness: int = 0
    sent: Sent | None = None
    residual: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))
    lost: int = 0
    departed: bool = False

    def meeting(self, weights: np.ndarray, samples: int) -> Standing:
        """What to remember while ``Rounds.meet`` is under way: it may or may not have been of effect."""
        return replace(self, sent=self.sent or Sent(weights, samples))


@dataclass(frozen=True)
class Outcome:
    """What a round came to for this cluster.

    Attributes:
        number: the round that is adopted.
        weights: float32 [P], the same for all clusters.
        origin: what the cluster has changed since these weights is its own and goes on top; None: nothing does.
        counted: the cluster's contribution took part.
        missing: clusters that had not contributed their last, where a follower ends.
        brought: what counted was put by this very start, in this very meeting.
    """

    number: int
    weights: np.ndarray
    origin: np.ndarray | None
    counted: bool
    missing: int = 0
    brought: bool = False

    def applied(self, now: np.ndarray) -> np.ndarray:
        """The cluster's weights after the round, float32 [P], from those that it has now."""
        if self.origin is None or np.array_equal(self.origin, now):
            return self.weights
        own = now.astype(np.float64)
        own -= self.origin
        own += self.weights
        return own.astype(np.float32)


class Rounds:
    """One cluster's side of all rounds of a run.

    Args:
        terms: how it takes part.
        seal: signs and checks documents.
        standing: where it stands; of a checkpoint, or fresh.

    Attributes:
        bytes_put, bytes_got: of vectors, so far.
    """

    def __init__(self, terms: Terms, seal: Seal, standing: Standing | None = None) -> None:
        self.terms, self.standing = terms, standing or Standing()
        self.bytes_put = self.bytes_got = 0
        self._seal = seal
        self._newest: Merged | None = None  # of round ``standing.number``
        self._momentum: np.ndarray | None = None  # of that round, if known
        self._brought: tuple[str, bytes] | None = None  # key and bytes of the contribution under way
        self._made: dict[str, np.ndarray] = {}  # by key, what this cluster has merged itself
        self._refused: set[str] = set()
        self._told_runs = False
        self._too_old = 0  # the newest round that this cluster must thin out
        self._initial_key = ""  # of the weights that all begin with

    @property
    def complete(self) -> bool:
        """True if an earlier start of this cluster, later than what this one has come back to, has gone to the end."""
        newest, standing = self._newest, self.standing
        return newest is not None and self.terms.cluster in newest.departed and not standing.departed

    # -- what training asks for ------------------------------------------------------------------------

    def join(self, initial: np.ndarray, settings: dict[str, Any], schema_digest: str) -> Wanted:
        """Meet the others for the first time: begin with the newest round, or with the weights that all begin with.

        Args:
            initial: float32 [P], taken if nobody was here before.
            settings: by key, what every cluster must share.

        Returns:
            float32 [P], the weights to go on with.

        Raises:
            ConfigError: the clusters here train something else: which key differs.
        """
        card = yield from self._agree(initial, settings, schema_digest)
        self.standing.base = initial
        number = yield from self._find_newest()
        if number:
            yield from self._adopt(number)
        else:
            self.standing.base = yield from self._initial(card, initial)
        return self.standing.base

    def rejoin(
        self, weights: np.ndarray, samples: int, settings: dict[str, Any], schema_digest: str
    ) -> Wanted:
        """Come back with a standing from a checkpoint, to whatever has happened since.

        Args:
            weights, samples: of the checkpoint: float32 [P]; windows trained on in all.

        Returns:
            float32 [P], the weights to go on with.
        """
        yield from self._agree(self.standing.base, settings, schema_digest)
        standing = self.standing
        number = yield from self._find_newest()
        if number > standing.number:
            outcome = yield from self._settle(number, weights, samples)
            return outcome.applied(weights)
        if standing.number:
            self._newest = yield from self._must_read(Merged, documents.merged_key(standing.number), "merged")
            if self._newest is None:
                raise StorageError(
                    f"{documents.merged_key(standing.number)}: is gone, though this cluster has adopted it; "
                    "was the run removed from the store?"
                )
        key = documents.contribution_key(standing.number + 1, self.terms.cluster)
        if (yield from self._document(Contribution, key, "contribution")) is None:
            standing.sent = None
            return weights
        # It was made after the checkpoint, or before it; what it holds counts once, whatever it is.
        yield Say(f"waiting for round {standing.number + 1}, to which this cluster has contributed already")
        outcome = yield from self._close(weights, samples)
        return weights if outcome is None else outcome.applied(weights)

    def meet(self, weights: np.ndarray, samples: int, final: bool = False) -> Wanted:
        """Bring the change since the last round to the next one, and return its ``Outcome``.

        A final contribution is brought again until it is counted, and not at all if that was so before.

        Args:
            weights, samples: of this cluster now: float32 [P]; windows trained on in all.
        """
        if final and self.standing.departed and samples == self.standing.samples:
            return Outcome(self.standing.number, self.standing.base, None, True)
        while True:
            newest = yield from self._known_newest()
            if newest > self.standing.number:
                outcome = yield from self._settle(newest, weights, samples)
            else:
                yield from self._contribute(weights, samples, final)
                outcome = yield from self._close(weights, samples)
                if outcome is None:
                    continue
            if not final:
                return outcome
            # Not if it was an earlier start's that counted, which had not come to the end.
            if outcome.counted and self._newest is not None and self.terms.cluster in self._newest.departed:
                self.standing.departed = True
                return replace(outcome, origin=None)
            weights = outcome.applied(weights)

    def follow(self) -> Wanted:
        """After the final contribution: adopt further rounds until every cluster's final one has been counted.

        Returns:
            The last ``Outcome``; its ``missing`` clusters have not come within the deadline.
        """
        while True:
            newest = self._newest
            missing = self.terms.expected - (len(newest.departed) if newest else 0)
            if missing <= 0:
                return Outcome(self.standing.number, self.standing.base, None, True)
            standing = self.standing
            outcome = yield from self._close(standing.base, standing.samples, following=True)
            if outcome is None:
                return Outcome(self.standing.number, self.standing.base, None, True, missing)

    # -- meeting for the first time --------------------------------------------------------------------

    def _agree(self, initial: np.ndarray, settings: dict[str, Any], schema_digest: str) -> Wanted:
        key = documents.run_key()
        card = yield from self._must_read(RunCard, key, "run")
        if card is None:
            payload, _ = yield from self._put_vector(0, initial, "float32", "weights")
            card = RunCard(
                settings=settings, schema_digest=schema_digest, length=len(initial), initial=payload
            )
            if not (yield Put(key, documents.write(card, key, self._seal))):
                card = yield from self._must_read(RunCard, key, "run")
                if card is None:
                    raise StorageError(f"{key}: was there and is gone; is somebody deleting this run?")
        self._initial_key = documents.payload_key(0, card.initial.sha256)
        for name in sorted({*card.settings, *settings}):
            theirs, mine = card.settings.get(name), settings.get(name)
            if theirs != mine:
                raise ConfigError(
                    f"{name if name in settings else _short(name)}: is {_short(mine)} here and {_short(theirs)} in the "
                    "run that the clusters share; use the same value, or another sync.run"
                )
        if (card.schema_digest, card.length) != (schema_digest, len(initial)):
            raise ConfigError(
                "the clusters of this run train a network of other parameters; use another sync.run"
            )
        return card

    def _initial(self, card: RunCard, own: np.ndarray) -> Wanted:
        if documents.digest(outer_step.encode(own, "float32")) == card.initial.sha256:
            return own
        looks, begun = 0, (yield Pause(0))
        while True:
            vector = yield from self._vector(0, card.initial, card.length)
            if vector is not None:
                return vector
            # Whoever wrote the card has put it before; a garbage collector never takes it.
            looks += 1
            yield from self._patience(
                looks, begun, self._initial_key, "the weights that all clusters begin with"
            )

    def _patience(self, looks: int, begun: float, key: str, what: str) -> Wanted:
        """Wait before looking again for what cannot be read, for whose holder to put it again; not for ever."""
        if looks == CARE:
            yield Say(f"{what} cannot be read; waiting for them ({key})")
        waited = (yield Pause(looks)) - begun
        if waited > max(self.terms.deadline_s, LEAST_PATIENCE_S):
            raise RoundLostError(
                f"{key}: {what} cannot be read, and in {waited:.0f} s no cluster has put them again; bring this object "
                "back and go on with --resume, or begin another sync.run"
            )

    # -- bringing --------------------------------------------------------------------------------------

    def _contribute(self, weights: np.ndarray, samples: int, final: bool) -> Wanted:
        terms, standing = self.terms, self.standing
        number = standing.number + 1
        vector = weights if terms.payload == "float32" else self._outgoing(standing.base, weights)
        what: Any = "weights" if terms.payload == "float32" else "change"
        payload, data = yield from self._put_vector(number, vector, terms.payload, what)
        contribution = Contribution(
            round=number,
            cluster=terms.cluster,
            samples=samples - standing.samples,
            staleness=standing.staleness,
            lease=terms.lease,
            final=final,
            payload=payload,
        )
        key = documents.contribution_key(number, terms.cluster)
        if not (yield Put(key, documents.write(contribution, key, self._seal))):
            there = yield from self._document(Contribution, key, "contribution")
            if there is not None and there.model_copy(update={"lease": terms.lease}) != contribution:
                return  # of an earlier start of this cluster, which counts in its place
        self._brought = (documents.payload_key(number, payload.sha256), data)
        standing.sent = Sent(weights.copy(), samples, payload.sha256)

    def _outgoing(self, base: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """The change with what rounding has left over of earlier ones, float32 [P]."""
        change = (weights.astype(np.float64) - base).astype(np.float32)
        return change + self.standing.residual if len(self.standing.residual) else change

    def _left_over(self, base: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """What rounding has left over of a contribution, float32 [P]; empty without."""
        if self.terms.payload == "float32":
            return self.standing.residual
        sent = self._outgoing(base, weights)
        return sent - outer_step.decode(outer_step.encode(sent, "bfloat16"), "bfloat16", len(sent))

    # -- closing ---------------------------------------------------------------------------------------

    def _close(self, weights: np.ndarray, samples: int, following: bool = False) -> Wanted:
        """Wait for the next round's end, or bring it about.

        Returns:
            The ``Outcome``; None where nobody joins a follower in time, or this cluster has taken back what it brought.
        """
        terms, number = self.terms, self.standing.number + 1
        key = documents.merged_key(number)
        departed = set(self._newest.departed if self._newest else ())
        known: dict[str, Contribution] = {}
        now = begun = yield Pause(0)
        ready: float | None = None  # since when the round could be closed
        looks, told = 0, False
        while True:
            there = yield List(f"rounds/{number:06d}/")
            if key in there:
                return (yield from self._settle(number, weights, samples))
            if looks and looks % CARE == 0:
                yield from self._care(number)
                if not following and (yield from self._taken_back(number, known)):
                    return None
            yield from self._thin_out()  # here, where there may be time
            yield from self._look(number, there, known)
            here = departed | {one.cluster for one in known.values()}
            expired = now - begun >= terms.deadline_s
            if known and (len(here) >= terms.expected or (expired and len(here) >= terms.quorum)):
                ready = now if ready is None else ready
                names = sorted(one.cluster for one in known.values())
                turn = names.index(terms.cluster) if terms.cluster in names else len(names)
                # Whoever merges comes to the same; that the others let one be first saves bytes.
                if now - ready >= turn * STAGGER_S and (
                    yield from self._merge(number, known, departed, expired)
                ):
                    return (yield from self._settle(number, weights, samples))
            elif expired and not told and (known or not following):
                told = True
                yield Say(
                    f"round {number}: {len(here)} of {terms.expected} clusters are here after {now - begun:.0f} s, "
                    f"{terms.quorum} are needed (sync.quorum); waiting"
                )
            if expired and following and not known:  # or what has come can be read nowhere
                return None
            if now - begun >= LONELY_S and len(here) < terms.expected and not self._told_runs:
                self._told_runs = True
                yield LogStoredRuns(
                    f"round {number}: {len(here)} of {terms.expected} clusters after {now - begun:.0f} s"
                )
            looks += 1
            now = yield Pause(looks)

    def _look(self, number: int, there: Iterable[str], known: dict[str, Contribution]) -> Wanted:
        """Read the contributions that are not ``known`` yet."""
        prefix = documents.contributions_prefix(number)
        # A listing may lag behind what this cluster has put itself.
        own = {documents.contribution_key(number, self.terms.cluster)} if self.standing.sent else set()
        names = {key for key in there if key.startswith(prefix) and documents.CONTRIBUTED.fullmatch(key)}
        for key in sorted(names | own):
            if key not in known and key not in self._refused:
                one = yield from self._document(Contribution, key, "contribution")
                if one is not None and documents.contribution_key(one.round, one.cluster) == key:
                    known[key] = one

    def _merge(
        self, number: int, known: dict[str, Contribution], departed: set[str], expired: bool
    ) -> Wanted:
        """Put what the round comes to; False if vectors that cannot be read now are worth waiting for."""
        terms, wanted = self.terms, len(known)

        def enough() -> bool:
            here = departed | {one.cluster for one in known.values()}
            return len(known) == wanted or (len(known) > 0 and expired and len(here) >= terms.quorum)

        # What is gone is put again by its cluster, or taken back for another; no need to read the others' till then.
        there = yield List(f"{documents.PAYLOADS}{number:06d}/")
        for key, one in list(known.items()):
            place = documents.payload_key(number, one.payload.sha256)
            if place not in there and not (self._brought and self._brought[0] == place):
                del known[key]
        if not enough():
            return False
        mean, contributions = outer_step.Mean(self.standing.base), []
        for key, one in sorted(known.items(), key=lambda item: item[1].cluster):
            change = yield from self._contributed(number, one)
            if change is None:
                del known[key]
            else:
                mean.add(change, one.samples)
                contributions.append(one)
        if not enough():
            return False
        stepped = yield from self._step(mean.result(), expired)
        if stepped is None:
            return False
        weights, after = stepped
        momentum: Payload | None = None
        if after is not None:
            momentum, _ = yield from self._put_vector(number, after, "float32", "change")
        payload, _ = yield from self._put_vector(number, weights, "float32", "weights")
        # Whoever merges has what it has made, and need not read it back.
        self._made = {documents.payload_key(number, payload.sha256): weights}
        if momentum is not None:
            self._made[documents.payload_key(number, momentum.sha256)] = after
        result = Merged(
            round=number,
            members=[
                Member(
                    cluster=one.cluster,
                    samples=one.samples,
                    staleness=one.staleness,
                    payload=one.payload.sha256,
                )
                for one in contributions
            ],
            departed=sorted(
                departed - {one.cluster for one in contributions}
                | {one.cluster for one in contributions if one.final}
            ),
            samples=(self._newest.samples if self._newest else 0) + sum(one.samples for one in contributions),
            payload=payload,
            momentum=momentum,
        )
        key = documents.merged_key(number)
        if (yield Put(key, documents.write(result, key, self._seal))):
            self._too_old = number - terms.keep
        return True

    def _step(self, averaged: np.ndarray, expired: bool) -> Wanted:
        """From the mean, float64 [P], new weights and momentum, float32 [P]; None if the last one is waited for."""
        terms, base = self.terms, self.standing.base
        if terms.outer == "average":
            return averaged.astype(np.float32), None
        before = yield from self._momentum_before()
        if before is None:
            if not expired:
                return None
            yield Say(f"the momentum of round {self.standing.number} cannot be read: it begins anew")
            before = np.zeros(len(base), np.float32)
        merged, after = outer_step.nesterov(base, averaged, before, terms.outer_lr, terms.outer_momentum)
        return merged.astype(np.float32), after

    def _remake(self, merged: Merged) -> Wanted:
        """Put what a round came to again, made from what its members brought, where all of that can be read."""
        number = merged.round
        if number != self.standing.number + 1:
            return
        mean = outer_step.Mean(self.standing.base)
        for member in merged.members:
            key = documents.contribution_key(number, member.cluster)
            one = yield from self._document(Contribution, key, "contribution")
            if one is None or one.payload.sha256 != member.payload:
                return
            change = yield from self._contributed(number, one)
            if change is None:
                return
            mean.add(change, member.samples)
        stepped = yield from self._step(mean.result(), False)
        for vector, payload in zip(stepped or (), (merged.payload, merged.momentum), strict=False):
            if vector is not None and payload is not None:
                data = outer_step.encode(vector, "float32")
                if documents.digest(data) == payload.sha256:
                    yield Put(documents.payload_key(number, payload.sha256), data)

    def _contributed(self, number: int, one: Contribution) -> Wanted:
        """A contribution as a change against the base, float64 [P]; None if it cannot be read now."""
        base, payload = self.standing.base, one.payload
        if self._brought is not None and self._brought[0] == documents.payload_key(number, payload.sha256):
            vector = outer_step.decode(self._brought[1], payload.encoding, len(base))
        else:
            vector = yield from self._vector(number, payload, len(base))
        if vector is None:
            return None
        change = vector.astype(np.float64)
        if payload.what == "weights":
            change -= base
        return change

    def _momentum_before(self) -> Wanted:
        if self._newest is None or self._newest.momentum is None:
            return np.zeros(len(self.standing.base), np.float32)
        if self._momentum is None:
            number, payload = self._newest.round, self._newest.momentum
            self._momentum = yield from self._vector(number, payload, len(self.standing.base))
        return self._momentum

    def _thin_out(self) -> Wanted:
        """Remove the vectors of rounds that are too old to be kept, and what was brought to them."""
        oldest, self._too_old = self._too_old, 0
        if oldest < 1:
            return
        keys = yield List(documents.PAYLOADS)
        for number in sorted({documents.round_of(key) for key in keys} | {oldest}):
            if 0 < number <= oldest:
                for key in (yield List(documents.contributions_prefix(number))):
                    yield Delete(key)
                for key in keys:
                    if documents.round_of(key) == number:
                        yield Delete(key)
                yield Discard(f"{documents.PAYLOADS}{number:06d}/")

    def _care(self, number: int) -> Wanted:
        """Put again what this cluster needs others to read, where somebody found it damaged and removed it."""
        standing = self.standing
        there = set((yield List(f"{documents.PAYLOADS}{number:06d}/")))
        if standing.sent is not None and self._brought is not None and self._brought[0] not in there:
            yield Put(*self._brought)
        there = set((yield List(f"{documents.PAYLOADS}{standing.number:06d}/")))
        held = {key: made for key, made in self._made.items() if documents.round_of(key) == standing.number}
        if self._newest is not None:
            held[documents.payload_key(standing.number, self._newest.payload.sha256)] = standing.base
        elif standing.number == 0:
            held[self._initial_key] = standing.base
        for key, vector in held.items():
            if key not in there:
                yield Put(key, outer_step.encode(vector, "float32"))

    def _taken_back(self, number: int, known: dict[str, Contribution]) -> Wanted:
        """Remove this cluster's contribution if its vector is gone, and with an earlier start what it was made of."""
        key = documents.contribution_key(number, self.terms.cluster)
        if self._brought is not None:
            return False
        one = yield from self._document(Contribution, key, "contribution")
        if one is None:
            return False
        place = documents.payload_key(number, one.payload.sha256)
        if place in (yield List(f"{documents.PAYLOADS}{number:06d}/")):
            return False
        yield Say(f"{place}: is gone; what this cluster has contributed is taken back, to contribute anew")
        yield Delete(key)
        known.pop(key, None)
        self.standing.sent = None
        return True

    # -- adopting --------------------------------------------------------------------------------------

    def _settle(self, number: int, weights: np.ndarray, samples: int) -> Wanted:
        """Adopt round ``number`` or a newer one, and say what becomes of this cluster's own change."""
        standing, terms = self.standing, self.terms
        before, base, sent = standing.number, standing.base, standing.sent
        newest = yield from self._adopt(number)
        counted = yield from self._counted_in(before, newest)
        first = counted.get(before + 1)
        as_sent = sent is not None and first is not None and sent.payload in ("", first.payload)
        fresh = len(counted) > (1 if as_sent else 0)
        brought = as_sent and self._brought is not None
        standing.sent = self._brought = None
        if fresh:
            # An earlier start of this cluster, which got further, has brought at least this change.
            standing.lost += samples - standing.samples
            standing.samples, standing.staleness = samples, 0
            standing.residual = standing.residual[:0]
            return Outcome(newest, standing.base, weights, True)
        if as_sent and sent is not None:
            standing.residual = self._left_over(base, sent.weights)
            standing.samples, standing.staleness = sent.samples, 0
            return Outcome(newest, standing.base, sent.weights, True, brought=brought)
        if standing.departed and samples == standing.samples:
            return Outcome(newest, standing.base, base, True)  # a follower, that brings nothing
        if terms.late == "fold":
            standing.staleness += newest - before
            yield Say(f"round {newest}: too late to be counted; the change is added to the next one")
            return Outcome(newest, standing.base, base, False)
        upto = sent.samples if sent is not None else samples
        standing.lost += upto - standing.samples
        standing.samples, standing.staleness = upto, 0
        yield Say(f"round {newest}: too late to be counted; the change is dropped")
        return Outcome(newest, standing.base, sent.weights if sent is not None else weights, False)

    def _adopt(self, number: int) -> Wanted:
        """Take the weights of round ``number``, or of a newer one if they are gone; returns which.

        Raises:
            RoundLostError: nobody has put them again for too long.
        """
        looks, begun = 0, (yield Pause(0))
        while True:
            merged = yield from self._must_read(Merged, documents.merged_key(number), "merged")
            if merged is not None and merged.round == number:
                length = len(self.standing.base)
                vector = yield from self._vector(number, merged.payload, length)
                if vector is not None:
                    self.standing.number, self.standing.base = number, vector
                    self._newest, self._momentum = merged, None
                    return number
                if looks % (2 * CARE) == CARE:
                    yield from self._remake(merged)
            newer = yield from self._find_newest()
            if newer > number:
                number, looks, begun = newer, 0, (yield Pause(0))
                continue
            looks += 1
            key = documents.merged_key(number)
            if merged is not None:
                key = documents.payload_key(number, merged.payload.sha256)
            yield from self._patience(looks, begun, key, f"the weights of round {number}, which is closed,")

    def _counted_in(self, before: int, newest: int) -> Wanted:
        """How this cluster took part, by round, in those after ``before`` up to ``newest``."""
        counted = {}
        for number in range(before + 1, newest + 1):
            merged = self._newest
            if merged is None or merged.round != number:
                merged = yield from self._must_read(Merged, documents.merged_key(number), "merged")
            member = merged.member(self.terms.cluster) if merged is not None else None
            if member is not None:
                counted[number] = member
        return counted

    def _find_newest(self) -> Wanted:
        """Number of the newest closed round, 0 if there is none. A listing may lag behind: it is a lower bound."""
        numbers = [0]
        for key in (yield List("rounds/")):
            match = documents.MERGED.fullmatch(key)
            if match and documents.merged_key(int(match[1])) == key:
                numbers.append(int(match[1]))
        return max(numbers)

    def _known_newest(self) -> Wanted:
        """The same, by one read where nothing has happened."""
        number = self.standing.number
        if (yield Get(documents.merged_key(number + 1), documents.LARGEST["merged"])) is None:
            return number
        return max(number + 1, (yield from self._find_newest()))

    # -- objects ---------------------------------------------------------------------------------------

    def _put_vector(self, number: int, vector: np.ndarray, encoding: Encoding, what: Any) -> Wanted:
        try:
            data = outer_step.encode(vector, encoding)
        except ValueError as error:
            raise StorageError(f"round {number}: the weights cannot be brought to it: {error}") from None
        sha256 = documents.digest(data)
        self.bytes_put += len(data)
        yield Put(documents.payload_key(number, sha256), data)
        return Payload(sha256=sha256, encoding=encoding, what=what), data

    def _vector(self, number: int, payload: Payload, length: int) -> Wanted:
        """A vector, float32 [length], or None where it is missing or is not what its name says."""
        key = documents.payload_key(number, payload.sha256)
        if key in self._made:
            return self._made[key]
        data = yield Get(key, documents.nbytes(payload, length))
        if data is None:
            return None
        self.bytes_got += len(data)
        if documents.digest(data) == payload.sha256:
            try:
                return outer_step.decode(data, payload.encoding, length)
            except ValueError as error:
                yield from self._refuse(key, str(error))
                return None
        yield Say(f"{key}: its bytes are not what its name says; removed, to be put again")
        yield Delete(key)
        return None

    def _document(self, kind: type[D], key: str, limit: str) -> Wanted:
        """A document, None if it is missing or cannot be trusted, which is said once."""
        data = yield Get(key, documents.LARGEST[limit])
        if data is None:
            return None
        try:
            return documents.read(kind, data, key, self._seal)
        except ValueError as error:
            yield from self._refuse(key, str(error))
            return None

    def _must_read(self, kind: type[D], key: str, limit: str) -> Wanted:
        """A document that nothing goes on without, None if it is missing.

        Raises:
            StorageError: it is there, and cannot be trusted.
        """
        data = yield Get(key, documents.LARGEST[limit])
        if data is None:
            return None
        try:
            return documents.read(kind, data, key, self._seal)
        except ValueError as error:
            raise StorageError(
                f"{key}: {error}; give this run another sync.run, or remove what is not its own"
            ) from None

    def _refuse(self, key: str, why: str) -> Wanted:
        if key not in self._refused:
            self._refused.add(key)
            yield Say(f"{key}: refused: {why}")


def _short(value: Any) -> str:
    """A value of a document as one line of bounded length."""
    form = reprlib.Repr()
    form.maxlist = form.maxdict = form.maxstring = form.maxother = 100
    return form.repr(value)
