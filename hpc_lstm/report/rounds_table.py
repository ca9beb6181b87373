"""What an object store holds, as text: rounds and who took part, checkpoints; and deletes what nobody needs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from hpc_lstm.checkpoint import manifest as manifests
from hpc_lstm.clusters import documents
from hpc_lstm.clusters.documents import Contribution, Document, RoundResult, RunEnd, RunManifest
from hpc_lstm.clusters.inventory import StoredRun, stored_runs
from hpc_lstm.clusters.presence import presence
from hpc_lstm.config import StorageConfig
from hpc_lstm.errors import InputError, printable
from hpc_lstm.files import checked_path
from hpc_lstm.storage.objects import NotFoundError, ObjectStore
from hpc_lstm.storage.signing import VARIABLE, Signer, Unverified, signer_from_environment
from hpc_lstm.text.counts import counted

D = TypeVar("D", bound=Document)
# Newest rounds that are listed; all are counted.
LISTED = 20


@dataclass
class RunRounds:
    """The rounds of one run, as an object store has them.

    Attributes:
        name: of the run.
        closed: how many rounds are closed.
        rounds: the newest of them: each one's members, samples so far and bytes in the store, or its problem.
        problems: what is wrong with other objects of the run.
        open: number of the round that is open, who has contributed to it, and who still trains for it.
        finished: clusters that have left.
        ended: the round whose weights a cluster has ended with, by its name.
        stopped: clusters whose job has ended before they had finished; a later job may continue.
        without_part: clusters whose job has ended before they took part: refused, or stopped at once.
        deleted: what was deleted, or why nothing was; "" if that was not asked for.
    """

    name: str
    closed: int
    rounds: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    open: dict[str, Any] = field(default_factory=dict)
    finished: list[str] = field(default_factory=list)
    ended: dict[str, int] = field(default_factory=dict)
    stopped: list[str] = field(default_factory=list)
    without_part: list[str] = field(default_factory=list)
    deleted: str = ""


def rounds_table(storage: StorageConfig, run: str = "", *, gc: bool = False) -> str:
    """``stored_rounds`` as text."""
    return printable("\n\n".join(_text(found) for found in stored_rounds(storage, run, gc=gc)))


def stored_rounds(storage: StorageConfig, run: str = "", *, gc: bool = False) -> list[RunRounds]:
    """The rounds of every run, or of one.

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
    return [_rounds_of(store, found, gc) for found in runs]


def checkpoints_table(storage: StorageConfig, run: str = "") -> str:
    """``stored_checkpoints`` as text."""
    lines = [
        (one["run"], one["cluster"], _describe_checkpoint(one)) for one in stored_checkpoints(storage, run)
    ]
    widths = [max(len(line[i]) for line in lines) for i in (0, 1)]
    return printable(
        "\n".join(f"{name:<{widths[0]}}  {cluster:<{widths[1]}}  {text}" for name, cluster, text in lines)
    )


def stored_checkpoints(storage: StorageConfig, run: str = "") -> list[dict[str, Any]]:
    """The checkpoints of every run and cluster, or of one run: where they are, and what they hold.

    Args:
        storage: its ``url`` is that of the runs, or of one run.

    Raises:
        InputError: the store cannot be read, or has no checkpoints of such a run.
    """
    store = _open(storage)
    checkpoints = []
    for found in stored_runs(store, run):
        pattern = re.compile(r"checkpoints/([^/]+)/([0-9]{9,})/" + re.escape(manifests.NAME))
        for key in sorted(found.sizes):
            if match := pattern.fullmatch(key):
                place = {"run": found.name, "cluster": match[1], "step": int(match[2])}
                checkpoints.append(place | _checkpoint(store, found, match[1], int(match[2])))
    above, _, own = storage.url.rstrip("/").rpartition("/")
    is_run = any(found.name == "checkpoints" for found in stored_runs(store)) and not above.endswith("/")
    if not checkpoints and not run and is_run:
        return stored_checkpoints(storage.model_copy(update={"url": above}), own)
    if not checkpoints:
        raise InputError(f"{storage.url}: no checkpoints" + (f' of a run named "{run}"' if run else ""))
    return checkpoints


