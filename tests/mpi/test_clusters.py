"""Two jobs of two ranks each that share nothing but an object store."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from launcher import InTurn, finish_all, kill, launch, launch_waiting, program, ranks_of, start, wait_until
from s3_bucket import SECRET_KEY, Bucket
from small_job import write_config, write_store

from hpc_lstm.clusters import documents
from hpc_lstm.config import StorageConfig
from hpc_lstm.storage.stores import open_store

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SHARDS = (("alpha", "1/2"), ("beta", "2/2"))
SIGNING_KEY = "planted-signing-key-0123456789abcdef"


@pytest.fixture(params=["folder", "bucket"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return f'url = "file://{tmp_path}/shared"'
    bucket = request.getfixturevalue("bucket")
    return f'url = "s3://{bucket.name}/team"\nendpoint_url = "{bucket.endpoint}"'


def cluster(
    folder: Path,
    name: str,
    storage: str,
    shard: str = "",
    sync: str = "",
    run: str = 'run = "prices"',
    **settings: Any,
) -> list[str]:
    """The command of one cluster, with a run directory of its own."""
    more = f'[storage]\n{storage}\n[sync]\ncluster = "{name}"\n{run}\nexpected = 2\n{sync}'
    store = folder / "market.h5"
    if not store.exists():
        write_store(store, [150, 90, 120, 100])
    config = write_config(folder, name, store=store, more=more, **{"checkpoint_every": 20, **settings})
    extra = ["--set", f"data.shard={shard}"] if shard else []
    return program("train", str(config), *extra, "--run-dir", str(folder / f"run-{name}"))


def words(command: list[str]) -> list[str]:
    """What comes after ``hpc-lstm``, for ``InTurn``."""
    return command[len(program()) :]


def finish(*processes: subprocess.Popen[str]) -> list[tuple[int, str, str]]:
    ended = []
    for process in processes:
        try:
            out, err = process.communicate(timeout=150)
        except subprocess.TimeoutExpired:
            for one in processes:
                kill(one)
            told = [(*one.communicate(), one.returncode) for one in processes[len(ended) :]]
            raise AssertionError(f"hung\n{ended}\n{told}") from None
        ended.append((process.returncode, out, err))
    return ended


def together(folder: Path, ranks: int, *commands: list[str]) -> list[subprocess.CompletedProcess[str]]:
    """What clusters that begin at the same time came to, on ranks that may have waited for them."""
    folder.mkdir()
    launches = [
        InTurn(ranks, folder / str(number), [words(command)]) for number, command in enumerate(commands)
    ]
    return [done for (done,) in finish_all(launches)]


def weights(folder: Path, name: str) -> np.ndarray:
    """Of model.keras, without TensorFlow in this process."""
    import io
    import zipfile

    import h5py

    found = []
    with zipfile.ZipFile(folder / f"run-{name}" / "model.keras") as archive:
        data = archive.read("model.weights.h5")
    with h5py.File(io.BytesIO(data), "r") as file:
        file.visititems(
            lambda _, item: found.append(np.ravel(item[()])) if isinstance(item, h5py.Dataset) else None
        )
    return np.concatenate(found)


def metrics(folder: Path, name: str) -> dict[str, Any]:
    return json.loads((folder / f"run-{name}" / "metrics.json").read_text())


def same_model(folder: Path) -> bool:
    return weights(folder, "alpha").tobytes() == weights(folder, "beta").tobytes()


WAYS = {
    "average": "",
    "nesterov-bfloat16": 'outer = "nesterov"\npayload = "bfloat16"',
    "overlap": "overlap = true",
}


@pytest.fixture(scope="module", params=["folder", "bucket"])
def met(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, str]]:
    """Two clusters of two ranks have met in all ``WAYS``, one after the other.

    Returns:
        A folder that has one for each way, and what ``timing`` says of each.
    """
    folder = tmp_path_factory.mktemp("met")
    if request.param == "folder":
        storage = f'url = "file://{folder}/shared"'
    else:
        bucket = request.getfixturevalue("shared_bucket")
        storage = f'url = "s3://{bucket.name}/team"\nendpoint_url = "{bucket.endpoint}"'
    for way in WAYS:
        (folder / way).mkdir()
    clusters = []
    for name, shard in SHARDS:
        runs = (
            cluster(folder / way, name, storage, shard, WAYS[way], f'run = "{way}"', epochs=2) for way in WAYS
        )
        clusters.append(InTurn(2, folder / name, [words(command) for command in runs]))
    asked = [
        [
            *("timing", str(folder / way / "run-alpha"), str(folder / way / "run-beta")),
            *("--trace", str(folder / way / "trace.json")),
        ]
        for way in WAYS
    ]
    trained = [done for ended in finish_all(clusters) for done in ended]
    assert [done.returncode for done in trained] == [0] * len(trained), trained
    timings = InTurn(1, folder / "timings", asked).finish()
    assert [done.returncode for done in timings] == [0] * len(timings), timings
    return folder, {way: timing.stdout for way, timing in zip(WAYS, timings, strict=True)}


@pytest.mark.parametrize("way", WAYS)
def test_two_clusters_end_with_one_model(met: tuple[Path, dict[str, str]], way: str) -> None:
    folder, timing = met[0] / way, met[1][way]
    assert same_model(folder)
    told = [metrics(folder, name)["sync"] for name in ("alpha", "beta")]
    assert told[0]["round"] == told[1]["round"] >= 1
    assert all(one["clusters_missing"] == 0 and one["bytes_put"] > 0 for one in told)
    # One machine, one clock: the limits set by the rounds must not shift it.
    assert re.search(
        r"beta is aligned with alpha by their wall clocks; according to \d+ rounds? in which both", timing
    )
    trace = json.loads((folder / "trace.json").read_text())
    names = {e["args"]["name"].split(" (")[0] for e in trace["traceEvents"] if e["name"] == "process_name"}
    assert names == {f"{name}: rank {rank}" for name in ("alpha", "beta") for rank in range(2)}


def test_clusters_with_nothing_but_the_url_in_common_end_with_one_model(tmp_path: Path) -> None:
    storage = f'url = "file://{tmp_path}/shared"'
    commands = [cluster(tmp_path, name, storage, shard, run="") for name, shard in SHARDS]
    ended = together(tmp_path / "said-both", 2, *commands)
    assert [done.returncode for done in ended] == [0, 0], ended
    assert same_model(tmp_path)
    assert [path.name for path in (tmp_path / "shared").iterdir()] == ["_shared"]
    (tmp_path / "run-alpha").rename(tmp_path / "kept")
    url = f"file://{tmp_path}/shared"
    asked = [["checkpoints", url], ["rounds", url, "--run", "_shared"], words(commands[0])]
    checkpoints, rounds, again = InTurn(1, tmp_path / "said", asked).finish()
    assert [line.split()[:2] for line in checkpoints.stdout.splitlines()][-1] == ["_shared", "beta"]
    assert "finished: alpha, beta" in rounds.stdout
    assert again.returncode == 2, "another run at the same URL must not follow on the first one"
    assert "_shared/checkpoints/alpha" in again.stderr
    assert "another sync.run or storage.url" in again.stderr


def test_clusters_that_met_under_the_name_of_their_directories_resume_there(tmp_path: Path) -> None:
    """As those of version 0.1 did, if all had run directories of the same name."""
    storage = f'url = "file://{tmp_path}/shared"'
    commands = []
    for name, shard in SHARDS:
        command = cluster(tmp_path, name, storage, shard, run="", epochs=8)
        commands.append([*command[:-1], str(tmp_path / name / "team")])
        (tmp_path / f"run-{name}").symlink_to(tmp_path / name / "team")
    both = [start(1, command) for command in commands]
    log = tmp_path / "beta" / "team" / "log" / "rank-00000.log"
    wait_until(lambda: log.exists() and "round 2 has closed" in log.read_text(), both[1])
    for process in both:
        for pid in ranks_of(process):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGUSR1)
    assert [code for code, _, _ in finish(*both)] == [75, 75]
    (tmp_path / "shared" / "_shared").rename(tmp_path / "shared" / "team")
    resumed = together(tmp_path / "said", 1, *([*command, "--resume"] for command in commands))
    assert [done.returncode for done in resumed] == [0, 0], resumed
    assert all("from the checkpoint of step" in done.stdout for done in resumed)
    assert same_model(tmp_path)
    assert [path.name for path in (tmp_path / "shared").iterdir()] == ["team"]


def test_a_killed_cluster_comes_back_and_both_end_with_one_model(tmp_path: Path, storage: str) -> None:
    commands = {
        name: cluster(
            *(tmp_path, name, storage),
            sync="deadline_s = 100\nevery = 4",
            epochs=5,
        )
        for name in ("alpha", "beta")
    }
    alpha = InTurn(2, tmp_path / "said-alpha", [words(commands["alpha"])])
    try:
        beta = start(2, commands["beta"])
        log = tmp_path / "run-beta" / "log" / "rank-00000.log"
        wait_until(lambda: log.exists() and "round 2 has closed" in log.read_text(), beta)
        kill(beta)
        beta.communicate()
        again = InTurn(2, tmp_path / "said-beta", [[*words(commands["beta"]), "--resume"]])
        ended = [done for (done,) in finish_all([alpha, again])]
    finally:
        alpha.kill()
    assert [done.returncode for done in ended] == [0, 0], ended
    assert same_model(tmp_path)


def test_a_cluster_that_never_comes_holds_nobody_up_beyond_the_deadline(tmp_path: Path) -> None:
    storage = f'url = "file://{tmp_path}/shared"'
    command = cluster(tmp_path, "alpha", storage, sync="deadline_s = 0.2\nquorum = 1", epochs=1)
    done = launch_waiting(2, command)
    assert done.returncode == 0, done.stderr
    assert metrics(tmp_path, "alpha")["sync"]["clusters_missing"] == 1
    assert "1 of 2 clusters had not finished" in done.stdout


def test_a_signal_while_waiting_for_others_stops_with_a_checkpoint(tmp_path: Path) -> None:
    storage = f'url = "file://{tmp_path}/shared"'
    command = cluster(tmp_path, "alpha", storage)
    waiting = start(2, command)
    brought = tmp_path / "shared" / "prices" / "rounds" / "000001" / "contributions" / "alpha.json"
    wait_until(brought.exists, waiting)
    time.sleep(0.5)
    for pid in ranks_of(waiting):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGUSR1)
    ((code, out, err),) = finish(waiting)
    assert code == 75, (out, err)
    both = together(tmp_path / "said", 2, [*command, "--resume"], cluster(tmp_path, "beta", storage))
    assert [done.returncode for done in both] == [0, 0], both
    assert same_model(tmp_path)


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
