"""A real Ceph S3 server and real Slurms for the tests in this folder; they need root on Debian, and fail without it."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from free_ports import free_ports
from slurm_cluster import Slurm

HERE = Path(__file__).resolve().parent
# What the tests of jobs on several ranks have, serves these as well.
sys.path.insert(0, str(HERE.parent / "mpi"))


@dataclass(frozen=True)
class Ceph:
    """A running gateway.

    Attributes:
        endpoint: its address.
        config: path of its ceph.conf.
    """

    endpoint: str
    config: str

    def user(self) -> tuple[str, str]:
        """Access key and secret key of a new user without any rights to others' buckets."""
        name, secret = f"user{secrets.token_hex(4)}", secrets.token_hex(16)
        command = ["radosgw-admin", "-c", self.config, "-n", "client.rgw", "user", "create", f"--uid={name}"]
        keys = [f"--display-name={name}", f"--access-key={name}", f"--secret-key={secret}"]
        done = subprocess.run([*command, *keys], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["user_id"] == name
        return name, secret

    def client(self, access: str, secret: str) -> Any:
        """A boto3 client."""
        import boto3

        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=access,
            aws_secret_access_key=secret,
            region_name="us-east-1",
        )


@pytest.fixture(scope="session")
def ceph(tmp_path_factory: pytest.TempPathFactory, service_models: None) -> Iterator[Ceph]:
    """Starts the server, and stops it."""
    root = tmp_path_factory.mktemp("ceph") / "root"
    script = str(HERE / "ceph_rgw.sh")
    port = free_ports(2)
    environment = os.environ | {
        "CEPH_ROOT": str(root),
        "CEPH_PORT": str(port),
        "CEPH_MON_PORT": str(port + 1),
    }
    done = subprocess.run(
        [script, "start"], env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr
    try:
        yield Ceph(done.stdout.split()[-1], str(root / "ceph.conf"))
    finally:
        subprocess.run([script, "stop"], env=environment, check=False, timeout=120)


@pytest.fixture
def owner(ceph: Ceph, s3_credentials: None, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """The user as whom this process and all that it starts speak to the server."""
    access, secret = ceph.user()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", access)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    return access, secret


@pytest.fixture
def ceph_bucket(ceph: Ceph, owner: tuple[str, str]) -> str:
    """A bucket of the owner's own."""
    name = f"test-{secrets.token_hex(6)}"
    ceph.client(*owner).create_bucket(Bucket=name)
    return name


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """A cluster of three nodes; starts it, and stops it with all that runs there."""
    with Slurm.running("alpha", tmp_path_factory.mktemp("slurm") / "alpha") as cluster:
        yield cluster


@pytest.fixture(scope="session")
def other_slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """Another one, which knows nothing of the first."""
    with Slurm.running("beta", tmp_path_factory.mktemp("slurm") / "beta") as cluster:
        yield cluster
