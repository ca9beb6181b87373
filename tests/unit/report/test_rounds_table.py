"""What `hpc-lstm rounds` and `hpc-lstm checkpoints` say of a store, and what they delete."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from hpc_lstm.clusters import documents
from hpc_lstm.clusters.adopting import RoundUpdate
from hpc_lstm.clusters.options import SyncOptions
from hpc_lstm.clusters.rounds import Rounds
from hpc_lstm.clusters.runner import Runner
from hpc_lstm.clusters.steps import Steps
from hpc_lstm.errors import InputError
from hpc_lstm.report.rounds_table import checkpoints_table, rounds_table, storage_at, stored_rounds
from hpc_lstm.storage.folder import FolderStore
from hpc_lstm.storage.signing import Signer

LOG = logging.getLogger("test")
LENGTH = 100
T = TypeVar("T")


class Member:
    """One cluster of a run in a folder."""

    def __init__(self, folder: Path, name: str, signer: Signer | None = None) -> None:
        self.store = FolderStore(folder)
        self.store.put_new(f"prices/leases/{name}/000001.000000000", b"{}")
        self.rounds = Rounds(SyncOptions(cluster=name, expected=2, keep=10), signer or Signer())
        self.samples = 0
        self.start(self.rounds.join(np.zeros(LENGTH, np.float32), {}, "0" * 64)).result()

    def start(self, steps: Steps[T]) -> Runner[T]:
        return Runner(steps, self.store, "prices/", LOG, 1)

    def synchronize(self, final: bool = False) -> Runner[RoundUpdate]:
        self.samples += 50
        weights = self.rounds.state.base + np.float32(1)
        return self.start(self.rounds.synchronize(weights, self.samples, final))


def test_rounds_are_told_and_collected_without_harm(tmp_path: Path) -> None:
    alpha, beta = Member(tmp_path, "alpha"), Member(tmp_path, "beta")
    for _ in range(3):
        for runner in (alpha.synchronize(), beta.synchronize()):
            runner.result()
    storage = storage_at(f"file://{tmp_path}", "")
    told = rounds_table(storage)
    assert "run prices: 3 rounds closed" in told
    assert "round 3: windows of alpha 50, beta 50; 300 so far" in told
    assert "round 4: alpha, beta training" in told
    waiting = alpha.synchronize(final=True)
    while not any(key.endswith("alpha.json") for key, _ in alpha.store.list("prices/rounds/000004/")):
        pass
    assert "round 4: alpha waiting for beta" in rounds_table(storage, "prices", gc=True)
    kept = {key.split("/")[2] for key, _ in alpha.store.list("prices/payloads/")}
    assert kept == {"000000", "000003", "000004"}, "what is still read stays"
    beta.synchronize(final=True).result()
    waiting.result()
    assert "finished: alpha, beta" in rounds_table(storage)
    newcomer = Member(tmp_path, "gamma")
    assert newcomer.rounds.state.base.tobytes() == alpha.rounds.state.base.tobytes()


def test_a_cluster_whose_job_has_ended_is_not_shown_as_training(tmp_path: Path) -> None:
    """Whoever is refused, for another key or setting, has had a lease, and has released it."""
    alpha, beta = Member(tmp_path, "alpha"), Member(tmp_path, "beta")
    for runner in (alpha.synchronize(), beta.synchronize()):
        runner.result()
    for name in ("refused", "stopped", "again"):
        alpha.store.put_new(f"prices/leases/{name}/000001.000000000", b"{}")
        alpha.store.put_new(f"prices/leases/{name}/000001.released", b"{}")
    alpha.store.put_new("prices/checkpoints/stopped/000000050/checkpoint.json", b"{}")
    alpha.store.put_new("prices/leases/again/000002.000000000", b"{}")
    alpha.store.put_new("prices/leases/beta/000001.released", b"{}")
    alpha.store.put_new("prices/leases/foreign/9999999999999.000000000", b"{}")
    storage = storage_at(f"file://{tmp_path}", "")
    told = rounds_table(storage)
    assert "round 2: again, alpha training\n" in told
    assert "stopped, to be continued with --resume: beta, stopped\n" in told
    assert told.endswith("ended without taking part; the output of their jobs says why: refused")
    assert "cluster foreign: " in told
    assert "was put there by somebody else; delete it" in told
    (found,) = stored_rounds(storage)
    assert found.open == {"round": 2, "waiting": [], "missing": ["again", "alpha"]}
    assert (found.stopped, found.without_part) == (["beta", "stopped"], ["refused"])


def test_a_cluster_that_was_stopped_after_its_contribution_does_not_wait(tmp_path: Path) -> None:
    alpha, beta = Member(tmp_path, "alpha"), Member(tmp_path, "beta")
    waiting = alpha.synchronize()
    while not any(key.endswith("alpha.json") for key, _ in alpha.store.list("prices/rounds/000001/")):
        pass
    alpha.store.put_new("prices/leases/alpha/000001.released", b"{}")
    told = rounds_table(storage_at(f"file://{tmp_path}", ""))
    assert "round 1: beta training\n  stopped, to be continued with --resume: alpha" in told
    beta.synchronize().result()
    waiting.result()


def test_a_round_that_was_tampered_with_is_told(tmp_path: Path) -> None:
    alpha, beta = Member(tmp_path, "alpha"), Member(tmp_path, "beta")
    for runner in (alpha.synchronize(), beta.synchronize()):
        runner.result()
    path = tmp_path / "prices" / documents.result_key(1)
    path.write_text("{}")
    assert "round 1: is damaged" in rounds_table(storage_at(f"file://{tmp_path}", ""))


def test_a_cluster_that_ended_with_another_result_is_told(tmp_path: Path) -> None:
    alpha, beta = Member(tmp_path, "alpha"), Member(tmp_path, "beta")
    for runner in (alpha.synchronize(final=True), beta.synchronize(final=True)):
        runner.result()
    alpha.start(alpha.rounds.finish()).result()
    storage = storage_at(f"file://{tmp_path}", "")
    assert "  ended: alpha with round 1" in rounds_table(storage).splitlines()
    beta.start(beta.rounds.finish()).result()
    told = rounds_table(storage)
    assert "  ended: alpha with round 1, beta with round 1" in told.splitlines()
    assert "another result" not in told
    other = documents.RunEnd(round=1, cluster="beta", result="0" * 64)
    key = documents.end_key(1, "beta")
    (tmp_path / "prices" / key).write_bytes(documents.encode_document(other, key, Signer()))
    told = rounds_table(storage)
    assert f"{key}: cluster beta has ended with another result of round 1 than the store has" in told
    (found,) = stored_rounds(storage)
    assert found.ended == {"alpha": 1, "beta": 1}
    assert len(found.problems) == 1


def test_whatever_lies_there_is_told_as_plain_text(tmp_path: Path) -> None:
    alpha, beta = Member(tmp_path, "alpha"), Member(tmp_path, "beta")
    for runner in (alpha.synchronize(), beta.synchronize()):
        runner.result()
    alpha.store.put_new("prices/leases/\x1b[2J/000001.000000000", b"{}")
    alpha.store.put_new(f"prices/{documents.contribution_key(2, 'gamma')}", bytes(1 << 15))
    alpha.store.put_new("prices/rounds/0000001/merged.json", b"{}")
    alpha.store.put_new("prices/checkpoints/\x1b[2J/000000001/checkpoint.json", b'{"format": "\x1b[2J"}')
    storage = storage_at(f"file://{tmp_path}", "")
    told = rounds_table(storage)
    assert "1 rounds closed" in told
    assert "rounds/000002/contributions/gamma.json: " in told
    for text in (told, checkpoints_table(storage)):
        assert text.replace("\n", "").isprintable()


def test_what_killed_clusters_left_unfinished_is_collected(tmp_path: Path) -> None:
    alpha, beta = Member(tmp_path, "alpha"), Member(tmp_path, "beta")
    for _ in range(2):
        for runner in (alpha.synchronize(), beta.synchronize()):
            runner.result()
    left = [tmp_path / "prices" / "payloads" / number / ".writing-x" for number in ("000001", "000002")]
    for path in left:
        path.write_bytes(b"half a vector")
    rounds_table(storage_at(f"file://{tmp_path}", ""), gc=True)
    assert [path.exists() for path in left] == [False, True], "somebody may be at it still"


def test_collecting_goes_by_rounds_that_follow_on_each_other_not_by_names(tmp_path: Path) -> None:
    alpha, beta = Member(tmp_path, "alpha"), Member(tmp_path, "beta")
    for _ in range(2):
        for runner in (alpha.synchronize(), beta.synchronize()):
            runner.result()
    newest = (tmp_path / "prices" / documents.result_key(2)).read_bytes()
    alpha.store.put_new(f"prices/{documents.result_key(999_999)}", newest)
    notes = tmp_path / "prices" / "payloads" / "000001" / "notes.txt"
    notes.write_text("not ours")
    told = rounds_table(storage_at(f"file://{tmp_path}", ""), gc=True)
    assert "of rounds before 2" in told
    assert {key.split("/")[2] for key, _ in alpha.store.list("prices/payloads/")} == {
        *("000000", "000001", "000002")
    }
    assert notes.exists()


def test_a_signed_run_is_shown_but_nothing_of_it_deleted_without_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "a key that all clusters share"
    members = [Member(tmp_path, name, Signer(key.encode(), "prices")) for name in ("alpha", "beta")]
    for _ in range(3):
        for runner in [member.synchronize() for member in members]:
            runner.result()
    storage, before = storage_at(f"file://{tmp_path}", ""), FolderStore(tmp_path).list("")
    monkeypatch.delenv("HPC_LSTM_SYNC_KEY", raising=False)
    told = rounds_table(storage, gc=True)
    assert "round 3: windows of alpha 50, beta 50" in told
    assert "nothing deleted: the run is signed; set HPC_LSTM_SYNC_KEY" in told
    assert FolderStore(tmp_path).list("") == before
    monkeypatch.setenv("HPC_LSTM_SYNC_KEY", key[::-1])
    assert "nothing deleted: run.json is not valid" in rounds_table(storage, gc=True)
    monkeypatch.setenv("HPC_LSTM_SYNC_KEY", key)
    told = rounds_table(storage, gc=True)
    assert "round 3: windows of alpha 50, beta 50" in told
    assert "of rounds before 3" in told


def test_the_checkpoints_of_a_run_are_found_in_its_own_folder(tmp_path: Path) -> None:
    alpha = Member(tmp_path, "alpha")
    alpha.store.put_new("prices/checkpoints/main/000000001/checkpoint.json", b"{}")
    whole = checkpoints_table(storage_at(f"file://{tmp_path}", ""), "prices")
    assert whole.startswith("prices  main  step 1")
    assert checkpoints_table(storage_at(f"file://{tmp_path}/prices", "")) == whole
    assert checkpoints_table(storage_at(f"{tmp_path}/prices/", "")) == whole


def test_nothing_there_is_said(tmp_path: Path) -> None:
    storage = storage_at(f"file://{tmp_path}", "")
    with pytest.raises(InputError, match="no run that clusters share"):
        rounds_table(storage)
    with pytest.raises(InputError, match='no checkpoints of a run named "prices"'):
        checkpoints_table(storage, "prices")
    (tmp_path / "checkpoints" / "main").mkdir(parents=True)
    (tmp_path / "checkpoints" / "main" / "notes").touch()
    with pytest.raises(InputError, match=f'no checkpoints of a run named "{tmp_path.name}"'):
        checkpoints_table(storage)
    with pytest.raises(InputError, match=r'URL: storage\.url: must start with "file://" or "s3://"'):
        storage_at("ftp://x", "")
    with pytest.raises(InputError, match="URL: must not be empty"):
        storage_at("", "")
