"""Restoring the newest complete checkpoint on simulated ranks, after damage and on other numbers of ranks."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpointing import LOG, PREFIX, assert_restored, folder_of, read, state_of, write, writer
from simulated_ranks import on_ranks, outcomes
from store_wrappers import Intercepted

from hpc_lstm.checkpoint import manifest as manifests
from hpc_lstm.checkpoint.provenance import Provenance, unsealed
from hpc_lstm.checkpoint.restore import restore_checkpoint
from hpc_lstm.errors import CheckpointError, StorageError
from hpc_lstm.parallel.world import World
from hpc_lstm.storage.folder import FolderStore


def rank_file(root: Path, step: int, rank: int) -> Path:
    (path,) = folder_of(root, step).glob(f"rank-{rank:05d}.*")
    return path


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def lengthen(path: Path) -> None:
    os.truncate(path, path.stat().st_size + 1)


def swap(path: Path) -> None:
    """Another rank's file, whole in itself."""
    path.write_bytes(rank_file(path.parents[4], int(path.parent.name), 0).read_bytes())


def edit(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def work(path: Path) -> None:
        manifest = json.loads(path.read_text())
        change(manifest)
        path.write_text(json.dumps(manifest))

    return work


def name_file(name: str) -> Callable[[Path], None]:
    return edit(lambda manifest: manifest["files"][1].update(name=name))


@pytest.mark.parametrize("rank", [0, 1, 2])
@pytest.mark.parametrize("damage", [flip, truncate, lengthen, Path.unlink])
def test_a_checkpoint_with_a_damaged_file_is_passed_over_by_all(
    tmp_path: Path, rank: int, damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    store = FolderStore(tmp_path)
    on_ranks(3, lambda world: write(store, world, 1, 2))
    damage(rank_file(tmp_path, 2, rank))
    on_ranks(3, lambda world: assert_restored(store, world, 1))
    assert [path.name for path in (tmp_path / PREFIX).iterdir()] == ["000000001"], "later steps go"
    assert caplog.text.count("checkpoint of step 2 skipped") == 3
    assert f"rank-{rank:05d}" in caplog.text


def test_another_ranks_file_is_damage(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    on_ranks(2, lambda world: write(store, world, 1, 2))
    swap(rank_file(tmp_path, 2, 1))
    on_ranks(2, lambda world: assert_restored(store, world, 1))


MANIFEST_DAMAGE: dict[str, Callable[[Path], object]] = {
    "flipped": lambda path: path.write_bytes(path.read_bytes().replace(b"{", b"[", 1)),
    "empty": lambda path: path.write_bytes(b""),
    "not UTF-8": lambda path: path.write_bytes(b"\xff\xfe{"),
    "too deep": lambda path: path.write_bytes(b"[" * 100_000),
    "number too long": lambda path: path.write_bytes(b"9" * 10_000),
    "too large": lambda path: os.truncate(path, manifests.LARGEST_MANIFEST + 1),
    "removed": Path.unlink,
    "of another format": edit(lambda manifest: manifest.update(format="other")),
    "of no version": edit(lambda manifest: manifest.update(version="one")),
    "of another step": edit(lambda manifest: manifest.update(step=1)),
    "with an unknown key": edit(lambda manifest: manifest.update(surprise=1)),
    "without a key": edit(lambda manifest: manifest.pop("attempt")),
    "without files": edit(lambda manifest: manifest.update(files=[])),
    "with NaN": edit(lambda manifest: manifest.update(validation=float("nan"))),
    "files in disorder": edit(lambda manifest: manifest["files"].reverse()),
    "one file twice": edit(lambda manifest: manifest["files"].__setitem__(1, manifest["files"][0])),
    "hash too short": edit(lambda manifest: manifest["files"][1].update(sha256="ab")),
    "size negative": edit(lambda manifest: manifest["files"][1].update(size=-1)),
    "name leads out": name_file("../x"),
    "name of the step before": name_file("../000000001/rank-00001.00000000.h5"),
    "name absolute": name_file("/etc/passwd"),
    "name with a newline": name_file("rank-00001.00000000.h5\n"),
    "name of the manifest": name_file("checkpoint.json"),
}


@pytest.mark.parametrize("damage", MANIFEST_DAMAGE)
def test_a_checkpoint_with_a_damaged_or_hostile_manifest_is_passed_over(tmp_path: Path, damage: str) -> None:
    store = FolderStore(tmp_path)
    on_ranks(2, lambda world: write(store, world, 1, 2))
    MANIFEST_DAMAGE[damage](folder_of(tmp_path, 2) / "checkpoint.json")
    on_ranks(2, lambda world: assert_restored(store, world, 1))
    assert [path.name for path in (tmp_path / PREFIX).iterdir()] == ["000000001"]


def test_a_checkpoint_of_a_newer_program_is_neither_passed_over_nor_deleted(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    on_ranks(2, lambda world: write(store, world, 1, 2))
    path = folder_of(tmp_path, 2) / "checkpoint.json"
    newer = {**unsealed(json.loads(path.read_text())), "version": manifests.VERSION + 1}
    path.write_text(json.dumps(Provenance().seal("", newer)))

    def refused(world: World) -> None:
        with pytest.raises(StorageError, match="the newer program that wrote it") as caught:
            assert_restored(store, world, 1)
        assert caught.value.on_all_ranks

    on_ranks(2, refused)
    assert manifests.complete_steps(store, PREFIX) == [1, 2]


def test_files_of_no_checkpoint_are_deleted_and_what_is_not_ours_is_not(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    on_ranks(2, lambda world: write(store, world, 1, 2))
    orphans = [f"{PREFIX}/000000003/rank-00000.0123abcd.h5"]
    others = [
        *("run/checkpoints/main-2/000000009/checkpoint.json", "run-2/checkpoints/main/1/x", "run/log"),
        # In the folders of checkpoints, but with no name that one of ours has.
        *(f"{PREFIX}/stray", f"{PREFIX}/000000003/letter.txt", f"{PREFIX}/0000000002/checkpoint.json"),
        *(f"{PREFIX}/000000003/{name}" for name in ("rank-00000.h5", "rank-00000.0123abcd.h5.bak")),
    ]
    for key in orphans + others:
        store.put_new(key, b"{}")
    unfinished = tmp_path / PREFIX / "000000002" / ".writing-killed"
    unfinished.write_bytes(b"half")
    on_ranks(2, lambda world: assert_restored(store, world, 2))
    keys = {key for key, _ in store.list("")}
    assert keys.isdisjoint(orphans)
    assert keys.issuperset(others)
    assert not unfinished.exists()
    assert manifests.complete_steps(store, PREFIX) == [1, 2]


def test_where_none_is_whole_all_ranks_refuse_and_nothing_is_deleted(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    on_ranks(3, lambda world: write(store, world, 1, 2))
    for step, rank in ((1, 0), (2, 2)):
        flip(rank_file(tmp_path, step, rank))
    before = store.list("")
    found = outcomes(3, lambda world: read(store, world))
    for rank, error in enumerate(found):
        assert isinstance(error, CheckpointError)
        assert error.on_all_ranks
        assert error.quiet == (rank != 0)
        assert "none of the 2 checkpoints" in str(error)
    assert store.list("") == before


def test_where_there_is_none_at_all_the_run_begins(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put_new(f"{PREFIX}/000000001/rank-00000.0123abcd.h5", b"of a run that was killed early")
    assert on_ranks(3, lambda world: read(store, world)) == [None] * 3
    assert store.list("") == []


@pytest.mark.parametrize("what", ["get", "list"])
def test_a_store_that_refuses_is_no_damaged_checkpoint(tmp_path: Path, what: str) -> None:
    """A passing refusal must not cost the newest checkpoint."""
    whole = FolderStore(tmp_path)
    on_ranks(2, lambda world: write(whole, world, 1, 2))

    def refuse(method: str, key: str) -> None:
        if method == "get" and "000000002/rank-00001" in key:
            raise StorageError("access refused")

    class Refusing(Intercepted):
        def list(self, prefix: str) -> list[tuple[str, int]]:
            if what == "list":
                raise StorageError("access refused")
            return super().list(prefix)

    found = outcomes(2, lambda world: read(Refusing(whole, refuse), world))
    for rank, error in enumerate(found):
        assert isinstance(error, StorageError), error
        assert str(error) == "access refused"
        assert error.on_all_ranks
        assert error.quiet == (rank != 0)
    on_ranks(2, lambda world: assert_restored(whole, world, 2))


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_another_number_of_ranks_takes_the_weighted_mean(tmp_path: Path, ranks: int) -> None:
    store = FolderStore(tmp_path)
    on_ranks(3, lambda world: write(store, world, 7))
    old = [state_of(rank, 7) for rank in range(3)]
    for found in on_ranks(ranks, lambda world: read(store, world)):
        assert found.manifest.ranks == 3
        for name in ("weights", "moments"):
            stack = np.stack([state[name] for state in old]).astype(np.float64)
            mean = np.average(stack, axis=0, weights=[state["samples"] for state in old])
            assert found.state[name].dtype == np.float32
            np.testing.assert_array_equal(found.state[name], mean.astype(np.float32))
        assert found.state["data"] == "rank 0 at step 7"
        np.testing.assert_array_equal(found.state["engine/seed"], old[0]["engine/seed"])


def write_states(root: Path, states: list[dict[str, Any]]) -> FolderStore:
    store = FolderStore(root)

    def work(world: World) -> None:
        target = writer(store, world)
        target.save(states[world.rank], step=1, epoch=0, samples=0, validation=0.0, wait=True)

    on_ranks(len(states), work)
    return store


def test_means_are_taken_in_double_precision(tmp_path: Path) -> None:
    weights = [2.0**24, 1.0, 1.0, 1.0]  # in single precision the ones vanish beside the first
    states = [
        {"weights": np.full(3, w, np.float32), "moments": np.empty(0, np.float32), "samples": 1}
        for w in weights
    ]
    (found,) = on_ranks(1, lambda world: read(write_states(tmp_path, states), world))
    assert found.state["weights"].tolist() == [np.float32((2.0**24 + 3) / 4)] * 3
    assert found.state["moments"].shape == (0,)


def test_ranks_that_have_trained_on_nothing_weigh_the_same(tmp_path: Path) -> None:
    states = [{"weights": np.array([w], np.float32), "moments": np.zeros(1), "samples": 0} for w in (1, 4)]
    (found,) = on_ranks(1, lambda world: read(write_states(tmp_path, states), world))
    assert found.state["weights"].tolist() == [2.5]


@pytest.mark.parametrize("lacking", ["weights", "samples", "shape"])
def test_states_that_cannot_be_averaged_are_no_whole_checkpoint(tmp_path: Path, lacking: str) -> None:
    states = [{"weights": np.ones(2), "moments": np.zeros(1), "samples": 1} for _ in range(2)]
    if lacking == "shape":
        states[1]["weights"] = np.ones(1)  # would spread over both without a word
    else:
        del states[1][lacking]
    store = write_states(tmp_path, states)
    for error in outcomes(3, lambda world: read(store, world)):
        assert isinstance(error, CheckpointError)


def test_a_damaged_file_of_any_rank_stops_the_merge(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    on_ranks(3, lambda world: write(store, world, 1, 2))
    flip(rank_file(tmp_path, 2, 2))
    for found in on_ranks(2, lambda world: read(store, world)):
        assert found.manifest.step == 1


def test_alone_without_mpi(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    write(store, World(), 3)
    found = restore_checkpoint(World(), store, PREFIX, LOG, averaged=("weights", "moments"), weight="samples")
    assert found is not None
    assert found.manifest.step == 3
