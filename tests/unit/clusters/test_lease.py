"""One job a cluster name, whatever happened to the jobs before it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hpc_lstm.clusters import lease as module
from hpc_lstm.clusters import lease_files
from hpc_lstm.clusters.lease import Lease
from hpc_lstm.errors import InputError, StopRequested, StorageError
from hpc_lstm.storage.folder import FolderStore

LOG = logging.getLogger("test")
TIMEOUT_S = 1.0


def take(folder: Path, cluster: str = "alpha", timeout_s: float = TIMEOUT_S) -> Lease:
    return Lease(FolderStore(folder), "run/", cluster, timeout_s, LOG)


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end, "this takes too long"
        time.sleep(0.01)


def elsewhere(monkeypatch: pytest.MonkeyPatch, host: str = "far") -> None:
    """From here on, leases are taken by machines of which nothing is known."""
    for where in (module, lease_files):
        monkeypatch.setattr(
            where,
            "identity",
            lambda: {"host": host, "machine": "", "pid": 1, "started": "1", "job": "", "start": "0"},
        )


def test_a_released_name_is_free_at_once(tmp_path: Path) -> None:
    first = take(tmp_path, timeout_s=30)
    first.release()
    begun = time.monotonic()
    second = take(tmp_path, timeout_s=30)
    assert second.number == first.number + 1
    assert time.monotonic() - begun < 5
    second.release()


def test_a_lease_that_is_forgotten_leaves_no_file_behind(tmp_path: Path) -> None:
    killed = tmp_path / "run/leases/alpha/.writing-of-a-killed-job"
    killed.parent.mkdir(parents=True)
    killed.touch()
    Lease(FolderStore(tmp_path), "run/", "alpha", TIMEOUT_S, LOG, forget=True).release()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_is_no_lease_and_has_the_place_of_one_is_no_owner(tmp_path: Path) -> None:
    place = tmp_path / "run/leases/alpha/000001.000000000"
    place.parent.mkdir(parents=True)
    os.mkfifo(place)
    with pytest.raises(
        StorageError, match=r"leases/alpha/000001\.000000000 is not a regular file; delete it"
    ):
        take(tmp_path)


def test_a_living_owner_keeps_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere(monkeypatch, "near")
    owner = take(tmp_path)
    elsewhere(monkeypatch)
    with pytest.raises(InputError, match=r'sync\.cluster = "alpha": a job on near is training'):
        take(tmp_path)
    other = take(tmp_path, "beta")
    owner.check()
    for one in (owner, other):
        one.release()


def test_a_silent_owner_on_another_machine_is_replaced_and_learns_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere(monkeypatch, "near")
    owner = take(tmp_path, timeout_s=0.8)
    owner._ended.set()  # it hangs
    elsewhere(monkeypatch)
    begun = time.monotonic()
    second = take(tmp_path, timeout_s=0.4)
    assert time.monotonic() - begun >= 0.8, "the owner's own setting counts, if it is longer"
    assert second.number == owner.number + 1
    owner._timeout_s = 0.1
    owner._ended.clear()
    watcher = threading.Thread(target=owner._renew_until_released, daemon=True)
    watcher.start()
    watcher.join(10)
    with pytest.raises(InputError, match="another job has taken this name over"):
        owner.check()
    second.release()
    owner.release()


def test_an_owner_of_this_machine_that_has_died_is_not_waited_for(tmp_path: Path) -> None:
    code = (
        "import logging, os, sys; from pathlib import Path\n"
        "from hpc_lstm.storage.folder import FolderStore\n"
        "from hpc_lstm.clusters.lease import Lease\n"
        "Lease(FolderStore(Path(sys.argv[1])), 'run/', 'alpha', 300, logging.getLogger())\n"
        "os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parents[3], check=False)
    begun = time.monotonic()
    second = take(tmp_path, timeout_s=300)
    assert second.number == 2
    assert time.monotonic() - begun < 30
    second.release()


def test_a_requeued_job_takes_its_name_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_files, "machine", lambda: "")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    first = take(tmp_path, timeout_s=300)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    second = take(tmp_path, timeout_s=300)
    assert second.number == first.number + 1
    for one in (first, second):
        one.release()


def test_of_several_that_want_a_free_name_one_gets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere(monkeypatch)
    got: list[Lease] = []
    refused: list[InputError] = []

    def want() -> None:
        try:
            got.append(take(tmp_path))
        except InputError as error:
            refused.append(error)

    threads = [threading.Thread(target=want) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1
    assert len(refused) == 5
    got[0].release()


@pytest.mark.parametrize(
    "owner",
    [
        "[" * 4000,
        json.dumps({"silence_s": 10**400, "host": "\x1b[2J\n" + "x" * 200}),
        '{"silence_s": 1e999, "pid": 1e999, "machine": "this"}',
        '{"silence_s": NaN, "pid": [1], "machine": "this"}',
        '{"silence_s": -5, "host": {}}',
    ],
)
def test_whatever_a_lease_says_its_reader_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: str
) -> None:
    monkeypatch.setattr(lease_files, "machine", lambda: "this")
    monkeypatch.setattr(lease_files, "MAX_TIMEOUT_S", 0.2)
    store = FolderStore(tmp_path)
    store.put_new("run/leases/alpha/000001.000000000", owner.encode())
    lease = take(tmp_path, timeout_s=0.1)
    assert lease.number == 2
    lease.release()
    said = str(lease._taken(1))
    assert said.isprintable()
    assert len(said) < 300


def test_a_step_of_the_same_batch_job_that_has_died_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    first = take(tmp_path, timeout_s=300)
    first._ended.set()  # it is killed
    monkeypatch.setattr(lease_files, "started", lambda pid: "later")
    begun = time.monotonic()
    second = take(tmp_path, timeout_s=300)
    assert time.monotonic() - begun < 30
    second.release()


def test_a_wish_to_stop_ends_the_waiting_for_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_S", 0.05)
    elsewhere(monkeypatch, "near")
    owner = take(tmp_path, timeout_s=300)
    owner._ended.set()  # it hangs
    elsewhere(monkeypatch)
    asked = iter([False, False, True])
    with pytest.raises(StopRequested, match="--resume"):
        Lease(FolderStore(tmp_path), "run/", "alpha", 300, LOG, lambda: next(asked))
    owner.release()


@pytest.mark.parametrize("number", ["9" * 13, "9" * 240, f"{10**9 + 1}"])
def test_a_number_that_no_start_can_have_is_refused_in_one_line(tmp_path: Path, number: str) -> None:
    key = f"run/leases/alpha/{number}.000000000"
    FolderStore(tmp_path).put_new(key, b"{}")
    with pytest.raises(StorageError, match="was put there by somebody else; delete it") as caught:
        Lease(FolderStore(tmp_path), "run/", "alpha", 1, LOG)
    assert len(str(caught.value)) < 300


class Dead(FolderStore):
    """A store that stops answering, or answers what nobody foresaw."""

    hangs = False
    errors: list[Exception]

    def put_new(self, key: str, data: bytes) -> bool:
        if self.hangs:
            time.sleep(60)
        if getattr(self, "errors", []):
            raise self.errors.pop()
        return super().put_new(key, data)


def test_a_store_that_hangs_does_not_hold_up_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RELEASE_S", 0.5)
    store = Dead(tmp_path)
    lease = Lease(store, "run/", "alpha", 300, LOG)
    store.hangs = True
    begun = time.monotonic()
    lease.release()
    assert time.monotonic() - begun < 5


def test_no_error_of_the_store_ends_the_beats(tmp_path: Path) -> None:
    store = Dead(tmp_path)
    lease = Lease(store, "run/", "alpha", 0.2, LOG)
    store.errors = [RuntimeError("nobody foresaw this"), OSError("nor this")]
    wait_until(lambda: not store.errors)
    beats = lease._beat
    wait_until(lambda: lease._beat > beats)
    assert lease._thread.is_alive()
    lease.release()


def renewed_after(lease: Lease, beat: int) -> Callable[[], bool]:
    return lambda: lease._beat > beat


def test_a_store_that_stays_full_is_told_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Dead(tmp_path)
    with caplog.at_level(logging.WARNING):
        lease = Lease(store, "run/", "alpha", 0.2, LOG)
        for _ in range(2):
            store.errors = [OSError(28, "No space left on device", "/full")] * 3
            wait_until(lambda: not store.errors)
            wait_until(renewed_after(lease, lease._beat + 1))
    lease.release()
    assert [record.getMessage() for record in caplog.records] == [
        "the lease of sync.cluster = \"alpha\" could not be renewed: [Errno 28] No space left on device: '/full'"
    ] * 2


def test_beats_do_not_pile_up(tmp_path: Path) -> None:
    lease = take(tmp_path, timeout_s=0.04)
    wait_until(lambda: lease._beat >= 20)
    lease.release()
    names = sorted(path.name for path in (tmp_path / "run" / "leases" / "alpha").iterdir())
    assert len(names) == 3
    assert names[0] == "000001.000000000"
    assert names[2] == "000001.released"
