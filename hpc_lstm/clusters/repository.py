"""The objects of a run that clusters share: documents and vectors, checked as they are read.

A document counts if it has the form that its kind prescribes and, with a signing key, the signature of its place. A
vector counts if its bytes have the hash that a document names.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeVar

import numpy as np

from hpc_lstm.clusters import documents
from hpc_lstm.clusters.documents import Contribution, Document, Payload, RoundResult, RunManifest
from hpc_lstm.clusters.encoding import Encoding, decode_vector, encode_vector
from hpc_lstm.clusters.steps import Delete, DiscardUnfinished, Get, List, Log, Put, Steps
from hpc_lstm.errors import StorageError
from hpc_lstm.storage.signing import Signer

D = TypeVar("D", bound=Document)


class Repository:
    """Reads and writes a run's objects.

    Attributes:
        merged_here: vectors of the last result that this cluster has merged itself, by key: not to be fetched.
        bytes_put, bytes_got: of vectors, so far.
    """

    def __init__(self, signer: Signer) -> None:
        self.merged_here: dict[str, np.ndarray] = {}
        self.bytes_put = self.bytes_got = 0
        self._signer = signer
        self._refused: set[str] = set()
        self._is_history = False

    def belong_to(self, manifest: RunManifest) -> None:
        """Read and write documents of this run alone from here on."""
        self._is_history = bool(manifest.id)
        if self._is_history:
            self._signer = self._signer.bound_to(manifest.digest())

    def follows(self, document: Contribution | RoundResult, previous: str) -> bool:
        """True if a document names what this cluster knows as the round before.

        Args:
            previous: digest of that; "": not known.
        """
        return not (self._is_history and previous) or document.previous == previous

    def name_of(self, previous: str) -> str:
        """What a document of this run says of the round before it, whose digest is ``previous``."""
        return previous if self._is_history else ""

    @property
    def is_signed(self) -> bool:
        """True if documents are signed."""
        return self._signer.active

    # -- documents -------------------------------------------------------------------------------------

    def put_document(self, key: str, document: Document) -> Steps[bool]:
        """Create a document; returns whether it is new."""
        return (yield from Put(key, documents.encode_document(document, key, self._signer)))

    def find_document(self, kind: type[D], key: str) -> Steps[D | None]:
        """A document, None if it is missing or not valid, which is logged once."""
        try:
            return (yield from self._read_document(kind, key))
        except ValueError as error:
            yield from self._refuse(key, str(error))
            return None

    def require_valid(self, kind: type[D], key: str) -> Steps[D | None]:
        """A document that a cluster cannot do without, None if it is missing.

        Raises:
            StorageError: it is there and not valid.
        """
        try:
            return (yield from self._read_document(kind, key))
        except ValueError as error:
            raise StorageError(
                f"{key}: {error}; give this run another sync.run, or remove what does not belong to it"
            ) from None

    def _read_document(self, kind: type[D], key: str) -> Steps[D | None]:
        """A document, None if it is missing.

        Raises:
            ValueError: it is not valid.
        """
        data = yield from Get(key, kind.max_bytes)
        return None if data is None else documents.decode_document(kind, data, key, self._signer)

    def read_contributions(
        self, number: int, keys: Iterable[str], known: dict[str, Contribution], previous: str
    ) -> Steps[None]:
        """Add to ``known``, by key, the valid contributions to a round among ``keys`` that it lacks.

        Args:
            previous: digest of the result of the round before.

        Raises:
            StorageError: a signed one builds on another result.
        """
        prefix = documents.contributions_prefix(number)
        named = {key for key in keys if key.startswith(prefix) and documents.CONTRIBUTION_KEY.fullmatch(key)}
        for key in sorted(named - known.keys() - self._refused):
            one = yield from self.find_document(Contribution, key)
            if one is None or documents.contribution_key(one.round, one.cluster) != key:
                continue
            if self.follows(one, previous):
                known[key] = one
            elif self.is_signed:
                raise StorageError(documents.other_history(key, number))
            else:
                yield from self._refuse(key, f"builds on another round {number - 1} than this cluster's")

    def newest_closed_round(self) -> Steps[int]:
        """Number of the newest closed round, 0 if there is none; a lower bound, since a listing may lag behind."""
        keys = yield from List(documents.ROUNDS)
        return max((documents.round_of_result(key) for key in keys), default=0)

    def newest_closed_after(self, number: int) -> Steps[int]:
        """The same where round ``number`` is known to be closed, by a single read if no other is."""
        if (yield from Get(documents.result_key(number + 1), documents.RoundResult.max_bytes)) is None:
            return number
        return max(number + 1, (yield from self.newest_closed_round()))

    # -- vectors ---------------------------------------------------------------------------------------

    def put_vector(
        self, number: int, vector: np.ndarray, encoding: Encoding, what: Literal["weights", "change"]
    ) -> Steps[tuple[Payload, bytes]]:
        """Put a vector, float32 [P], of a round; returns how a document names it, and its bytes.

        Raises:
            StorageError: a number in it cannot be encoded.
        """
        try:
            data = encode_vector(vector, encoding)
        except ValueError as error:
            raise StorageError(f"round {number}: the weights cannot be published: {error}") from None
        sha256 = documents.payload_hash(data)
        self.bytes_put += len(data)
        yield from Put(documents.payload_key(number, sha256), data)
        return Payload(sha256=sha256, encoding=encoding, what=what), data

    def get_vector(self, number: int, payload: Payload, length: int) -> Steps[np.ndarray | None]:
        """A vector of a round, float32 [length], or None if it is missing or damaged.

        A damaged one is deleted: whoever holds it puts it again.
        """
        key = documents.payload_key(number, payload.sha256)
        if key in self.merged_here:
            return self.merged_here[key]
        data = yield from Get(key, documents.payload_bytes(payload, length))
        if data is None:
            return None
        self.bytes_got += len(data)
        if documents.payload_hash(data) == payload.sha256:
            try:
                return decode_vector(data, payload.encoding, length)
            except ValueError as error:
                yield from self._refuse(key, str(error))
                return None
        yield from Log(
            f"{key}: its bytes do not have the hash that it is named by; deleted, to be uploaded again"
        )
        yield from Delete(key)
        return None

    def payload_keys(self, number: int) -> Steps[set[str]]:
        """Keys of a round's vectors."""
        return set((yield from List(documents.payloads_prefix(number))))

    def delete_rounds(self, newest: int) -> Steps[None]:
        """Delete the vectors of and contributions to rounds 1 to ``newest``; their results stay."""
        keys = yield from List(documents.PAYLOADS)
        for number in sorted({documents.round_of_payload(key) for key in keys} | {newest}):
            if 0 < number <= newest:
                for key in (yield from List(documents.contributions_prefix(number))):
                    if documents.CONTRIBUTION_KEY.fullmatch(key):
                        yield from Delete(key)
                for key in keys:
                    if documents.round_of_payload(key) == number:
                        yield from Delete(key)
                yield from DiscardUnfinished(documents.payloads_prefix(number))

    def _refuse(self, key: str, why: str) -> Steps[None]:
        if key not in self._refused:
            self._refused.add(key)
            yield from Log(f"{key}: refused: {why}")
