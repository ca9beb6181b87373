"""How clusters that share nothing but an object store agree on one model, round by round.

Pure logic: no I/O, no threads, no clock. Each method is a generator that yields what it wants done (``Put``, ``Get``,
``List``, ``Delete``, ``Pause``, ``Say``), is sent the answer, and returns its result. Whoever runs it may stop it
between any two of these, for good: what is then in the store is enough to go on from. docs/sync-protocol.md tells
the protocol and why it is safe.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np

from hpc_lstm.errors import ConfigError, StorageError
from hpc_lstm.sync import documents, outer
from hpc_lstm.sync.documents import Contribution, Document, Member, Merged, Payload, RunCard
from hpc_lstm.sync.outer import Encoding
from hpc_lstm.sync.seal import Seal

D = TypeVar("D", bound=Document)
# How many looks pass between two checks that what this cluster has put is still whole.
CARE = 4
# Seconds that each cluster lets those before it in order of name be first to merge.
STAGGER_S = 1.0


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
class Pause:
    """Wait before looking again; answered by this machine's clock in seconds. ``looks`` 0: do not wait."""

    looks: int


@dataclass(frozen=True)
class Say:
    """Write a line into the log; answered by nothing."""

    text: str


Operation = Put | Get | List | Delete | Pause | Say
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
        residual: what rounding to bfloat16 left over; empty without.
    """

    weights: np.ndarray
    samples: int
    residual: np.ndarray


@dataclass
class Standing:
    """Where a cluster stands among the others: all that it must remember.

    Attributes:
        number: newest round that it has adopted; 0 is the weights that all began with.
        base: float32 [P], the weights of that round.
        samples: windows that it had trained on, in all, up to which they are counted or given up.
        staleness: rounds that have passed without it since its change was last counted.
        sent: its contribution to the next round, if it has made one.
        residual: float32 [P] of ``Sent.residual`` counted so far; empty without.
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


