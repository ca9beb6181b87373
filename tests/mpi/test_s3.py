"""Checkpoints of several ranks on S3, and going on from there with an empty disk."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from launcher import InTurn, launch
from small_job import final_states, write_config


def test_a_run_goes_on_from_the_bucket_alone(tmp_path: Path, bucket: Any) -> None:
    storage = f'[storage]\nurl = "s3://{bucket.name}/team/prices"\nendpoint_url = "{bucket.endpoint}"'
    config = write_config(tmp_path, more=storage)
    plain = write_config(tmp_path, "plain")
    command = ["train", str(config), "--run-dir", str(tmp_path / "run")]
    uninterrupted = ["train", str(plain), "--run-dir", str(tmp_path / "plain-run")]
    first = InTurn(2, tmp_path / "first", [uninterrupted, [*command, "--set", "train.epochs=1"]])
    assert [(done.returncode, done.stderr) for done in first.finish()] == [(0, "")] * 2
    assert not (tmp_path / "run" / "checkpoints").exists()
    shutil.rmtree(tmp_path / "run")  # the node and its disk are gone
    again, done = InTurn(2, tmp_path / "second", [command, [*command, "--resume"]]).finish()
    assert again.returncode == 2, "another run of that name must not be overwritten"
    assert "already holds checkpoints" in again.stderr
    assert done.returncode == 0, done.stderr
    assert "resuming from the checkpoint of step" in done.stdout

    listed = bucket.client.list_objects_v2(Bucket=bucket.name, Prefix="team/prices/run/")
    keys = [entry["Key"] for entry in listed["Contents"]]
    copy = tmp_path / "copy"
    for key in keys:
        path = copy / key.removeprefix("team/prices/run/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bucket.client.get_object(Bucket=bucket.name, Key=key)["Body"].read())
    for mine, uninterrupted in zip(final_states(copy), final_states(tmp_path / "plain-run"), strict=True):
        assert np.asarray(mine["weights"]).tobytes() == np.asarray(uninterrupted["weights"]).tobytes()
        assert mine["position/step"] == uninterrupted["position/step"]


def test_uploads_that_fail_stop_the_run_after_a_while(tmp_path: Path, bucket: Any) -> None:
    where = f'url = "s3://{bucket.name}/lost"\nendpoint_url = "{bucket.endpoint}"'
    storage = f"[storage]\n{where}\nmax_failures = 2\ntimeout_s = 20"
    config = write_config(tmp_path, more=storage, epochs=100_000)
    script = (
        "import sys\n"
        "from hpc_lstm.storage.s3 import S3Store\n"
        "from hpc_lstm import cli\n"
        "S3Store.put_new = lambda self, key, data: self._client.put_object(Bucket='gone', Key=key, Body=data)\n"
        "cli.main(sys.argv[1:])\n"
    )
    arguments = ["train", str(config), "--run-dir", str(tmp_path / "run")]
    done = launch(2, [sys.executable, "-c", script, *arguments])
    assert done.returncode == 2
    assert "checkpoints cannot be written" in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.strip()]) == 1
    assert "checkpoint not written" in (tmp_path / "run" / "log" / "rank-00001.log").read_text()
    assert "Contents" not in bucket.client.list_objects_v2(Bucket=bucket.name, Prefix="lost/run/")
