"""One job a cluster name, whatever happened to the jobs before it."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hpc_lstm.errors import InputError
from hpc_lstm.sync import lease as module
from hpc_lstm.sync.folder_store import FolderStore
from hpc_lstm.sync.lease import Lease

LOG = logging.getLogger("test")
SILENCE_S = 1.0


def take(folder: Path, cluster: str = "alpha", silence_s: float = SILENCE_S) -> Lease:
    return Lease(FolderStore(folder), "run/", cluster, silence_s, LOG)


def elsewhere(monkeypatch: pytest.MonkeyPatch, host: str = "far") -> None:
    """From here on, leases are taken by machines of which nothing is known."""
    monkeypatch.setattr(
        module,
        "identity",
        lambda: {"host": host, "machine": "", "pid": 1, "started": "1", "job": "", "start": "0"},
    )


def test_a_released_name_is_free_at_once(tmp_path: Path) -> None:
    first = take(tmp_path, silence_s=30)
    first.release()
    begun = time.monotonic()
    second = take(tmp_path, silence_s=30)
    assert second.number == first.number + 1
    assert time.monotonic() - begun < 5
    second.release()


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
    owner = take(tmp_path, silence_s=2)
    owner._ended.set()  # it hangs
    elsewhere(monkeypatch)
    begun = time.monotonic()
    second = take(tmp_path, silence_s=1)
    assert time.monotonic() - begun >= 2, "the owner's own setting counts, if it is longer"
    assert second.number == owner.number + 1
    owner._silence_s = 0.1
    owner._ended.clear()
    watcher = threading.Thread(target=owner._live, daemon=True)
    watcher.start()
    watcher.join(10)
    with pytest.raises(InputError, match="another job has taken this name over"):
        owner.check()
    second.release()
    owner.release()


def test_an_owner_of_this_machine_that_has_died_is_not_waited_for(tmp_path: Path) -> None:
    code = (
        "import logging, os, sys; from pathlib import Path\n"
        "from hpc_lstm.sync.folder_store import FolderStore\n"
        "from hpc_lstm.sync.lease import Lease\n"
        "Lease(FolderStore(Path(sys.argv[1])), 'run/', 'alpha', 300, logging.getLogger())\n"
        "os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parents[2], check=False)
    begun = time.monotonic()
    second = take(tmp_path, silence_s=300)
    assert second.number == 2
    assert time.monotonic() - begun < 30
    second.release()


def test_a_requeued_job_takes_its_name_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_machine", lambda: "")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    first = take(tmp_path, silence_s=300)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    second = take(tmp_path, silence_s=300)
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


def test_beats_do_not_pile_up(tmp_path: Path) -> None:
    lease = take(tmp_path, silence_s=0.2)
    time.sleep(1)
    lease.release()
    names = sorted(path.name for path in (tmp_path / "run" / "leases" / "alpha").iterdir())
    assert len(names) == 3
    assert names[0] == "000001.000000000"
    assert names[2] == "000001.released"
