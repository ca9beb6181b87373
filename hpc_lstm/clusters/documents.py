"""The JSON documents of a run that several clusters share, and their keys in the object store.

    run.json                                     RunManifest: what all must agree on, and the initial weights
    payloads/<round>/<sha256>                    vectors, named by their round and the hash of their bytes
    rounds/<round>/contributions/<cluster>.json  Contribution: what a cluster adds to a round
    rounds/<round>/merged.json                   RoundResult: who took part, and the new weights
    rounds/<round>/ends/<cluster>.json           RunEnd: the result that a cluster ended with

Each is put once and never changed. No vector is used that none of them names, or whose bytes have another hash. Keys
here are below the run's own prefix.

Contributions and results name what they build on by its digest: the result of the round before, or in round 1 the run's
manifest. So the documents of a run are one history, into which objects of another run, of an earlier state of the
bucket or a second result of a round do not fit. Those of a run that version 0.1 began (its manifest has no ``id``) name
nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hpc_lstm.clusters.encoding import BYTES_PER_NUMBER, Encoding
from hpc_lstm.storage.signing import Signer, canonical_json

D = TypeVar("D", bound="Document")
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
_HASH = r"^[0-9a-f]{64}$"
_DIGEST = r"^([0-9a-f]{64})?$"
_RUN_ID = r"^([0-9a-f]{32})?$"
# The sum over as many contributions as a result may name stays within what a result may say.
_MAX_COUNT, _MAX_TOTAL = 1 << 44, 1 << 62
PAYLOADS = "payloads/"
ROUNDS = "rounds/"
RESULT_KEY = re.compile(r"rounds/([0-9]{6,})/merged\.json")
CONTRIBUTION_KEY = re.compile(r"rounds/([0-9]{6,})/contributions/[A-Za-z0-9][A-Za-z0-9._-]{0,63}\.json")
END_KEY = re.compile(r"rounds/([0-9]{6,})/ends/[A-Za-z0-9][A-Za-z0-9._-]{0,63}\.json")
_PAYLOAD_KEY = re.compile(r"payloads/([0-9]{6,})/[0-9a-f]{64}")


class Payload(BaseModel):
    """A vector in the store.

    Attributes:
        sha256: of its bytes.
        encoding: how its numbers are written.
        what: the weights themselves, or their change against the round before.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)
    sha256: str = Field(pattern=_HASH)
    encoding: Encoding = "float32"
    what: Literal["weights", "change"] = "weights"


class Document(BaseModel):
    """Base of what is put as JSON.

    Attributes:
        max_bytes: a larger object is not read.
        since_0_2: fields that version 0.1 does not know.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, defer_build=True)
    max_bytes: ClassVar[int]
    since_0_2: ClassVar[tuple[str, ...]] = ()

    def content(self) -> dict[str, Any]:
        """The document as it is put; in a run that version 0.1 began, as that version reads it."""
        content = self.model_dump()
        return {name: value for name, value in content.items() if value or name not in self.since_0_2}

    def digest(self) -> str:
        """SHA-256 of the content, in hex, by which the next document names this one."""
        return hashlib.sha256(canonical_json(self.content())).hexdigest()


class RunManifest(Document):
    """run.json.

    Attributes:
        settings: what every cluster must share, by key of the configuration.
        schema_digest: of the parameter vector; ``length`` is its number of parameters.
        initial: the weights that all clusters start from.
        id: random name of this run, which no other run of the same name has.
        place: of the store in which the run began.
    """

    max_bytes = 1 << 20
    since_0_2 = ("id", "place")
    format: Literal["hpc_lstm run"] = "hpc_lstm run"
    version: Literal[1] = 1
    settings: dict[str, Any]
    schema_digest: str = Field(pattern=_HASH)
    length: int = Field(gt=0, le=_MAX_COUNT)
    initial: Payload
    id: str = Field("", pattern=_RUN_ID)
    place: str = Field("", max_length=4096)


class Contribution(Document):
    """What one cluster adds to one round.

    Attributes:
        samples: windows that it has trained on for this change.
        staleness: rounds that closed without it, to whose weights its change now adds.
        lease: number of the lease of the start that wrote it.
        final: the cluster contributes no more.
        previous: digest of what the change builds on.
    """

    max_bytes = 1 << 14
    since_0_2 = ("previous",)
    round: int = Field(gt=0, le=_MAX_COUNT)
    cluster: str = Field(pattern=NAME)
    samples: int = Field(ge=0, le=_MAX_COUNT)
    staleness: int = Field(ge=0, le=_MAX_COUNT)
    lease: int = Field(ge=0, le=_MAX_COUNT)
    final: bool
    payload: Payload
    previous: str = Field("", pattern=_DIGEST)


class Member(Document):
    """A contribution as its round has counted it; ``payload`` is the SHA-256 of its vector."""

    cluster: str = Field(pattern=NAME)
    samples: int = Field(ge=0, le=_MAX_COUNT)
    staleness: int = Field(ge=0, le=_MAX_COUNT)
    payload: str = Field(pattern=_HASH)


class RoundResult(Document):
    """merged.json: who took part in a round, and the new weights.

    Attributes:
        members: sorted by name.
        departed: clusters whose final contribution has been counted, sorted.
        samples: windows of all rounds so far.
        payload: the new weights.
        momentum: of the outer optimizer; None if it has none.
        previous: digest of the result of the round before.
    """

    max_bytes = 1 << 23  # 10,000 members have 3 MB
    since_0_2 = ("previous",)
    round: int = Field(gt=0, le=_MAX_COUNT)
    members: list[Member] = Field(min_length=1)
    departed: list[Annotated[str, Field(pattern=NAME)]]
    samples: int = Field(ge=0, le=_MAX_TOTAL)
    payload: Payload
    momentum: Payload | None
    previous: str = Field("", pattern=_DIGEST)

    def member(self, cluster: str) -> Member | None:
        """How the cluster took part, None if it did not."""
        return next((member for member in self.members if member.cluster == cluster), None)


class RunEnd(Document):
    """That a cluster has ended, with the weights of a round; ``result`` is the digest of the round's result."""

    max_bytes = 1 << 14
    round: int = Field(gt=0, le=_MAX_COUNT)
    cluster: str = Field(pattern=NAME)
    result: str = Field(pattern=_HASH)