def _checkpoint(store: ObjectStore, found: StoredRun, cluster: str, step: int) -> dict[str, Any]:
    prefix = f"{found.prefix}checkpoints/{cluster}"
    try:
        manifest = manifests.read_manifest(store, prefix, step)
    except manifests.DAMAGED as error:
        return {"damaged": str(error)}
    place = f"checkpoints/{cluster}/{step:09d}/"
    return {
        "epoch": manifest.epoch,
        "ranks": manifest.ranks,
        "bytes": sum(file.size for file in manifest.files),
        "validation": manifest.validation,
        "created": manifest.created,
        "missing_files": sum(found.sizes.get(place + file.name) != file.size for file in manifest.files),
    }


def _describe_checkpoint(one: Mapping[str, Any]) -> str:
    if "damaged" in one:
        return f"step {one['step']}: damaged: {one['damaged']}"
    state = f", {one['missing_files']} of its files missing" if one["missing_files"] else ""
    loss = "" if one["validation"] is None else f", validation loss {one['validation']:.6g}"
    ranks = counted(one["ranks"], "rank")
    return f"step {one['step']}, epoch {one['epoch']}, {ranks}, {_size(one['bytes'])}{loss}, {one['created']}{state}"


def _rounds_of(store: ObjectStore, found: StoredRun, gc: bool) -> RunRounds:
    closed = found.closed_rounds
    told = RunRounds(found.name, len(closed))
    signer = signer_from_environment(found.name)
    if not signer.active:
        signer = Unverified()
    manifest: RunManifest | None = None
    try:
        manifest = _read(store, found, RunManifest, documents.manifest_key(), signer)
        signer = signer.bound_to(manifest.digest()) if manifest.id else signer
    except manifests.DAMAGED as error:
        told.problems.append(f"{documents.manifest_key()}: {error}")
    newest: RoundResult | None = None
    for number in closed[-LISTED:]:
        key = documents.result_key(number)
        try:
            newest = _read(store, found, RoundResult, key, signer)
        except manifests.DAMAGED as error:
            told.rounds.append({"round": number, "problem": str(error)})
            continue
        size = sum(size for key, size in found.sizes.items() if key.startswith(f"payloads/{number:06d}/"))
        members = [
            {"cluster": one.cluster, "samples": one.samples, "late_by": one.staleness}
            for one in newest.members
        ]
        told.rounds.append({"round": number, "members": members, "samples": newest.samples, "bytes": size})
    _add_progress(told, store, found, newest, signer)
    _add_ends(told, store, found, signer)
    if gc:
        told.deleted = _collect_garbage(store, found, manifest, signer)
    return told


def _text(told: RunRounds) -> str:
    lines = [f"run {told.name}: {told.closed} rounds closed"]
    lines += [f"  {problem}" for problem in told.problems]
    for one in told.rounds:
        if "problem" in one:
            lines.append(f"  round {one['round']}: {one['problem']}")
            continue
        members = ", ".join(
            f"{member['cluster']} {member['samples']:,}"
            + (f" (late by {member['late_by']})" if member["late_by"] else "")
            for member in one["members"]
        )
        lines.append(
            f"  round {one['round']}: windows of {members}; {one['samples']:,} so far; "
            f"{_size(one['bytes'])} in the store"
        )
    number, missing = told.open["round"], told.open["missing"]
    here = [name for name in told.open["waiting"] if name not in told.stopped]
    if here:
        lines.append(
            f"  round {number}: {', '.join(here)} waiting" + (f" for {', '.join(missing)}" if missing else "")
        )
    elif missing:
        lines.append(f"  round {number}: {', '.join(missing)} training")
    if told.finished:
        lines.append(f"  finished: {', '.join(told.finished)}")
    if told.ended:
        ends = ", ".join(f"{name} with round {number}" for name, number in sorted(told.ended.items()))
        lines.append(f"  ended: {ends}")
    if told.stopped:
        lines.append(f"  stopped, to be continued with --resume: {', '.join(told.stopped)}")
    if told.without_part:
        lines.append(
            f"  ended without taking part; the output of their jobs says why: {', '.join(told.without_part)}"
        )
    return "\n".join([*lines, *([f"  {told.deleted}"] if told.deleted else [])])


