"""The object store, checkpoints and rounds on a real Ceph S3 server."""

from __future__ import annotations

import json
import re
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cluster_jobs import cluster, finish, metrics, same_model
from conftest import Ceph
from launcher import InTurn, kill, launch, program, start, wait_until
from small_job import write_config
from test_clusters_alone import attack_by_checkpoint

from hpc_lstm.errors import StorageError
from hpc_lstm.storage.objects import NotFoundError, TooLargeError
from hpc_lstm.storage.s3 import S3Store

ROOT = Path(__file__).resolve().parents[2]


def store(ceph: Ceph, bucket: str, prefix: str = "team", timeout_s: float = 60) -> S3Store:
    return S3Store(bucket, prefix, ceph.endpoint, "", timeout_s)


def test_objects_are_put_once_read_listed_and_deleted(ceph: Ceph, ceph_bucket: str) -> None:
    objects = store(ceph, ceph_bucket)
    objects.check()
    data = bytes(range(256)) * 40_000
    assert objects.put_new("a/b", data)
    assert not objects.put_new("a/b", b"other")
    assert objects.get("a/b", len(data)) == data
    with pytest.raises(TooLargeError):
        objects.get("a/b", len(data) - 1)
    with pytest.raises(NotFoundError):
        objects.get("a/c")
    for number in range(1005):  # more than one page
        objects.put_new(f"many/{number:05d}", b"x")
    assert [key for key, _ in objects.list("many/")] == [f"many/{number:05d}" for number in range(1005)]
    objects.delete("a/b")
    assert objects.list("a/") == []


def test_large_vectors_go_and_come_in_parts(ceph: Ceph, ceph_bucket: str, owner: tuple[str, str]) -> None:
    data = np.random.default_rng(0).bytes(41_000_001)
    objects = store(ceph, ceph_bucket)
    objects.put("payloads/000001/x", data)
    objects.put("payloads/000001/x", data)  # by another cluster
    assert objects.get("payloads/000001/x", len(data)) == data
    with pytest.raises(TooLargeError):
        objects.get("payloads/000001/x", len(data) - 1)
    head = ceph.client(*owner).head_object(Bucket=ceph_bucket, Key="team/payloads/000001/x")
    assert head["ETag"].strip('"').endswith("-5"), "in five parts"


