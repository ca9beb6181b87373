"""Writing checkpoints on simulated ranks: whole or not at all, whatever the store does."""

from __future__ import annotations

import hashlib
import json
import logging
import signal
import threading
import time
from pathlib import Path

import pytest
from checkpointing import (
    CONFIG,
    PREFIX,
    assert_restored,
    assert_state,
    folder_of,
    read,
    save,
    state_of,
    write,
    writer,
)
from s3_bucket import Bucket
from simulated_ranks import on_ranks, outcomes
from store_wrappers import Intercepted, StopsAfter, Wrapped

from hpc_lstm import config as configuration
from hpc_lstm.checkpoint import manifest as manifests
from hpc_lstm.checkpoint import writer as checkpoint
from hpc_lstm.checkpoint.state_file import unpack_state
from hpc_lstm.checkpoint.writer import holds_checkpoints
from hpc_lstm.errors import CheckpointError, InputError, StorageError
from hpc_lstm.parallel.stop_signals import StopSignals
from hpc_lstm.parallel.world import World
from hpc_lstm.storage.folder import FolderStore
from hpc_lstm.storage.objects import ObjectStore
from hpc_lstm.storage.s3 import S3Store


def agreed_errors(found: list[object]) -> set[str]:
    """The messages of a CheckpointError that every rank raises and rank 0 alone prints."""
    for rank, error in enumerate(found):
        assert isinstance(error, CheckpointError), error
        assert error.on_all_ranks
        assert error.quiet == (rank != 0)
        assert "\n" not in str(error)
    return {str(error) for error in found}


def test_collectives_of_a_rank_are_its_own_threads_alone() -> None:
    def work(world: World) -> None:
        errors = []

        def elsewhere() -> None:
            try:
                world.barrier()
            except AssertionError as error:
                errors.append(error)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert len(errors) == 1

    on_ranks(2, work)


