"""A market store that is read from a copy on the node's own disk."""

from __future__ import annotations

import os
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from simulated_ranks import SimulatedWorld, outcomes

from hpc_lstm.errors import InputError
from hpc_lstm.market.staging import stage_store
from hpc_lstm.parallel.world import World


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "shared" / "market.h5"
    path.parent.mkdir()
    path.write_bytes(os.urandom(5000))
    return path


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HPC_LSTM_STAGE", str(tmp_path / "disk"))
    return tmp_path / "disk"


def test_without_the_variable_the_store_itself_is_read(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HPC_LSTM_STAGE", raising=False)
    assert stage_store(store, World()) == store


def test_a_copy_is_made_once_and_again_when_the_store_has_changed(store: Path, disk: Path) -> None:
    first = stage_store(store, World())
    assert first.parent == disk
    assert first.read_bytes() == store.read_bytes()
    made = first.stat()
    assert stage_store(store, World()) == first
    assert first.stat().st_mtime_ns == made.st_mtime_ns
    store.write_bytes(b"other")
    second = stage_store(store, World())
    assert second.read_bytes() == b"other"
    assert sorted(disk.iterdir()) == sorted([first, second]), "nothing temporary is left"


def test_one_rank_copies_and_all_read_it(store: Path, disk: Path) -> None:
    def work(world: SimulatedWorld) -> Path:
        world.local_rank = world.rank
        return stage_store(store, world)

    places = outcomes(3, work)
    assert len(set(places)) == 1
    assert places[0].read_bytes() == store.read_bytes()
    assert list(disk.iterdir()) == [places[0]]


def test_a_half_copy_is_not_taken_for_the_store(store: Path, disk: Path) -> None:
    place = stage_store(store, World())
    place.write_bytes(b"half")
    assert stage_store(store, World()).read_bytes() == store.read_bytes()


def test_a_link_that_lies_at_the_name_is_not_followed(store: Path, disk: Path, tmp_path: Path) -> None:
    place = stage_store(store, World())
    planted = tmp_path / "planted"
    planted.write_bytes(bytes(5000))
    place.unlink()
    place.symlink_to(planted)
    assert stage_store(store, World()).read_bytes() == store.read_bytes()
    assert planted.read_bytes() == bytes(5000)


def test_variables_of_the_node_are_filled_in(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "node"))
    monkeypatch.setenv("HPC_LSTM_STAGE", "$TMPDIR/stores")
    assert stage_store(store, World()).parent == tmp_path / "node" / "stores"


def test_no_room_is_said_before_anything_is_copied(
    store: Path, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10_000, 5_001, 4_999))
    with pytest.raises(InputError, match=r"has 0\.0 GiB free .* unset it"):
        stage_store(store, World())
    assert list(disk.iterdir()) == []


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("$NOT_SET_ANYWHERE/x", "contains a variable that is not set"),
        ("relative", "must be an absolute path"),
        ("/dev/null/x", "cannot be copied there on .*: Not a directory"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused(
    store: Path, monkeypatch: pytest.MonkeyPatch, value: str, message: str
) -> None:
    monkeypatch.setenv("HPC_LSTM_STAGE", value)
    with pytest.raises(InputError, match=message):
        stage_store(store, World())


def test_a_copy_that_is_not_there_for_a_rank_is_refused_by_all(
    store: Path, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(world: SimulatedWorld) -> str:
        world.local_rank = 1  # nobody copies, as where ranks of a node name different folders
        with pytest.raises(InputError, match="is not the same for all ranks of the node"):
            stage_store(store, world)
        return "refused"

    assert outcomes(2, work) == ["refused", "refused"]