def test_of_eight_racing_writers_one_wins(ceph: Ceph, ceph_bucket: str) -> None:
    writers = [store(ceph, ceph_bucket) for _ in range(8)]
    for turn in range(5):
        barrier, won = threading.Barrier(8), []

        def write(number: int, key: str, barrier: threading.Barrier, won: list[int]) -> None:
            barrier.wait()
            if writers[number].put_new(key, str(number).encode()):
                won.append(number)

        threads = [
            threading.Thread(target=write, args=(number, f"race/{turn}", barrier, won)) for number in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert writers[0].get(f"race/{turn}") == str(won[0]).encode()


def test_a_wrong_secret_gives_one_line_without_it(
    ceph: Ceph, ceph_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret-of-this-user")
    with pytest.raises(StorageError, match="access refused") as caught:
        store(ceph, ceph_bucket).check()
    assert "not-the-secret" not in str(caught.value)


def test_a_run_goes_on_from_the_bucket_alone(tmp_path: Path, ceph: Ceph, ceph_bucket: str) -> None:
    config = write_config(
        tmp_path, more=f'[storage]\nurl = "s3://{ceph_bucket}/team"\nendpoint_url = "{ceph.endpoint}"'
    )
    command = program("train", str(config), "--run-dir", str(tmp_path / "run"))
    first = launch(2, [*command, "--set", "train.epochs=1"])
    assert first.returncode == 0, first.stderr
    shutil.rmtree(tmp_path / "run")
    done = launch(2, [*command, "--resume"])
    assert done.returncode == 0, done.stderr
    assert "resuming from the checkpoint of step" in done.stdout


@pytest.mark.parametrize("sync", ["", 'outer = "nesterov"\npayload = "bfloat16"'])
def test_two_clusters_of_which_one_is_killed_end_with_one_model(
    tmp_path: Path, ceph: Ceph, ceph_bucket: str, sync: str
) -> None:
    storage = f'url = "s3://{ceph_bucket}/team"\nendpoint_url = "{ceph.endpoint}"'
    commands = [
        cluster(
            *(tmp_path, name, storage, shard, f"every = 4\n{sync}"),
            epochs=8,
            checkpoint_every=10,
        )
        for name, shard in (("alpha", "1/2"), ("beta", "2/2"))
    ]
    alpha, beta = (start(2, command) for command in commands)
    log = tmp_path / "run-beta" / "log" / "rank-00000.log"
    wait_until(lambda: log.exists() and "round 2 has closed" in log.read_text(), beta)
    kill(beta)
    beta.communicate()
    ended = finish(alpha, start(2, [*commands[1], "--resume"]))
    assert [code for code, _, _ in ended] == [0, 0], ended
    assert same_model(tmp_path)
    said = [metrics(tmp_path, name)["sync"] for name in ("alpha", "beta")]
    assert said[0]["round"] == said[1]["round"] >= 3
    assert min(one["bytes_put"] for one in said) > 0
    where = [f"s3://{ceph_bucket}/team", "--endpoint-url", ceph.endpoint]
    listed, found = InTurn(0, tmp_path / "said", [["rounds", *where], ["checkpoints", *where]]).finish()
    assert "finished: alpha, beta" in listed.stdout, listed.stderr
    assert "prices  alpha" in found.stdout
    assert "prices  beta" in found.stdout


def test_without_the_key_nobody_moves_the_weights_by_a_checkpoint(
    tmp_path: Path, ceph: Ceph, ceph_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = f'url = "s3://{ceph_bucket}/team"\nendpoint_url = "{ceph.endpoint}"'
    attack_by_checkpoint(tmp_path, storage, monkeypatch)


def policies() -> list[dict[str, Any]]:
    """The policies in docs/security.md."""
    text = (ROOT / "docs" / "security.md").read_text()
    return [json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]


def test_the_least_privilege_of_the_documentation_is_enough_and_no_more(
    tmp_path: Path, ceph: Ceph, owner: tuple[str, str], ceph_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a bucket policy for a user who owns nothing."""
    admin = ceph.client(*owner)
    (policy,) = policies()
    text = json.dumps(policy).replace("BUCKET", ceph_bucket).replace("PREFIX", "team")
    access, secret = ceph.user()
    granted = json.loads(text)
    for statement in granted["Statement"]:
        statement["Principal"] = {"AWS": [f"arn:aws:iam:::user/{access}"]}
        resource = statement["Resource"]
        statement["Resource"] = [resource]
    admin.put_bucket_policy(Bucket=ceph_bucket, Policy=json.dumps(granted))
    admin.put_object(Bucket=ceph_bucket, Key="others/secret", Body=b"theirs")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", access)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)

    storage = f'url = "s3://{ceph_bucket}/team"\nendpoint_url = "{ceph.endpoint}"'
    command = cluster(tmp_path, "alpha", storage, sync="deadline_s = 0.1\nquorum = 1", epochs=2)
    done = launch(2, command)
    assert done.returncode == 0, done.stderr
    again = launch(2, [*command, "--resume", "--set", "train.epochs=3"])
    assert again.returncode == 0, again.stderr

    from botocore.exceptions import ClientError

    outsider = ceph.client(access, secret)
    for forbidden in (
        lambda: outsider.list_objects_v2(Bucket=ceph_bucket),
        lambda: outsider.list_objects_v2(Bucket=ceph_bucket, Prefix="others/"),
        lambda: outsider.get_object(Bucket=ceph_bucket, Key="others/secret"),
        lambda: outsider.put_object(Bucket=ceph_bucket, Key="others/mine", Body=b"x"),
        lambda: outsider.delete_object(Bucket=ceph_bucket, Key="others/secret"),
        lambda: outsider.put_bucket_policy(Bucket=ceph_bucket, Policy="{}"),
    ):
        with pytest.raises(ClientError) as caught:
            forbidden()
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    with pytest.raises(StorageError, match="access refused"):
        store(ceph, ceph_bucket, "others").check()
