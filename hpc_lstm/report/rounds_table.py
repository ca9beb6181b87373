"""What an object store holds, as text: rounds and who took part, checkpoints; and deletes what nobody needs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeVar

from hpc_lstm.checkpoint import manifest as manifests
from hpc_lstm.clusters import documents
from hpc_lstm.clusters.documents import Contribution, Document, RoundResult, RunManifest
from hpc_lstm.clusters.inventory import StoredRun, stored_runs
from hpc_lstm.config import StorageConfig
from hpc_lstm.errors import InputError, printable
from hpc_lstm.storage.objects import NotFoundError, ObjectStore
from hpc_lstm.storage.signing import VARIABLE, Signer, Unverified, signer_from_environment

D = TypeVar("D", bound=Document)
# Newest rounds that are listed; all are counted.
LISTED = 20


def rounds_table(storage: StorageConfig, run: str = "", *, gc: bool = False) -> str:
    """The rounds of every run, or of one, as text.

    Args:
        gc: delete the vectors of rounds that no cluster reads any more.

    Raises:
        InputError: the store cannot be read, or has no such run.
    """
    store = _open(storage)
    runs = [found for found in stored_runs(store, run) if found.is_shared]
    if not runs:
        raise InputError(
            f"{storage.url}: no run that clusters share" + (f' of the name "{run}"' if run else "")
        )
    return printable("\n\n".join(_rounds_of(store, found, gc) for found in runs))


def checkpoints_table(storage: StorageConfig, run: str = "") -> str:
    """The checkpoints of every run and cluster, or of one run, as text; raises as ``rounds_table``."""
    store = _open(storage)
    lines = []
    for found in stored_runs(store, run):
        pattern = re.compile(r"checkpoints/([^/]+)/([0-9]{9,})/" + re.escape(manifests.NAME))
        for key in sorted(found.sizes):
            match = pattern.fullmatch(key)
            if match:
                lines.append(
                    (found.name, match[1], _describe_checkpoint(store, found, match[1], int(match[2])))
                )
    if not lines:
        raise InputError(f"{storage.url}: no checkpoints" + (f' of a run named "{run}"' if run else ""))
    widths = [max(len(line[i]) for line in lines) for i in (0, 1)]
    return printable(
        "\n".join(f"{name:<{widths[0]}}  {cluster:<{widths[1]}}  {text}" for name, cluster, text in lines)
    )


def _describe_checkpoint(store: ObjectStore, found: StoredRun, cluster: str, step: int) -> str:
    prefix = f"{found.prefix}checkpoints/{cluster}"
    try:
        manifest = manifests.read_manifest(store, prefix, step)
    except manifests.DAMAGED as error:
        return f"step {step}: damaged: {error}"
    place = f"checkpoints/{cluster}/{step:09d}/"
    missing = [file.name for file in manifest.files if found.sizes.get(place + file.name) != file.size]
    state = f", {len(missing)} of its files missing" if missing else ""
    loss = "" if manifest.validation is None else f", validation loss {manifest.validation:.6g}"
    size = sum(file.size for file in manifest.files)
    return (
        f"step {step}, epoch {manifest.epoch}, {manifest.ranks} ranks, {_size(size)}{loss}, "
        f"{manifest.created}{state}"
    )


def _rounds_of(store: ObjectStore, found: StoredRun, gc: bool) -> str:
    closed = found.closed_rounds
    lines = [f"run {found.name}: {len(closed)} rounds closed"]
    signer = signer_from_environment(found.name)
    if not signer.active:
        signer = Unverified()
    manifest: RunManifest | None = None
    try:
        manifest = _read(store, found, RunManifest, documents.manifest_key(), signer)
        signer = signer.bound_to(manifest.digest()) if manifest.id else signer
    except manifests.DAMAGED as error:
        lines.append(f"  {documents.manifest_key()}: {error}")
    newest: RoundResult | None = None
    for number in closed[-LISTED:]:
        key = documents.result_key(number)
        try:
            newest = _read(store, found, RoundResult, key, signer)
        except manifests.DAMAGED as error:
            lines.append(f"  round {number}: {error}")
            continue
        size = sum(size for key, size in found.sizes.items() if key.startswith(f"payloads/{number:06d}/"))
        members = ", ".join(
            f"{one.cluster} {one.samples:,}" + (f" (late by {one.staleness})" if one.staleness else "")
            for one in newest.members
        )
        lines.append(
            f"  round {number}: windows of {members}; {newest.samples:,} so far; {_size(size)} in the store"
        )
    lines += _progress(store, found, newest, signer)
    if gc:
        lines.append(_collect_garbage(store, found, manifest, signer))
    return "\n".join(lines)


def _read(store: ObjectStore, found: StoredRun, kind: type[D], key: str, signer: Signer) -> D:
    """A document of a run.

    Raises:
        NotFoundError, TooLargeError, ValueError: there is none that is valid.
    """
    return documents.decode_document(kind, store.get(found.prefix + key, kind.max_bytes), key, signer)


def _progress(
    store: ObjectStore, found: StoredRun, newest: RoundResult | None, signer: Signer
) -> Iterator[str]:
    """Who has contributed to the open round, who has not yet, and who has finished."""
    number = newest.round + 1 if newest else 1
    here = []
    for key in sorted(found.sizes):
        if key.startswith(documents.contributions_prefix(number)) and documents.CONTRIBUTION_KEY.fullmatch(
            key
        ):
            try:
                here.append(_read(store, found, Contribution, key, signer).cluster)
            except NotFoundError:  # its round has closed meanwhile
                pass
            except manifests.DAMAGED as error:
                yield f"  {key}: {error}"
    known = {match[1] for key in found.sizes if (match := re.match(r"leases/([^/]+)/[0-9]", key))}
    departed = set(newest.departed) if newest else set()
    missing = sorted(known - departed - set(here))
    if here:
        yield f"  round {number}: {', '.join(here)} waiting" + (
            f" for {', '.join(missing)}" if missing else ""
        )
    elif missing:
        yield f"  round {number}: {', '.join(missing)} training"
    if departed:
        yield f"  finished: {', '.join(sorted(departed))}"


def _collect_garbage(
    store: ObjectStore, found: StoredRun, manifest: RunManifest | None, signer: Signer
) -> str:
    """Delete the vectors of rounds before the newest; those of the newest and the open one may still be read.

    The newest is the last of the results that follow on the run's manifest without a gap: one of any other number may
    have been put there by anybody.
    """
    if not signer.active and _is_signed(store, found):
        return f"  nothing deleted: the run is signed; set {VARIABLE} to its key, so that its rounds can be verified"
    if manifest is None:
        return f"  nothing deleted: {documents.manifest_key()} is not valid"
    newest, known = 0, manifest.digest()
    for number in found.closed_rounds:
        if number != newest + 1:
            break
        try:
            result = _read(store, found, RoundResult, documents.result_key(number), signer)
        except manifests.DAMAGED:
            break
        if result.round != number or result.previous not in ("", known):
            break
        newest, known = number, result.digest()
    freed = 0
    for key, size in found.sizes.items():
        number = documents.round_of_payload(key) or documents.round_of_contribution(key)
        if 0 < number < newest:
            store.delete(found.prefix + key)
            freed += size
    for number in range(1, newest):
        store.discard_unfinished(f"{found.prefix}{documents.payloads_prefix(number)}")
    return f"  deleted {_size(freed)} of rounds before {newest}"


def _is_signed(store: ObjectStore, found: StoredRun) -> bool:
    try:
        _read(store, found, RunManifest, documents.manifest_key(), Signer())
    except manifests.DAMAGED:
        return True
    return False


def _open(storage: StorageConfig) -> ObjectStore:
    from pathlib import Path

    from hpc_lstm.storage.stores import open_store

    return open_store(storage, Path())


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            break
        count /= 1024
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"


def storage_at(url: str, endpoint_url: str) -> StorageConfig:
    """``[storage]`` of a command line.

    Raises:
        InputError: the address is not valid.
    """
    from hpc_lstm import config as configuration
    from hpc_lstm.storage.stores import check_storage_config

    if not url:
        raise InputError("URL: must not be empty; give what storage.url is in the run")
    tables = {"data": {"store": "unused"}, "storage": {"url": url, "endpoint_url": endpoint_url}}
    storage = configuration.parse(tables, "URL").storage
    check_storage_config(storage, "URL")
    return storage