def test_old_checkpoints_go_where_the_run_directory_takes_no_note_of_the_new(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def full(step: int) -> None:
        raise InputError("run.json: cannot be written: No space left on device")

    target = writer(FolderStore(tmp_path), World(), keep=1, completed=full)
    for step in (1, 2):
        save(target, World(), step)
    assert manifests.complete_steps(FolderStore(tmp_path), PREFIX) == [2]
    assert "step 2: it could not be noted in the run directory: run.json: cannot be written" in caplog.text
    assert "deleted" not in caplog.text


def test_the_log_says_so_in_words_that_scripts_wait_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    save(writer(FolderStore(tmp_path), World()), World(), 5)
    assert "checkpoint of step 5 is complete" in caplog.text


@pytest.mark.parametrize("size", [1, 3])
def test_states_come_back_to_the_bit(tmp_path: Path, size: int) -> None:
    store = FolderStore(tmp_path)
    assert not holds_checkpoints(store, PREFIX)
    on_ranks(size, lambda world: write(store, world, 5, 10))
    assert holds_checkpoints(store, PREFIX)
    on_ranks(size, lambda world: assert_restored(store, world, 10))


def test_the_manifest_names_every_ranks_file(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)

    def work(world: World) -> None:
        target = writer(store, world)
        save(target, world, 20, validation=0.25)

    on_ranks(3, work)
    told = json.loads((folder_of(tmp_path, 20) / "checkpoint.json").read_text())
    assert (told["step"], told["epoch"], told["samples"], told["validation"]) == (20, 2, 1280, 0.25)
    assert configuration.parse(told["config"], "checkpoint") == CONFIG
    assert told["config_digest"] == configuration.digest(CONFIG)
    assert len(told["files"]) == 3
    for rank, file in enumerate(told["files"]):
        data = (folder_of(tmp_path, 20) / file["name"]).read_bytes()
        assert file["name"].startswith(f"rank-{rank:05d}.")
        assert file["size"] == len(data)
        assert file["sha256"] == hashlib.sha256(data).hexdigest()
        assert_state(unpack_state(data), rank, 20)
    assert {path.name for path in folder_of(tmp_path, 20).iterdir()} == {
        "checkpoint.json",
        *(file["name"] for file in told["files"]),
    }


def test_the_manifest_comes_last(tmp_path: Path) -> None:
    puts: list[str] = []
    store = Intercepted(FolderStore(tmp_path), lambda what, key: puts.append(key) if what == "put" else None)
    on_ranks(3, lambda world: write(store, world, 1))
    assert len(puts) == 4
    assert puts[-1].endswith("/checkpoint.json")


@pytest.mark.parametrize("validation", [float("nan"), float("inf")])
def test_a_loss_that_is_none_is_null(tmp_path: Path, validation: float) -> None:
    store = FolderStore(tmp_path)
    save(writer(store, World()), World(), 1, validation=validation)
    assert manifests.read_manifest(store, PREFIX, 1).validation is None


@pytest.mark.parametrize("keep", [1, 2])
def test_a_kill_at_any_change_of_the_store_leaves_a_whole_checkpoint(tmp_path: Path, keep: int) -> None:
    """Three checkpoints of two ranks, of which old ones go; then going on, and its cleaning killed as well."""
    losses = {1: 0.1, 2: 0.4, 3: 0.3}

    def run(root: Path, changes: float) -> StopsAfter:
        store = StopsAfter(FolderStore(root), changes)

        def work(world: World) -> None:
            target = writer(store, world, keep=keep, timeout_s=30)
            for step, loss in losses.items():
                save(target, world, step, validation=loss)

        outcomes(2, work)
        return store

    total = run(tmp_path / "whole", float("inf")).made
    assert total == 9 + (0 if keep == 2 else 3), "files of the step that is neither new nor best"
    reached = []
    for changes in range(total + 1):
        root = tmp_path / f"{changes}"
        run(root, changes)
        store = FolderStore(root)
        newest = max(manifests.complete_steps(store, PREFIX), default=0)
        reached.append(newest)

        # First the cleaning is killed, after one more change each time; then the run goes on.
        for kept in range(4):
            outcomes(2, lambda world: read(StopsAfter(store, kept), world))  # noqa: B023

        def go_on(world: World) -> None:
            if newest:  # noqa: B023
                assert_restored(store, world, newest)  # noqa: B023
            else:
                assert read(store, world) is None  # noqa: B023
            present = newest or None  # noqa: B023
            save(writer(store, world, keep=keep, present=present), world, newest + 1)  # noqa: B023
            assert_restored(store, world, newest + 1)  # noqa: B023

        on_ranks(2, go_on)
    assert reached == sorted(reached)
    assert set(reached) == {0, 1, 2, 3}


def test_the_newest_are_kept_and_the_best(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    losses = {1: None, 2: 0.5, 3: 0.2, 4: 0.3, 5: 0.2, 6: None, 7: 0.4}
    kept = []

    def work(world: World) -> None:
        target = writer(store, world, keep=2)
        for step, loss in losses.items():
            save(target, world, step, validation=float("nan") if loss is None else loss)
            if world.rank == 0:
                kept.append(manifests.complete_steps(store, PREFIX))

    on_ranks(2, work)
    assert kept == [[1], [1, 2], [2, 3], [3, 4], [3, 4, 5], [3, 5, 6], [3, 6, 7]]
    assert sorted(int(path.name) for path in (tmp_path / PREFIX).iterdir()) == [3, 6, 7]


def test_the_same_step_is_written_once(tmp_path: Path) -> None:
    store = StopsAfter(FolderStore(tmp_path), float("inf"))

    def work(world: World) -> None:
        target = writer(store, world)
        assert save(target, world, 1)
        world.barrier()
        made = store.made
        assert save(target, world, 1)
        assert save(target, world, 1, wait=False)
        resumed = writer(store, world, present=1)
        assert save(resumed, world, 1)
        world.barrier()
        assert store.made == made == 3

    on_ranks(2, work)


@pytest.mark.parametrize("slow", [0, 1])
def test_while_any_rank_is_uploading_all_leave_the_next_one_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, slow: int
) -> None:
    caplog.set_level(logging.INFO)
    go_on = threading.Event()

    def dawdle(what: str, key: str) -> None:
        if what == "put" and f"000000001/rank-{slow:05d}" in key:
            assert go_on.wait(20)

    store = Intercepted(FolderStore(tmp_path), dawdle)

    def work(world: World) -> None:
        target = writer(store, world)
        began = time.monotonic()
        assert save(target, world, 1, wait=False)
        while not any(f"/rank-{1 - slow:05d}" in key for key, _ in store.list("")):
            time.sleep(0.01)
        if world.rank != slow == 0:
            target.close()  # its upload has ended
        assert not save(target, world, 2, wait=False)
        assert not save(target, world, 3, wait=False)
        assert time.monotonic() - began < 5, "training does not wait"
        world.barrier()
        go_on.set()
        assert save(target, world, 4), "at the end of a run the upload under way is waited for"

    on_ranks(2, work)
    assert manifests.complete_steps(store, PREFIX) == [1, 4]
    on_ranks(2, lambda world: assert_restored(store, world, 4))
    skipped = [record.getMessage() for record in caplog.records if "skipped" in record.getMessage()]
    assert len(skipped) == 4
    assert all(f"rank {slow} is still writing" in text for text in skipped)
    assert {text.split()[3] for text in skipped} == {"2", "3"}


class Unreliable(Wrapped):
    """Refuses rank 1's files while ``broken``."""

    broken = False

    def put_new(self, key: str, data: bytes) -> bool:
        if self.broken and "rank-00001" in key:
            raise StorageError("the disk\nis full")
        return super().put_new(key, data)


def test_failures_in_a_row_end_the_run_on_all_ranks_and_a_success_forgives(tmp_path: Path) -> None:
    store = Unreliable(FolderStore(tmp_path))

    def work(world: World) -> None:
        target = writer(store, world, timeout_s=0.05, max_failures=2)
        broken = {1: True, 2: False, 3: True, 4: True}
        for step, is_broken in broken.items():
            world.barrier()
            store.broken = is_broken
            world.barrier()
            assert save(target, world, step, wait=False)
            target.close()  # when the upload has ended
        store.broken = False
        save(target, world, 5, wait=False)

    messages = agreed_errors(outcomes(2, work))
    assert messages == {
        "checkpoints cannot be written: rank 1, step 4: the disk is full; "
        "--resume would go on from the checkpoint of step 2"
    }
    assert manifests.complete_steps(store, PREFIX) == [2]


def test_the_last_checkpoint_is_tried_whatever_failed_before(tmp_path: Path) -> None:
    store = Unreliable(FolderStore(tmp_path))

    def work(world: World) -> None:
        target = writer(store, world, timeout_s=0.05, max_failures=1)
        store.broken = True
        world.barrier()
        assert save(target, world, 1, wait=False)
        target.close()
        world.barrier()
        store.broken = False
        world.barrier()
        assert save(target, world, 2, wait=True)

    on_ranks(2, work)
    assert manifests.complete_steps(store, PREFIX) == [2]


def test_a_failure_that_is_waited_for_is_told_at_once(tmp_path: Path) -> None:
    store = Unreliable(FolderStore(tmp_path))
    store.broken = True

    def work(world: World) -> None:
        save(writer(store, world, timeout_s=0.05, max_failures=100), world, 1)

    assert agreed_errors(outcomes(3, work)) == {
        "checkpoints cannot be written: rank 1, step 1: the disk is full; there is no checkpoint to resume from"
    }


def test_the_file_of_a_rank_that_has_failed_is_not_waited_for(tmp_path: Path) -> None:
    """As where one node's disk is full: the others must not wait for ``storage.timeout_s``."""
    store = Unreliable(FolderStore(tmp_path))
    store.broken = True

    def work(world: World) -> None:
        target = writer(store, world, timeout_s=600)
        with pytest.raises(
            CheckpointError, match=r"^checkpoints cannot be written: rank 1, step 1: the disk is"
        ):
            save(target, world, 1)
        # The next meeting is where rank 0 learns of it.
        assert save(target, world, 2, wait=False)
        time.sleep(0.1)
        assert not save(target, world, 3, wait=False)
        target.close()
        world.barrier()
        store.broken = False
        world.barrier()
        assert save(target, world, 2), "what has failed before does not count against the same step"

    began = time.monotonic()
    on_ranks(2, work)
    assert time.monotonic() - began < 20
    assert manifests.complete_steps(store, PREFIX) == [2]


def test_a_file_that_never_comes_is_waited_for_only_so_long(tmp_path: Path) -> None:
    store = Intercepted(FolderStore(tmp_path), lambda what, key: "rank-00002" not in key)
    began = time.monotonic()
    found = outcomes(3, lambda world: save(writer(store, world, timeout_s=0.3), world, 1))
    assert 0.3 <= time.monotonic() - began < 20
    (message,) = agreed_errors(found)
    assert (
        "rank 2 did not arrive within 0.3 s (storage.timeout_s); checkpoints need a folder that all"
        in message
    )
    assert manifests.complete_steps(store, PREFIX) == []


@pytest.mark.parametrize("signalled", [0, 1])
def test_a_file_that_is_written_where_rank_0_does_not_see_it_does_not_hold_up_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signalled: int
) -> None:
    monkeypatch.setattr(checkpoint, "STOP_S", 0.3)
    stop = StopSignals()

    def work(world: World) -> None:
        if world.rank == signalled:
            world.signals = stop
        target = writer(FolderStore(tmp_path / str(world.rank)), world, timeout_s=600)
        assert save(target, world, 1, wait=False)
        world.barrier()
        stop._received.append(signal.SIGTERM)
        save(target, world, 2)

    began = time.monotonic()
    (message,) = agreed_errors(outcomes(2, work))
    assert time.monotonic() - began < 20
    assert message == (
        "checkpoints cannot be written: rank 0, step 2: the file of rank 1 did not arrive within 0.3 s of the request "
        "to stop; checkpoints need a folder that all nodes share; there is no checkpoint to resume from"
    )


