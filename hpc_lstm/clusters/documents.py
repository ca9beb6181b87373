"""What clusters write down when they meet, and where: the JSON objects of a run that several clusters share.

    run.json                                  what all must agree on, and the weights that all begin with
    payloads/<round>/<sha256>                 vectors, named by the round that they are for and by their content
    rounds/<round>/contributions/<cluster>.json
    rounds/<round>/merged.json                what the round came to

Each is put once and never changed. Nothing is trusted that none of them names, or whose bytes have another hash.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hpc_lstm.clusters.outer_step import BYTES, Encoding
from hpc_lstm.clusters.signing import Seal

D = TypeVar("D", bound="Document")
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
_HASH = r"^[0-9a-f]{64}$"
# A round's sum of as many contributions as a merge may name stays within what a merge may say.
_MOST, _MOST_OF_ALL = 1 << 44, 1 << 62
# Beyond these a document is not read: 10,000 members have 3 MB.
LARGEST = {"run": 1 << 20, "contribution": 1 << 14, "merged": 1 << 23}
PAYLOADS = "payloads/"
MERGED = re.compile(r"rounds/([0-9]{6,})/merged\.json")
_VECTOR = re.compile(r"payloads/([0-9]{6,})/[0-9a-f]{64}")
CONTRIBUTED = re.compile(r"rounds/[0-9]{6,}/contributions/[A-Za-z0-9][A-Za-z0-9._-]{0,63}\.json")


class Payload(BaseModel):
    """A vector that lies in the store: its hash, how its numbers are written, and what they are."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    sha256: str = Field(pattern=_HASH)
    encoding: Encoding = "float32"
    what: Literal["weights", "change"] = "weights"


class Document(BaseModel):
    """Base of what is put as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class RunCard(Document):
    """run.json: ``settings`` that every cluster must share, by key; the vector's schema; weights to begin with."""

    format: Literal["hpc_lstm run"] = "hpc_lstm run"
    version: Literal[1] = 1
    settings: dict[str, Any]
    schema_digest: str = Field(pattern=_HASH)
    length: int = Field(gt=0, le=_MOST)
    initial: Payload


class Contribution(Document):
    """What one cluster brings to one round.

    Attributes:
        samples: windows that it has trained on for this change.
        staleness: rounds that passed without it and whose weights this change is now added to.
        lease: number of the cluster's start that wrote it.
        final: it is the cluster's last.
    """

    round: int = Field(gt=0, le=_MOST)
    cluster: str = Field(pattern=NAME)
    samples: int = Field(ge=0, le=_MOST)
    staleness: int = Field(ge=0, le=_MOST)
    lease: int = Field(ge=0, le=_MOST)
    final: bool
    payload: Payload


class Member(Document):
    """A contribution as its round has counted it."""

    cluster: str = Field(pattern=NAME)
    samples: int = Field(ge=0, le=_MOST)
    staleness: int = Field(ge=0, le=_MOST)
    payload: str = Field(pattern=_HASH)


class Merged(Document):
    """merged.json: who took part in a round, and the weights that it came to.

    Attributes:
        members: in order of name.
        departed: clusters whose last contribution has been counted, in order of name.
        samples: windows of all rounds so far.
        momentum: of the outer optimiser, None where it has none.
    """

    round: int = Field(gt=0, le=_MOST)
    members: list[Member] = Field(min_length=1)
    departed: list[Annotated[str, Field(pattern=NAME)]]
    samples: int = Field(ge=0, le=_MOST_OF_ALL)
    payload: Payload
    momentum: Payload | None

    def member(self, cluster: str) -> Member | None:
        """How the cluster took part, None if it did not."""
        return next((member for member in self.members if member.cluster == cluster), None)


def run_key() -> str:
    """Where the run's card lies, below the run's own prefix, as all keys here."""
    return "run.json"


def payload_key(number: int, sha256: str) -> str:
    """Where a vector lies; round 0 is that of the weights to begin with."""
    return f"{PAYLOADS}{number:06d}/{sha256}"


def contributions_prefix(number: int) -> str:
    """Where the contributions to a round lie."""
    return f"rounds/{number:06d}/contributions/"


def contribution_key(number: int, cluster: str) -> str:
    """Where a cluster's contribution to a round lies."""
    return f"{contributions_prefix(number)}{cluster}.json"


def merged_key(number: int) -> str:
    """Where it lies what a round came to."""
    return f"rounds/{number:06d}/merged.json"


def round_of(key: str) -> int:
    """The round that a vector's key belongs to; 0 for any other key."""
    match = _VECTOR.fullmatch(key)
    return int(match[1]) if match else 0


def digest(data: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()


def nbytes(payload: Payload, length: int) -> int:
    """Bytes of a vector of ``length`` numbers."""
    return length * BYTES[payload.encoding]


def write(document: Document, place: str, seal: Seal) -> bytes:
    """A document as bytes, signed for its place if there is a key."""
    return json.dumps(seal.sign(place, document.model_dump()), sort_keys=True, indent=1).encode()


def read(kind: type[D], data: bytes, place: str, seal: Seal) -> D:
    """A document from bytes.

    Raises:
        ValueError: they are damaged, of another kind, or not signed as they must be.
    """
    try:
        content = json.loads(data)
        if not isinstance(content, dict):
            raise ValueError("is no JSON object")
        content = seal.open(place, content)
        return kind.model_validate(content)
    except (ValidationError, UnicodeError, json.JSONDecodeError, RecursionError):
        raise ValueError("is damaged") from None