@dataclass(frozen=True)
class Outcome:
    """What a round came to for this cluster.

    Attributes:
        number: the round that is adopted.
        weights: float32 [P], the same for all clusters.
        origin: what the cluster has changed since these weights is its own and goes on top; None: nothing does.
        counted: the cluster's contribution took part.
        missing: clusters that had not contributed their last, where a follower ends.
    """

    number: int
    weights: np.ndarray
    origin: np.ndarray | None
    counted: bool
    missing: int = 0

    def applied(self, now: np.ndarray) -> np.ndarray:
        """The cluster's weights after the round, float32 [P], from those that it has now."""
        if self.origin is None or np.array_equal(self.origin, now):
            return self.weights
        return (self.weights.astype(np.float64) + (now.astype(np.float64) - self.origin)).astype(np.float32)


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
        self._too_old = 0  # the round that this cluster must thin out

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
        self.standing.base = yield from self._initial(card, initial)
        number = yield from self._find_newest()
        if number:
            yield from self._adopt(number)
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
        return outcome.applied(weights)

    def meet(self, weights: np.ndarray, samples: int, final: bool = False) -> Wanted:
        """Bring the change since the last round to the next one, and return its ``Outcome``.

        A final contribution is brought again until it is counted.

        Args:
            weights, samples: of this cluster now: float32 [P]; windows trained on in all.
        """
        while True:
            newest = yield from self._known_newest()
            if newest > self.standing.number:
                outcome = yield from self._settle(newest, weights, samples)
            else:
                yield from self._contribute(weights, samples, final)
                outcome = yield from self._close(weights, samples)
            if not final:
                return outcome
            if outcome.counted:
                self.standing.departed = True
                return Outcome(outcome.number, outcome.weights, None, True)
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
        for name in sorted({*card.settings, *settings}):
            theirs, mine = card.settings.get(name), settings.get(name)
            if theirs != mine:
                raise ConfigError(
                    f"{name}: is {mine!r} here and {theirs!r} in the run that the clusters share; "
                    "use the same value, or another sync.run"
                )
        if (card.schema_digest, card.length) != (schema_digest, len(initial)):
            raise ConfigError(
                "the clusters of this run train a network of other parameters; use another sync.run"
            )
        return card

    def _initial(self, card: RunCard, own: np.ndarray) -> Wanted:
        if documents.digest(outer.encode(own, "float32")) == card.initial.sha256:
            return own
        looks, said = 0, False
        while True:
            vector = yield from self._vector(0, card.initial, card.length)
            if vector is not None:
                return vector
            # Whoever wrote the card has put it before; a garbage collector never takes it.
            if not said and looks > CARE:
                said = True
                yield Say("the weights that all clusters begin with cannot be read; waiting for them")
            looks += 1
            yield Pause(looks)

    # -- bringing --------------------------------------------------------------------------------------

    def _contribute(self, weights: np.ndarray, samples: int, final: bool) -> Wanted:
        terms, standing = self.terms, self.standing
        number = standing.number + 1
        residual = standing.residual
        vector = weights
        if terms.payload == "bfloat16":
            vector = (weights.astype(np.float64) - standing.base).astype(np.float32)
            if len(residual):
                vector = vector + residual
        what: Any = "weights" if terms.payload == "float32" else "change"
        payload, data = yield from self._put_vector(number, vector, terms.payload, what)
        if terms.payload == "bfloat16":
            residual = vector - outer.decode(data, "bfloat16", len(vector))
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
        self._brought = (documents.payload_key(number, payload.sha256), data)
        # If one is there already, it is this one, or of an earlier start of this cluster, which counts in its place.
        yield Put(key, documents.write(contribution, key, self._seal))
        standing.sent = Sent(weights.copy(), samples, residual)

    # -- closing ---------------------------------------------------------------------------------------

    def _close(self, weights: np.ndarray, samples: int, following: bool = False) -> Wanted:
        """Wait for the next round's end, or bring it about; None for a follower whom nobody joins in time."""
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
                    yield from self._merge(number, list(known.values()), departed, expired)
                ):
                    return (yield from self._settle(number, weights, samples))
            elif expired and following and not known:
                return None
            elif expired and not told:
                told = True
                yield Say(
                    f"round {number}: {len(here)} of {terms.expected} clusters are here after {now - begun:.0f} s, "
                    f"{terms.quorum} are needed (sync.quorum); waiting"
                )
            looks += 1
            now = yield Pause(looks)

    def _look(self, number: int, there: Iterable[str], known: dict[str, Contribution]) -> Wanted:
        """Read the contributions that are not ``known`` yet."""
        prefix = documents.contributions_prefix(number)
        # A listing may lag behind what this cluster has put itself.
        own = {documents.contribution_key(number, self.terms.cluster)} if self.standing.sent else set()
        for key in sorted({key for key in there if key.startswith(prefix)} | own):
            if key not in known and key not in self._refused:
                one = yield from self._document(Contribution, key, "contribution")
                if one is not None and documents.contribution_key(one.round, one.cluster) == key:
                    known[key] = one

    def _merge(self, number: int, found: list[Contribution], departed: set[str], expired: bool) -> Wanted:
        """Put what the round comes to; False if vectors that cannot be read now are worth waiting for."""
        terms, base = self.terms, self.standing.base
        brought: list[tuple[Contribution, np.ndarray]] = []
        for one in sorted(found, key=lambda one: one.cluster):
            vector = yield from self._contributed(number, one)
            if vector is not None:
                brought.append((one, vector))
        here = departed | {one.cluster for one, _ in brought}
        if len(brought) < len(found) and not (brought and expired and len(here) >= terms.quorum):
            return False
        merged = outer.average(base, [(vector, one.samples) for one, vector in brought])
        momentum: Payload | None = None
        if terms.outer == "nesterov":
            before = yield from self._momentum_before()
            if before is None:
                return False
            merged, after = outer.nesterov(base, merged, before, terms.outer_lr, terms.outer_momentum)
            momentum, _ = yield from self._put_vector(number, after, "float32", "change")
        weights = merged.astype(np.float32)
        payload, _ = yield from self._put_vector(number, weights, "float32", "weights")
        # Whoever merges has what it has made, and need not read it back.
        self._made = {documents.payload_key(number, payload.sha256): weights}
        if momentum is not None:
            self._made[documents.payload_key(number, momentum.sha256)] = after
        contributions = [one for one, _ in brought]
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

    def _contributed(self, number: int, one: Contribution) -> Wanted:
        """A contribution as a change against the base, float64 [P]; None if it cannot be read now."""
        base, payload = self.standing.base, one.payload
        if self._brought is not None and self._brought[0] == documents.payload_key(number, payload.sha256):
            vector = outer.decode(self._brought[1], payload.encoding, len(base))
        else:
            vector = yield from self._vector(number, payload, len(base))
        if vector is None:
            return None
        return vector.astype(np.float64) - (base if payload.what == "weights" else 0.0)

    def _momentum_before(self) -> Wanted:
        if self._newest is None or self._newest.momentum is None:
            return np.zeros(len(self.standing.base), np.float32)
        if self._momentum is None:
            number, payload = self._newest.round, self._newest.momentum
            self._momentum = yield from self._vector(number, payload, len(self.standing.base))
        return self._momentum

    def _thin_out(self) -> Wanted:
        """Remove the vectors of the round that is too old to be kept, and what was brought to it."""
        old, self._too_old = self._too_old, 0
        if old < 1:
            return
        for prefix in (f"payloads/{old:06d}/", documents.contributions_prefix(old)):
            for key in (yield List(prefix)):
                yield Delete(key)

    def _care(self, number: int) -> Wanted:
        """Put again what this cluster needs others to read, where somebody found it damaged and removed it."""
        standing, whole = self.standing, []
        if standing.sent is not None and self._brought is not None:
            whole.append((number, *self._brought))
        if standing.number:
            data = outer.encode(standing.base, "float32")
            whole.append(
                (standing.number, documents.payload_key(standing.number, documents.digest(data)), data)
            )
        for round_, key, data in whole:
            if key not in (yield List(f"payloads/{round_:06d}/")):
                yield Put(key, data)

    # -- adopting --------------------------------------------------------------------------------------

    def _settle(self, number: int, weights: np.ndarray, samples: int) -> Wanted:
        """Adopt round ``number`` or a newer one, and say what becomes of this cluster's own change."""
        standing, terms = self.standing, self.terms
        before, base, sent = standing.number, standing.base, standing.sent
        newest = yield from self._adopt(number)
        counted = yield from self._counted_in(before, newest)
        fresh = [round_ for round_ in counted if not (sent is not None and round_ == before + 1)]
        standing.sent = self._brought = None
        if fresh:
            # An earlier start of this cluster, which got further, has brought at least this change.
            standing.lost += samples - standing.samples
            standing.samples, standing.staleness = samples, 0
            return Outcome(newest, standing.base, weights, True)
        if counted and sent is not None:
            standing.samples, standing.staleness, standing.residual = sent.samples, 0, sent.residual
            return Outcome(newest, standing.base, sent.weights, True)
        if standing.departed and sent is None:
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
        """Take the weights of round ``number``, or of a newer one if they are gone; returns which."""
        looks = 0
        while True:
            merged = yield from self._must_read(Merged, documents.merged_key(number), "merged")
            if merged is not None and merged.round == number:
                length = len(self.standing.base)
                vector = yield from self._vector(number, merged.payload, length)
                if vector is not None:
                    self.standing.number, self.standing.base = number, vector
                    self._newest, self._momentum = merged, None
                    return number
            newer = yield from self._find_newest()
            if newer <= number:
                looks += 1
                if looks == CARE:
                    yield Say(f"round {number} is closed but its weights cannot be read; waiting for them")
                yield Pause(looks)
            number = max(number, newer)

    def _counted_in(self, before: int, newest: int) -> Wanted:
        """Rounds after ``before`` up to ``newest`` in which this cluster took part."""
        counted = []
        for number in range(before + 1, newest + 1):
            merged = self._newest
            if merged is None or merged.round != number:
                merged = yield from self._must_read(Merged, documents.merged_key(number), "merged")
            if merged is not None and merged.counts(self.terms.cluster):
                counted.append(number)
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
            data = outer.encode(vector, encoding)
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
                return outer.decode(data, payload.encoding, length)
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
