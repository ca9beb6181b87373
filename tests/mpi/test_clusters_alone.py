"""One cluster without the others: it waits for them, is refused, finds what is forged or lost, and tells no secret."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from cluster_jobs import cluster, metrics, weights, words
from launcher import InTurn, kill, launch, launch_waiting, start, wait_until
from s3_bucket import SECRET_KEY, Bucket

from hpc_lstm.clusters import documents
from hpc_lstm.config import StorageConfig
from hpc_lstm.storage.stores import open_store

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SIGNING_KEY = "planted-signing-key-0123456789abcdef"


def test_a_cluster_that_never_comes_holds_nobody_up_beyond_the_deadline(tmp_path: Path) -> None:
    storage = f'url = "file://{tmp_path}/shared"'
    command = cluster(tmp_path, "alpha", storage, sync="deadline_s = 0.2\nquorum = 1", epochs=1)
    done = launch_waiting(2, command)
    assert done.returncode == 0, done.stderr
    assert metrics(tmp_path, "alpha")["sync"]["clusters_missing"] == 1
    assert "1 of 2 clusters had not finished" in done.stdout


def test_a_name_that_is_taken_is_refused_while_its_owner_lives(tmp_path: Path) -> None:
    storage = f'url = "file://{tmp_path}/shared"'
    owner = start(1, cluster(tmp_path, "alpha", storage, sync="lease_s = 8"))
    try:
        wait_until((tmp_path / "shared" / "prices" / "rounds" / "000001").exists, owner)
        command = cluster(tmp_path, "alpha", storage, sync="lease_s = 4")
        command[-1] += "-second"
        second = launch_waiting(1, [*command, "--resume"])
    finally:
        kill(owner)
        owner.communicate()
    assert second.returncode == 2
    assert 'sync.cluster = "alpha": a job on ' in second.stderr
    assert len(second.stderr.strip().splitlines()) == 1


def test_another_network_is_refused_by_the_key_that_differs(tmp_path: Path) -> None:
    storage = f'url = "file://{tmp_path}/shared"'
    sync = "deadline_s = 0.1\nquorum = 1"
    first = launch_waiting(1, cluster(tmp_path, "alpha", storage, sync=sync, epochs=1))
    assert first.returncode == 0, first.stderr
    second = launch_waiting(2, [*cluster(tmp_path, "beta", storage, sync=sync), "--set", "model.units=6"])
    assert second.returncode == 2
    assert second.stderr.strip() == (
        "hpc-lstm: error: model.units: is 6 here and 5 in the run that the clusters share; use the same value, or "
        "another sync.run"
    )
    assert not (tmp_path / "run-beta").exists(), "a start that came to nothing leaves nothing"
    assert (tmp_path / "shared" / "prices" / "leases" / "beta" / "000001.released").exists()


def test_no_secret_is_in_any_artefact(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPC_LSTM_SYNC_KEY", SIGNING_KEY)
    storage = f'url = "s3://{bucket.name}/team"\nendpoint_url = "{bucket.endpoint}"'
    command = cluster(tmp_path, "alpha", storage, sync="deadline_s = 0.1\nquorum = 1", epochs=1)
    done = launch_waiting(2, command)
    assert done.returncode == 0, done.stderr
    said = [done.stdout.encode(), done.stderr.encode()]
    monkeypatch.setenv("HPC_LSTM_SYNC_KEY", SIGNING_KEY[::-1])
    command[-1] += "-other"
    other = launch_waiting(1, [*command, "--set", "sync.cluster=beta"])
    assert other.returncode == 2
    assert "run.json: is not signed with the key in HPC_LSTM_SYNC_KEY" in other.stderr
    said += [other.stdout.encode(), other.stderr.encode()]
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    listed = bucket.client.list_objects_v2(Bucket=bucket.name)["Contents"]
    objects = [
        bucket.client.get_object(Bucket=bucket.name, Key=entry["Key"])["Body"].read() for entry in listed
    ]
    assert any(b'"signature"' in data for data in objects)
    for data in [*said, *files, *objects]:
        for secret in (SECRET_KEY, SIGNING_KEY, SIGNING_KEY[::-1]):
            assert secret.encode() not in data


def test_without_the_key_nobody_moves_the_weights_by_a_checkpoint(
    tmp_path: Path, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    attack_by_checkpoint(tmp_path, storage, monkeypatch)


def attack_by_checkpoint(tmp_path: Path, storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that comes back finds a newer checkpoint of other weights, whole in itself, where its own lie."""
    from forged_checkpoint import forge_checkpoint

    store = open_store(StorageConfig(**tomllib.loads(storage)), Path())
    monkeypatch.setenv("HPC_LSTM_SYNC_KEY", SIGNING_KEY)
    command = cluster(tmp_path, "alpha", storage, sync="deadline_s = 0.1\nquorum = 1", epochs=1)
    first = launch_waiting(1, command)
    assert first.returncode == 0, first.stderr
    assert "signed with the key in HPC_LSTM_SYNC_KEY" in first.stdout
    forge_checkpoint(store, "prices/checkpoints/alpha", 900_000_000)
    before, objects = weights(tmp_path, "alpha"), store.list("")

    more = [*command, "--set", "train.epochs=2", "--resume"]
    second = launch_waiting(1, more)
    assert second.returncode == 2, second.stdout
    assert len(second.stderr.strip().splitlines()) == 1
    assert "/900000000/checkpoint.json: is not signed with the key" in second.stderr
    assert weights(tmp_path, "alpha").tobytes() == before.tobytes()
    left = [key for key, _ in store.list("") if not key.startswith("prices/leases/")]
    assert left == [key for key, _ in objects if not key.startswith("prices/leases/")]

    for key, _ in store.list("prices/checkpoints/alpha/900000000/"):
        store.delete(key)
    monkeypatch.delenv("HPC_LSTM_SYNC_KEY")
    with_key = [f"HPC_LSTM_SYNC_KEY={SIGNING_KEY}", *words(more)]
    without, third = InTurn(1, tmp_path / "said", [words(more), with_key]).finish()
    assert without.returncode == 2, without.stdout
    assert "is signed; set HPC_LSTM_SYNC_KEY to the key of this run" in without.stderr
    assert third.returncode == 0, third.stderr


def test_a_round_that_is_lost_ends_all_ranks_in_one_line_with_a_checkpoint(tmp_path: Path) -> None:
    storage = f'url = "file://{tmp_path}/shared"'
    sync = "deadline_s = 0.1\nquorum = 1\nevery = 1"
    train = cluster(tmp_path, "alpha", storage, sync=sync, checkpoint_every=100_000)
    options = train[train.index("train") + 1 :]
    script = str(Path(__file__).with_name("lose_a_round.py"))
    shared = tmp_path / "shared" / "prices"
    done = launch(2, [sys.executable, script, str(shared), *options])
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith(f"hpc-lstm: error: payloads/000002/{'0' * 64}: the weights of round 2")
    assert len(done.stderr.strip().splitlines()) == 1
    assert list((shared / "checkpoints" / "alpha").glob("*/checkpoint.json"))
    assert (shared / "leases" / "alpha" / "000001.released").exists()
    (shared / documents.result_key(2)).unlink()  # whoever cleans up so lets the round be made anew
    again = launch_waiting(2, [*train, "--resume"])
    assert again.returncode == 0, again.stderr
    assert "resuming from the checkpoint of step" in again.stdout
