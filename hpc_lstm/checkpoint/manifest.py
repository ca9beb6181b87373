"""``checkpoint.json``: the manifest that makes the files of all ranks a complete checkpoint. Put once, and last.

    <prefix>/000000500/rank-00000.<upload>.h5 ...    one per rank
    <prefix>/000000500/checkpoint.json               names them, with size and SHA-256

``upload`` differs between uploads, so files that a killed or failed one left behind are never mistaken for another's.
"""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hpc_lstm.checkpoint.provenance import Provenance, is_damaged, unsealed
from hpc_lstm.errors import StorageError
from hpc_lstm.storage.objects import NotFoundError, ObjectStore, TooLargeError

FORMAT = "hpc_lstm checkpoint"
VERSION = 2  # 1 has no digest, run and place
NAME = "checkpoint.json"
# A manifest of 100,000 ranks has 17 MB.
LARGEST_MANIFEST = 1 << 25
# What reading a damaged checkpoint raises. Any other error, such as a store that refuses, does not tell its condition.
DAMAGED = (NotFoundError, TooLargeError, ValueError)
_FILE = r"^rank-[0-9]{5,}\.[0-9a-f]{8}\.h5$"
_HASH = r"^[0-9a-f]{64}$"


class RankFile(BaseModel):
    """The state of one rank: a name beside the manifest, its size in bytes, its SHA-256 in hex."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)
    name: str = Field(pattern=_FILE)
    size: int = Field(ge=0)
    sha256: str = Field(pattern=_HASH)


class Manifest(BaseModel):
    """The content of ``checkpoint.json``.

    Attributes:
        attempt: random name of the start of the program that wrote it.
        files: one per rank, in order of rank.
        validation: the newest validation loss, None before the first.
        config: the run's settings; ``config_digest`` of those that must not change on resume.
        schema_digest: of the parameter vector.
        run: random name of the run, which no other run has; "": of version 1.
        place: of the store in which it was written; "" in the run's own directory.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)
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
    run: str = Field("", max_length=64)
    place: str = Field("", max_length=4096)

    @property
    def ranks(self) -> int:
        """Number of ranks that wrote it."""
        return len(self.files)


def step_prefix(prefix: str, step: int) -> str:
    """What the keys of a step's checkpoint begin with, without a slash at the end."""
    return f"{prefix}/{step:09d}"


def rank_file_name(rank: int, upload: str) -> str:
    """The name of a rank's file."""
    return f"{_file_stem(rank)}{upload}.h5"


def step_of(prefix: str, key: str) -> int | None:
    """The step that an object of a checkpoint belongs to; None of any other object: it is not ours."""
    folder, _, name = key.rpartition("/")
    step = folder.removeprefix(f"{prefix}/")
    if not (name == NAME or re.fullmatch(_FILE, name)) or not re.fullmatch(r"[0-9]{9,18}", step):
        return None
    return int(step) if folder == step_prefix(prefix, int(step)) else None


def find_steps(store: ObjectStore, prefix: str) -> dict[int, bool]:
    """Steps that have any file, ascending, and whether they have a manifest."""
    found: dict[int, bool] = {}
    for key, _ in store.list(f"{prefix}/"):
        step = step_of(prefix, key)
        if step is not None:
            found[step] = found.get(step, False) or key.endswith(f"/{NAME}")
    return dict(sorted(found.items()))


def complete_steps(store: ObjectStore, prefix: str) -> list[int]:
    """Steps that have a manifest, ascending."""
    return [step for step, has_manifest in find_steps(store, prefix).items() if has_manifest]


def manifest_bytes(key: str, manifest: Manifest, provenance: Provenance) -> bytes:
    """A manifest as it is put under ``key``."""
    return json.dumps(provenance.seal(key, manifest.model_dump(mode="json")), indent=1).encode()


def read_manifest(
    store: ObjectStore, prefix: str, step: int, provenance: Provenance | None = None
) -> Manifest:
    """The manifest of a step.

    Args:
        provenance: what it must be by its signature; None: not verified.

    Raises:
        NotFoundError: there is none.
        TooLargeError: it is larger than any manifest can be.
        StorageError: it is not by whom ``provenance`` says; or a newer version of this program wrote it.
        ValueError: it is damaged.
    """
    key = f"{step_prefix(prefix, step)}/{NAME}"
    data = store.get(key, LARGEST_MANIFEST)
    try:
        content = json.loads(data)
        if not isinstance(content, dict) or is_damaged(content):
            raise ValueError("its manifest is damaged")
        version = content.get("version")
        if isinstance(version, int) and version > VERSION:
            raise StorageError(
                f"{key}: of version {version}, this program knows {VERSION}; "
                "resume with the newer program that wrote it"
            )
        if version == VERSION and "digest" not in content:
            raise ValueError("its manifest is damaged")
        manifest = Manifest.model_validate(
            unsealed(content) if provenance is None else provenance.verify(key, content)
        )
    except (ValidationError, UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise ValueError("its manifest is damaged") from None
    if manifest.format != FORMAT:
        raise ValueError(f"its manifest says {manifest.format!r}")
    if manifest.step != step:
        raise ValueError(f"its manifest is of step {manifest.step}")
    if not all(file.name.startswith(_file_stem(rank)) for rank, file in enumerate(manifest.files)):
        raise ValueError("its manifest does not name one file per rank, in order of rank")
    return manifest


def delete_checkpoint(store: ObjectStore, prefix: str, step: int) -> None:
    """Delete a checkpoint, its manifest first, so that a half-deleted one does not count; nothing else."""
    place = step_prefix(prefix, step)
    store.delete(f"{place}/{NAME}")
    for key, _ in store.list(f"{place}/"):
        if step_of(prefix, key) == step:
            store.delete(key)


def _file_stem(rank: int) -> str:
    return f"rank-{rank:05d}."
