"""Two jobs that meet at a bucket behind a gateway at its worst: errors, lost answers, broken connections, delays."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from cluster_jobs import cluster, metrics, same_model, together
from faulty_proxy import Faults, faulty
from s3_bucket import Bucket

from hpc_lstm.storage.s3 import S3Store


def test_two_clusters_end_with_one_model_whatever_the_store_answers(tmp_path: Path, bucket: Bucket) -> None:
    faults = Faults(seed=1)
    with faulty(bucket.endpoint, faults) as endpoint:
        storage = f'url = "s3://{bucket.name}/team"\nendpoint_url = "{endpoint}"\ntimeout_s = 30'
        commands = [
            cluster(
                tmp_path, name, storage, shard, 'outer = "nesterov"\nevery = 2', epochs=3, checkpoint_every=5
            )
            for name, shard in (("alpha", "1/2"), ("beta", "2/2"))
        ]
        ended = together(tmp_path / "said", 2, *commands)
    assert [done.returncode for done in ended] == [0, 0], ended
    assert faults.kinds() == {"500", "503", "409", "cut before", "cut after", "late"}, "all kinds were met"
    assert same_model(tmp_path)
    told = [metrics(tmp_path, name)["sync"] for name in ("alpha", "beta")]
    assert told[0]["round"] == told[1]["round"] >= 4
    assert all(one["clusters_missing"] == 0 and one["samples_dropped"] == 0 for one in told)
    counted = read(bucket, f"rounds/{told[0]['round']:06d}/merged.json")["samples"]
    assert counted == sum(checkpoints(bucket, name) for name in ("alpha", "beta")), "each window once"


def test_objects_of_all_sizes_are_put_once_and_come_back(bucket: Bucket) -> None:
    faults = Faults(seed=0)
    with faulty(bucket.endpoint, faults) as endpoint:
        stores = [S3Store(bucket.name, "team", endpoint, "", 60) for _ in range(2)]
        for number in range(20):
            won = [store.put_new(f"once/{number}", b"%d" % who) for who, store in enumerate(stores)]
            assert won == [True, False]
            assert stores[1].get(f"once/{number}") == b"0"
        for size in (3, 17 << 20):
            data = os.urandom(size)
            for store in stores:
                store.put(f"payloads/{size}", data)
            assert stores[0].get(f"payloads/{size}", size) == data
        for key, _ in stores[0].list("once/"):
            stores[1].delete(key)
        assert len(stores[1].list("")) == 2
    assert len(faults.kinds()) > 3


def checkpoints(bucket: Bucket, name: str) -> int:
    """Windows that the newest checkpoint of a cluster tells of; all are looked at, and are whole."""
    listed = bucket.client.list_objects_v2(Bucket=bucket.name, Prefix=f"team/prices/checkpoints/{name}/")
    keys = [entry["Key"].removeprefix("team/prices/") for entry in listed["Contents"]]
    manifests = {key: read(bucket, key) for key in keys if key.endswith("/checkpoint.json")}
    assert len(manifests) > 1
    for key, manifest in manifests.items():
        for file in manifest["files"]:
            data = raw(bucket, f"{key.removesuffix('checkpoint.json')}{file['name']}")
            assert hashlib.sha256(data).hexdigest() == file["sha256"]
    return int(manifests[max(manifests)]["samples"])


def read(bucket: Bucket, key: str) -> dict[str, Any]:
    return json.loads(raw(bucket, key))


def raw(bucket: Bucket, key: str) -> bytes:
    return bucket.client.get_object(Bucket=bucket.name, Key=f"team/prices/{key}")["Body"].read()
