"""``checkpoint.json``: what makes the files of all ranks one whole checkpoint. Put once, and last.

    <prefix>/000000500/rank-00000.<upload>.h5 ...    one a rank
    <prefix>/000000500/checkpoint.json               names them, with size and SHA-256

``upload`` differs between uploads, so what a killed or failed one left behind is never taken for another's.
"""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hpc_lstm.errors import StorageError
from hpc_lstm.storage.objects import NotFoundError, ObjectStore, TooLargeError

FORMAT = "hpc_lstm checkpoint"
VERSION = 1
NAME = "checkpoint.json"
# A manifest of 100,000 ranks has 17 MB.
LARGEST_MANIFEST = 1 << 25
# What reading a checkpoint raises if it is damaged; anything else, such as a store that refuses, says nothing of it.
DAMAGED = (NotFoundError, TooLargeError, ValueError)
_FILE = r"^rank-[0-9]{5,}\.[0-9a-f]{8}\.h5$"
_HASH = r"^[0-9a-f]{64}$"


class RankFile(BaseModel):
    """The state of one rank: a name beside the manifest, its size in bytes, its SHA-256 in hex."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    name: str = Field(pattern=_FILE)
    size: int = Field(ge=0)
    sha256: str = Field(pattern=_HASH)


class Manifest(BaseModel):
    """All that ``checkpoint.json`` says.

    Attributes:
        attempt: of the start of the program that wrote it.
        files: one a rank, in order of rank.
        validation: the newest validation loss, None before the first.
        config: the run's settings; ``config_digest`` those that a resumption may not change.
        schema_digest: of the parameter vector.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    format: str = FORMAT
    version: int = VERSION
    created: str = Field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))
    attempt: str
    step: int = Field(ge=0)
    epoch: int = Field(ge=0)
    samples: int = Field(ge=0)
    validation: float | None
    config: dict[str, Any]
    config_digest: str
    schema_digest: str
    files: list[RankFile] = Field(min_length=1)

    @property
    def ranks(self) -> int:
        """Ranks that wrote it."""
        return len(self.files)


def folder(prefix: str, step: int) -> str:
    """Where the checkpoint of a step lies."""
    return f"{prefix}/{step:09d}"


def file_name(rank: int, upload: str) -> str:
    """The name of a rank's file."""
    return f"{_stem(rank)}{upload}.h5"


def survey(store: ObjectStore, prefix: str) -> dict[int, bool]:
    """Steps that have a file, ascending, and whether it is a manifest."""
    pattern = re.compile(re.escape(prefix) + r"/([0-9]{9,})/([^/]+)")
    found: dict[int, bool] = {}
    for key, _ in store.list(f"{prefix}/"):
        match = pattern.fullmatch(key)
        if match and key.startswith(f"{folder(prefix, int(match[1]))}/"):
            found[int(match[1])] = found.get(int(match[1]), False) or match[2] == NAME
    return dict(sorted(found.items()))


def steps(store: ObjectStore, prefix: str) -> list[int]:
    """Steps that have a manifest, ascending."""
    return [step for step, has_manifest in survey(store, prefix).items() if has_manifest]


def read(store: ObjectStore, prefix: str, step: int) -> Manifest:
    """The manifest of a step.

    Raises:
        NotFoundError: there is none.
        TooLargeError: it is larger than any manifest.
        StorageError: a newer version of this program wrote it.
        ValueError: it is damaged.
    """
    data = store.get(f"{folder(prefix, step)}/{NAME}", LARGEST_MANIFEST)
    try:
        content = json.loads(data)
        version = content.get("version") if isinstance(content, dict) else None
        if isinstance(version, int) and version > VERSION:
            raise StorageError(
                f"{folder(prefix, step)}/{NAME}: of version {version}, this program knows {VERSION}; "
                "go on with the newer program that wrote it"
            )
        manifest = Manifest.model_validate(content)
    except (ValidationError, UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise ValueError("its manifest is damaged") from None
    if manifest.format != FORMAT:
        raise ValueError(f"its manifest says {manifest.format!r}")
    if manifest.step != step:
        raise ValueError(f"its manifest is of step {manifest.step}")
    if not all(file.name.startswith(_stem(rank)) for rank, file in enumerate(manifest.files)):
        raise ValueError("its manifest does not name one file a rank, in order of rank")
    return manifest


def remove(store: ObjectStore, prefix: str, step: int) -> None:
    """Delete a checkpoint, its manifest first, so that a half-deleted one is no checkpoint."""
    place = folder(prefix, step)
    store.delete(f"{place}/{NAME}")
    for key, _ in store.list(f"{place}/"):
        store.delete(key)


def _stem(rank: int) -> str:
    return f"rank-{rank:05d}."