def test_a_stop_waits_for_a_file_that_is_still_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "STOP_S", 0.1)
    slow = Intercepted(FolderStore(tmp_path), lambda what, key: time.sleep(0.5 * ("rank-00001" in key)))

    def work(world: World) -> None:
        world.signals._received.append(signal.SIGTERM)
        save(writer(slow, world), world, 1)

    on_ranks(2, work)
    assert manifests.complete_steps(slow, PREFIX) == [1]


def test_passing_trouble_of_a_disk_is_sat_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hpc_lstm.storage import retry

    monkeypatch.setattr(retry, "FIRST_S", 0.001)
    errors = [OSError(116, "Stale file handle"), OSError(5, "Input/output error")] * 2

    def fail(what: str, key: str) -> None:
        if what == "put" and errors:
            raise errors.pop()

    store = Intercepted(FolderStore(tmp_path), fail)
    write(store, World(), 1)
    assert not errors
    assert_restored(store, World(), 1)


def test_a_full_disk_is_told_at_once(tmp_path: Path) -> None:
    tries: list[str] = []

    def fail(what: str, key: str) -> None:
        tries.append(key)
        raise OSError(28, "No space left on device", f"{tmp_path}/file")

    with pytest.raises(CheckpointError, match="No space left on device"):
        write(Intercepted(FolderStore(tmp_path), fail), World(), 1)
    assert len(tries) == 1


