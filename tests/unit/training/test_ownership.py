"""Ownership of a run directory: taken for a run, and left as it was by a failed start."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_ranks import on_ranks, outcomes

from hpc_lstm.config import RunConfig, free_on_resume, parse
from hpc_lstm.errors import ConfigError, InputError
from hpc_lstm.parallel.world import World
from hpc_lstm.runs import directory
from hpc_lstm.storage.folder import FolderStore
from hpc_lstm.training import ownership


def settings(**train: Any) -> RunConfig:
    return parse({"data": {"store": "/m.h5"}, "train": train}, "test")


def everything(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_folder_holds_a_run_once_its_settings_are_written(tmp_path: Path) -> None:
    run = directory.at(tmp_path / "a" / "run")
    ownership.create_folders(run, settings(), resume=False)
    assert run.rank_log(0).parent.is_dir()
    assert run.rank_timing(0).parent.is_dir()
    ownership.create_folders(run, settings(), resume=False)  # a start that was killed before it wrote them
    ownership.write_settings(run, settings(epochs=3))
    with pytest.raises(InputError, match=r"already holds a run; continue it with --resume"):
        ownership.create_folders(run, settings(), resume=False)
    ownership.create_folders(run, settings(epochs=9), resume=True)
    assert run.load_config().train.epochs == 3, "the settings change when the run resumes, not before"


def test_a_failed_start_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "user" / "log").mkdir(parents=True)
    (tmp_path / "user" / "notes.txt").write_text("mine")
    before = everything(tmp_path)
    for name in ("new", "a/b/new", "user"):
        run = directory.at(tmp_path / name)
        made = ownership.create_folders(run, settings(), resume=False)
        for rank in range(3):
            run.rank_log(rank).write_text("begun")
            run.rank_timing(rank).write_text("begun")
        assert everything(tmp_path) != before
        ownership.remove_unbegun(run, made, 3)
        assert everything(tmp_path) == before


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_start_that_cannot_own_its_folder_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    world = World()
    with (
        pytest.raises(InputError, match=r"cannot be written: .*; make room, or choose another --run-dir"),
        ownership.owned(directory.at(tmp_path / "run"), settings(), world, resume=False),
    ):
        pass
    assert everything(tmp_path) == []


def test_a_start_that_a_full_disk_ends_at_an_open_file_leaves_nothing(tmp_path: Path) -> None:
    run = directory.at(tmp_path / "run")

    def fail() -> None:
        with ownership.owned(run, settings(), World(), resume=False):
            run.rank_timing(0).touch()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(InputError, match=r"run: No space left on device; make room") as ended:
        fail()
    assert isinstance(ended.value.__cause__, OSError), "a search repeats such a trial"
    assert everything(tmp_path) == []


def own(folder: Path, world: World, **storage: str) -> None:
    config = parse({"data": {"store": "/m.h5"}, "storage": storage}, "test")
    with ownership.owned(directory.at(folder / "run"), config, world, resume=False):
        pass


@pytest.mark.parametrize("there", ["nothing", "another run's folder", "another run's lease"])
def test_a_folder_on_a_nodes_own_disk_is_refused_on_all_ranks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: str
) -> None:
    monkeypatch.setattr(ownership, "APPEARS_S", 0.1)
    monkeypatch.setattr(ownership, "APPEARS_POLL_S", 0.05)
    (tmp_path / "0").mkdir()
    (tmp_path / "1" / ("run" if there != "nothing" else "")).mkdir(parents=True)
    if there == "another run's lease":
        lease = tmp_path / "1/run/.owner/leases/run/000001.000000000"
        lease.parent.mkdir(parents=True)
        lease.write_text("{}" * 500)
    before = everything(tmp_path)

    def work(world: World) -> None:
        world.node = f"n{world.rank}"
        own(tmp_path / str(min(world.rank, 1)), world)

    found = outcomes(3, work)
    assert {type(error) for error in found} == {InputError}
    (message,) = {str(error) for error in found}
    assert message.startswith(
        f"{tmp_path}/1/run: must be on storage that all nodes share (rank 1 on n1 does not see it); choose another"
    )
    assert [error.quiet for error in found] == [False, True, True]
    assert everything(tmp_path) == before


def test_a_folder_is_looked_for_again_and_need_not_be_shared_without_checkpoints_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ownership, "APPEARS_POLL_S", 0.1)

    def late(world: World) -> None:
        own(tmp_path / ("shared" if world.rank else "disk"), world)

    (tmp_path / "disk" / "run").mkdir(parents=True)
    appear = threading.Timer(0.3, (tmp_path / "shared").symlink_to, ["disk"])
    appear.start()
    on_ranks(2, late)
    appear.join()
    on_ranks(2, lambda world: own(tmp_path / str(world.rank), world, url="s3://bucket/runs"))


def test_a_folder_that_holds_a_run_is_not_removed(tmp_path: Path) -> None:
    run = directory.at(tmp_path / "run")
    made = ownership.create_folders(run, settings(), resume=False)
    run.rank_log(0).write_text("log")
    ownership.write_settings(run, settings())
    before = everything(tmp_path)
    ownership.remove_unbegun(run, made, 1)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("name", ["log", "timing", "tensorboard"])
def test_a_folder_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=f"run/{name}: nothing is written through a symbolic link"):
        ownership.create_folders(directory.at(tmp_path / "run"), settings(), resume=False)
    assert everything(tmp_path) == ["elsewhere", "run", f"run/{name}"]


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/run: cannot be created: .*--run-dir"):
        ownership.create_folders(directory.at(tmp_path / "file" / "run"), settings(), resume=False)
    assert everything(tmp_path) == ["file"]


KEYS = [f"{s}.{n}" for s, f in RunConfig.model_fields.items() for n in f.annotation.model_fields]  # type: ignore[union-attr]


@given(st.sets(st.sampled_from(KEYS)))
def test_changed_keys_are_named_with_both_values(changed: set[str]) -> None:
    old = settings()
    tables = {s: dict(getattr(old, s)) for s in RunConfig.model_fields}
    for key in changed:
        section, name = key.split(".")
        tables[section][name] = f"other {name}"
    new = RunConfig.model_construct(
        **{s: type(getattr(old, s)).model_construct(**table) for s, table in tables.items()}
    )
    refused = sorted(changed - free_on_resume())
    if not refused:
        ownership.refuse_changed_settings(old, new, "run/config.toml")
        return
    with pytest.raises(ConfigError) as caught:
        ownership.refuse_changed_settings(old, new, "run/config.toml")
    message = str(caught.value)
    assert message.startswith("run/config.toml: ")
    for key in KEYS:
        section, name = key.split(".")
        was = getattr(getattr(old, section), name)
        assert (f"{key} (was {was!r}, now 'other {name}')" in message) == (key in refused)


def test_keys_begin_with_a_name_where_runs_may_share_a_store(tmp_path: Path) -> None:
    run = directory.at(tmp_path / "night")
    tables: dict[str, Any] = {"data": {"store": "/m.h5"}, "storage": {"url": f"file://{tmp_path}/shared"}}

    def prefixes(**sync: str) -> tuple[str, str]:
        found = ownership.open_run_storage(run, parse({**tables, "sync": sync}, "test"), World())
        return found.run_prefix, found.checkpoint_prefix

    own = ownership.open_run_storage(run, settings(), World())
    assert (own.run_prefix, own.checkpoint_prefix) == ("", "checkpoints/main")
    assert prefixes() == ("night/", "night/checkpoints/main"), "runs that train alone stay apart"
    assert prefixes(cluster="alpha") == ("_shared/", "_shared/checkpoints/alpha")
    assert prefixes(cluster="alpha", run="prices") == ("prices/", "prices/checkpoints/alpha")
    (tmp_path / "link").symlink_to(tmp_path / "night")
    run = directory.at(tmp_path / "link")
    assert prefixes()[0] == "link/", "a link has its own name"
    (tmp_path / "night/below").mkdir(parents=True)
    run = directory.at(tmp_path / "link/below/..")
    assert prefixes()[0] == "night/"
    run = directory.at("/")
    assert prefixes(run="prices")[0] == "prices/"
    for sync in ({}, {"cluster": "alpha"}):
        with pytest.raises(InputError, match=r"^/: has no name.*choose a --run-dir with a name of its own"):
            prefixes(**sync)


def test_checkpoints_of_a_run_of_the_same_name_are_not_written_over(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "shared")
    ownership.refuse_existing_checkpoints(store, "night/checkpoints/main", World())
    store.put_new("night/checkpoints/main/000000005/rank-00000.00000000.h5", b"half a checkpoint")
    ownership.refuse_existing_checkpoints(store, "night/checkpoints/main", World())
    store.put_new("night/checkpoints/main/000000005/checkpoint.json", b"{}")
    ownership.refuse_existing_checkpoints(store, "other/checkpoints/main", World())
    with pytest.raises(InputError, match=r"night/checkpoints/main.*--resume.*--run-dir.*sync\.run"):
        ownership.refuse_existing_checkpoints(store, "night/checkpoints/main", World())