def _read(store: ObjectStore, found: StoredRun, kind: type[D], key: str, signer: Signer) -> D:
    """A document of a run.

    Raises:
        NotFoundError, TooLargeError, ValueError: there is none that is valid.
    """
    return documents.decode_document(kind, store.get(found.prefix + key, kind.max_bytes), key, signer)


def _add_progress(
    told: RunRounds, store: ObjectStore, found: StoredRun, newest: RoundResult | None, signer: Signer
) -> None:
    """Add who has contributed to the open round, who has not yet, and who has finished or ended before."""
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
                told.problems.append(f"{key}: {error}")
    took_part = {member["cluster"] for one in told.rounds for member in one.get("members", [])} | set(here)
    departed = set(newest.departed) if newest else set()
    there = presence(store, found, took_part, departed)
    told.open = {
        "round": number,
        "waiting": here,
        "missing": [name for name in there.here if name not in here],
    }
    told.finished, told.stopped, told.without_part = sorted(departed), there.stopped, there.without_part
    told.problems += there.problems


def _add_ends(told: RunRounds, store: ObjectStore, found: StoredRun, signer: Signer) -> None:
    """Add which clusters have ended, and whether with the results that the store has."""
    for key in sorted(found.sizes):
        if not documents.END_KEY.fullmatch(key):
            continue
        try:
            end = _read(store, found, RunEnd, key, signer)
            if documents.end_key(end.round, end.cluster) != key:
                raise ValueError("is another cluster's")
            told.ended[end.cluster] = max(end.round, told.ended.get(end.cluster, 0))
            result = _read(store, found, RoundResult, documents.result_key(end.round), signer)
        except manifests.DAMAGED as error:
            told.problems.append(f"{key}: {error}")
            continue
        if result.digest() != end.result:
            told.problems.append(
                f"{key}: {documents.other_end(end.cluster, end.round)} than the store has: its model is not that of "
                "the others"
            )


def _collect_garbage(
    store: ObjectStore, found: StoredRun, manifest: RunManifest | None, signer: Signer
) -> str:
    """Delete the vectors of rounds before the newest; those of the newest and the open one may still be read.

    The newest is the last of the results that follow on the run's manifest without a gap: one of any other number may
    have been put there by anybody.
    """
    if not signer.active and _is_signed(store, found):
        return f"nothing deleted: the run is signed; set {VARIABLE} to its key, so that its rounds can be verified"
    if manifest is None:
        return f"nothing deleted: {documents.manifest_key()} is not valid"
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
    return f"deleted {_size(freed)} of rounds before {newest}"


def _is_signed(store: ObjectStore, found: StoredRun) -> bool:
    try:
        _read(store, found, RunManifest, documents.manifest_key(), Signer())
    except manifests.DAMAGED:
        return True
    return False


def _open(storage: StorageConfig) -> ObjectStore:
    from hpc_lstm.storage.stores import open_store

    return open_store(storage, Path())


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            break
        count /= 1024
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"


def storage_at(url: str, endpoint_url: str) -> StorageConfig:
    """``[storage]`` of a command line, where a folder's path may stand for its URL.

    Raises:
        InputError: the address is not valid.
    """
    from hpc_lstm import config as configuration
    from hpc_lstm.storage.stores import check_storage_config

    if not url:
        raise InputError("URL: must not be empty; give what storage.url is in the run")
    if "://" not in url:
        url = f"file://{checked_path(url)}"
    tables = {"data": {"store": "unused"}, "storage": {"url": url, "endpoint_url": endpoint_url}}
    storage = configuration.parse(tables, "URL").storage
    check_storage_config(storage, "URL")
    return storage