def test_a_step_whose_upload_failed_can_be_written_again_with_another_state(tmp_path: Path) -> None:
    refuse = [True]

    def fail(what: str, key: str) -> None:
        if what == "put" and key.endswith("checkpoint.json") and refuse:
            refuse.pop()
            raise StorageError("down")

    store = Intercepted(FolderStore(tmp_path), fail)

    def work(world: World) -> None:
        target = writer(store, world)
        first = {**state_of(world.rank, 1), "data": "of the same step, but not the same"}
        with pytest.raises(CheckpointError, match="down"):
            target.save(first, step=1, epoch=0, samples=0, validation=0.0, wait=True)
        assert save(target, world, 1)
        assert_restored(store, world, 1)

    on_ranks(2, work)


def test_a_manifest_whose_answer_was_lost_is_as_good(tmp_path: Path) -> None:
    lose = [True]

    class LosesAnAnswer(Wrapped):
        def put_new(self, key: str, data: bytes) -> bool:
            created = super().put_new(key, data)
            if key.endswith("checkpoint.json") and lose:
                lose.pop()
                raise StorageError("cannot be reached")
            return created

    store = LosesAnAnswer(FolderStore(tmp_path))

    def work(world: World) -> None:
        target = writer(store, world)
        with pytest.raises(CheckpointError, match="cannot be reached"):
            save(target, world, 1)
        assert save(target, world, 1)
        assert_restored(store, world, 1)

    on_ranks(2, work)


