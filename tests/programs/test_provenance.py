"""Which checkpoints are taken: whole ones that this run has signed, and no others."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from checkpointing import CONFIG, LOG, PREFIX, folder_of, save
from forged_checkpoint import forge_checkpoint
from store_wrappers import Intercepted

from hpc_lstm.checkpoint import manifest as manifests
from hpc_lstm.checkpoint.manifest import Manifest
from hpc_lstm.checkpoint.provenance import Provenance, unsealed
from hpc_lstm.checkpoint.restore import Restored, restore_checkpoint
from hpc_lstm.checkpoint.writer import CheckpointWriter
from hpc_lstm.config import CheckpointConfig, StorageConfig
from hpc_lstm.errors import StorageError
from hpc_lstm.parallel.world import World
from hpc_lstm.storage.folder import FolderStore
from hpc_lstm.storage.objects import ObjectStore
from hpc_lstm.storage.signing import Signer

OWN = Provenance(Signer(b"a key that the store does not hold"), "1" * 32, "s3://bucket/team")
NO_KEY = Provenance(Signer(), OWN.run, OWN.place)


def write(store: ObjectStore, provenance: Provenance, *steps: int, keep: int = 5) -> None:
    target = CheckpointWriter(
        *(store, PREFIX, World(), CheckpointConfig(keep=keep), StorageConfig(), LOG),
        config=CONFIG,
        schema_digest="0" * 64,
        provenance=provenance,
    )
    for step in steps:
        save(target, World(), step)


def restore(
    store: ObjectStore, provenance: Provenance, accept: Callable[[Manifest], None] = lambda _: None
) -> Restored | None:
    return restore_checkpoint(
        *(World(), store, PREFIX, LOG),
        averaged=("weights", "moments"),
        weight="samples",
        provenance=provenance,
        accept=accept,
    )


def assert_refused(store: ObjectStore, provenance: Provenance, why: str) -> None:
    """One line, no file of a rank is opened, and nothing is deleted."""

    def no_file(method: str, key: str) -> None:
        assert method == "get", f"{method} {key}"
        assert key.endswith(manifests.NAME), key

    before = store.list("")
    with pytest.raises(StorageError, match=why) as caught:
        restore(Intercepted(store, no_file), provenance)
    assert "--accept-unsigned" in str(caught.value)
    assert store.list("") == before


def test_what_the_run_has_signed_is_taken(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    write(store, OWN, 1, 2)
    found = restore(store, OWN)
    assert found is not None
    assert (found.manifest.step, found.manifest.run) == (2, OWN.run)


@pytest.mark.parametrize("step", [1, 3, 999_999_999])
def test_an_unsigned_checkpoint_is_refused_before_anything_of_it_is_read(tmp_path: Path, step: int) -> None:
    store = FolderStore(tmp_path)
    write(store, OWN, 2)
    forge_checkpoint(store, PREFIX, step)
    if step < 2:  # the newest is the run's own
        assert restore(store, OWN) is not None
    else:
        assert_refused(store, OWN, "is not signed with the key in HPC_LSTM_SYNC_KEY")


def test_an_older_checkpoint_without_a_signature_is_taken_only_if_asked_for(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    write(store, NO_KEY, 2)
    path = folder_of(tmp_path, 2) / manifests.NAME
    old = unsealed(json.loads(path.read_text()))
    path.write_text(json.dumps({**{k: v for k, v in old.items() if k not in ("run", "place")}, "version": 1}))
    assert_refused(store, OWN, "is not signed")
    found = restore(store, replace(OWN, accept_unsigned=True))
    assert found is not None
    assert found.manifest.run == ""
    assert restore(store, NO_KEY) is not None, "without a key it is taken as ever"


def test_a_checkpoint_signed_with_another_key_is_refused(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    write(store, replace(OWN, signer=Signer(b"another key of some length")), 2)
    assert_refused(store, OWN, "is not signed with the key")


def test_a_signed_checkpoint_is_refused_where_there_is_no_key(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    write(store, OWN, 2)
    assert_refused(store, NO_KEY, "is signed; set HPC_LSTM_SYNC_KEY")


@pytest.mark.parametrize(
    ("reader", "why"),
    [
        (replace(OWN, run="2" * 32), "of another run of this name"),
        (replace(OWN, run="", place="s3://bucket/other"), "was written in another place"),
    ],
    ids=["an earlier run of the name", "another place"],
)
def test_a_checkpoint_that_was_signed_for_something_else_is_refused(
    tmp_path: Path, reader: Provenance, why: str
) -> None:
    store = FolderStore(tmp_path)
    write(store, OWN, 2)
    assert_refused(store, reader, why)


def test_a_signature_is_of_no_use_for_another_step_or_prefix(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    write(store, OWN, 2)
    own = folder_of(tmp_path, 2)
    for folder, change in ((folder_of(tmp_path, 3), {"step": 3}), (tmp_path / "other" / "000000002", {})):
        shutil.copytree(own, folder)
        content = {**json.loads((folder / manifests.NAME).read_text()), **change}
        del content["digest"]  # anybody can make it anew, but not the signature beside it
        (folder / manifests.NAME).write_text(json.dumps(Provenance().seal("", content)))
    assert_refused(store, OWN, "is not signed with the key")
    with pytest.raises(StorageError, match="is not signed with the key"):
        manifests.read_manifest(store, "other", 2, OWN)


@pytest.mark.parametrize("provenance", [OWN, NO_KEY], ids=["signed", "unsigned"])
def test_a_manifest_in_which_a_byte_changed_is_damaged_and_the_one_before_is_taken(
    tmp_path: Path, provenance: Provenance
) -> None:
    store = FolderStore(tmp_path)
    write(store, provenance, 1, 2)
    path = folder_of(tmp_path, 2) / manifests.NAME
    whole, chance = path.read_bytes(), random.Random(0)
    assert chosen(store, provenance) == 2
    for _ in range(300):
        data = bytearray(whole)
        place = chance.randrange(len(data))
        if bytes([data[place]]).isspace():
            continue
        data[place] ^= 1 << chance.randrange(7)
        path.write_bytes(data)
        try:
            same = json.loads(bytes(data)) == json.loads(whole)
        except ValueError:
            same = False
        if not same:
            assert chosen(store, provenance) == 1, bytes(data[max(0, place - 20) : place + 20])
    path.write_bytes(whole.replace(b":", b";", 1))
    found = restore(store, provenance)
    assert found is not None
    assert found.manifest.step == 1


def chosen(store: ObjectStore, provenance: Provenance) -> int:
    """The step of the checkpoint that would be taken; its state is not read, and nothing is deleted."""

    def refuse(manifest: Manifest) -> None:
        raise StorageError(f"chosen: {manifest.step}")

    with pytest.raises(StorageError) as refused:
        restore(store, provenance, refuse)
    said, _, step = str(refused.value).partition(": ")
    assert said == "chosen", refused.value
    return int(step)


def test_forged_checkpoints_do_not_push_out_the_runs_own(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    write(store, OWN, 1)
    for step in (900, 901, 902):
        forge_checkpoint(store, PREFIX, step, validation=1e-9)
    write(store, OWN, 2, 3, keep=2)
    assert manifests.complete_steps(store, PREFIX) == [2, 3, 900, 901, 902]


def test_the_key_is_in_no_text_of_the_signer() -> None:
    assert "a key that" not in repr(OWN)