def manifest_key() -> str:
    """Key of the run's manifest."""
    return "run.json"


def payloads_prefix(number: int) -> str:
    """What the keys of a round's vectors begin with; round 0 has the initial weights."""
    return f"{PAYLOADS}{number:06d}/"


def payload_key(number: int, sha256: str) -> str:
    """Key of a vector."""
    return f"{payloads_prefix(number)}{sha256}"


def round_prefix(number: int) -> str:
    """What the keys of a round's documents begin with."""
    return f"{ROUNDS}{number:06d}/"


def contributions_prefix(number: int) -> str:
    """What the keys of the contributions to a round begin with."""
    return f"{round_prefix(number)}contributions/"


def contribution_key(number: int, cluster: str) -> str:
    """Key of a cluster's contribution to a round."""
    return f"{contributions_prefix(number)}{cluster}.json"


def result_key(number: int) -> str:
    """Key of a round's result."""
    return f"{round_prefix(number)}merged.json"


def ends_prefix(number: int) -> str:
    """What the keys begin with of the clusters that have ended with a round."""
    return f"{round_prefix(number)}ends/"


def end_key(number: int, cluster: str) -> str:
    """Key of a cluster that has ended with a round."""
    return f"{ends_prefix(number)}{cluster}.json"


def other_end(cluster: str, number: int) -> str:
    """What is wrong if a cluster's end names another result of a round than somebody knows, who is to be named next."""
    return f"cluster {cluster} has ended with another result of round {number}"


def round_of_result(key: str) -> int:
    """The round whose result has this key; 0 for any other key."""
    match = RESULT_KEY.fullmatch(key)
    number = int(match[1]) if match else 0
    return number if result_key(number) == key else 0


def round_of_payload(key: str) -> int:
    """The round whose vector has this key; 0 for any other key."""
    match = _PAYLOAD_KEY.fullmatch(key)
    return int(match[1]) if match else 0


def other_history(key: str, number: int) -> str:
    """What is wrong if a valid document of round ``number`` does not build on the round before that a cluster knows."""
    return (
        f"{key}: does not build on {f'the round {number - 1}' if number > 1 else 'the run.json'} that this cluster "
        "knows: objects of this run were replaced, or put back to an earlier state; nothing was adopted; restore the "
        "store, or start another sync.run"
    )


def round_of_contribution(key: str) -> int:
    """The round to which this key's contribution is made; 0 for any other key."""
    match = CONTRIBUTION_KEY.fullmatch(key)
    return int(match[1]) if match else 0


def payload_hash(data: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()


def payload_bytes(payload: Payload, length: int) -> int:
    """Size in bytes of a vector of ``length`` numbers."""
    return length * BYTES_PER_NUMBER[payload.encoding]


def encode_document(document: Document, key: str, signer: Signer) -> bytes:
    """A document as bytes, signed for its key in the store if there is a shared secret."""
    return json.dumps(signer.sign(key, document.content()), sort_keys=True, indent=1).encode()


def decode_document(kind: type[D], data: bytes, key: str, signer: Signer) -> D:
    """The document that ``encode_document`` was given.

    Raises:
        ValueError: the bytes are damaged, of another kind, or not signed as they must be.
    """
    try:
        content = json.loads(data)
        if not isinstance(content, dict):
            raise ValueError("is not a JSON object")
        return kind.model_validate(signer.verify(key, content))
    except (ValidationError, UnicodeError, json.JSONDecodeError, RecursionError):
        raise ValueError("is damaged") from None