def test_two_runs_in_one_place_are_told(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    write(store, World(), 1)
    with pytest.raises(CheckpointError, match="another run"):
        write(store, World(), 1)
    assert_restored(store, World(), 1)


def test_what_cannot_be_deleted_is_no_failure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def refuse(what: str, key: str) -> None:
        if what == "delete":
            raise StorageError("access refused")

    store = Intercepted(FolderStore(tmp_path), refuse)
    write(store, World(), 1, 2, 3, 4, keep=1, max_failures=1)
    assert manifests.complete_steps(store, PREFIX) == [1, 2, 3, 4]
    assert caplog.text.count("could not be deleted: access refused") == 3


def test_an_old_manifest_that_rots_harms_nobody(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    target = writer(store, World(), keep=1, max_failures=1)
    save(target, World(), 1, validation=0.1)
    (folder_of(tmp_path, 1) / "checkpoint.json").write_bytes(b"{")
    for step in (2, 3):
        save(target, World(), step, validation=0.5)
    assert manifests.complete_steps(store, PREFIX) == [1, 2, 3], "2 is now the best known, 1 is left alone"


def test_what_failed_uploads_left_goes_with_the_next_success(tmp_path: Path) -> None:
    store = Unreliable(FolderStore(tmp_path))

    def work(world: World) -> None:
        target = writer(store, world, timeout_s=0.05)
        for step, broken in ((1, True), (2, True), (3, False)):
            world.barrier()
            store.broken = broken
            world.barrier()
            save(target, world, step, wait=False)
            target.close()

    on_ranks(2, work)
    assert [path.name for path in (tmp_path / PREFIX).iterdir()] == ["000000003"]


def test_a_run_that_ends_early_is_not_held_up_by_its_upload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "CLOSE_S", 0.1)
    end = threading.Event()
    store = Intercepted(FolderStore(tmp_path), lambda what, key: end.wait(20) if what == "put" else None)
    target = writer(store, World())
    save(target, World(), 1, wait=False)
    began = time.monotonic()
    target.close()
    target.close()
    assert 0.1 <= time.monotonic() - began < 15
    end.set()


def test_closing_before_the_first_checkpoint_and_twice_is_fine(tmp_path: Path) -> None:
    target = writer(FolderStore(tmp_path), World())
    target.close()
    target.close()


def test_through_s3(bucket: Bucket) -> None:
    def store() -> ObjectStore:
        return S3Store(bucket.name, "team", bucket.endpoint, "AES256", 20.0)

    def work(world: World) -> None:
        mine = store()
        mine.check()
        target = writer(mine, world, keep=1)
        for step, loss in ((1, 0.1), (2, 0.3), (3, 0.2)):
            save(target, world, step, validation=loss)
        assert_restored(mine, world, 3)

    on_ranks(2, work)
    steps = {key.split("/")[3] for key, _ in store().list(f"{PREFIX}/")}
    assert steps == {"000000001", "000000003"}
    name = manifests.read_manifest(store(), PREFIX, 3).files[1].name
    key = f"team/{PREFIX}/000000003/{name}"
    whole = bucket.client.get_object(Bucket=bucket.name, Key=key)["Body"].read()
    bucket.client.put_object(Bucket=bucket.name, Key=key, Body=whole[:-1] + bytes([whole[-1] ^ 1]))
    on_ranks(2, lambda world: assert_restored(store(), world, 1))
    left = {key.split("/")[3] for key, _ in store().list(f"{PREFIX}/")}
    assert left == {"000000001"}
