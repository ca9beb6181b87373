"""What tests of all kinds share: one process that inspects HDF5 files, and a server that speaks S3."""

from __future__ import annotations

import gc
import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import blas_threads  # before all that imports NumPy
import pytest
from aws_models import share_service_models
from inspector import Inspector
from s3_bucket import SECRET_KEY, Bucket

from hpc_lstm.hdf5 import reading

__all__ = ["blas_threads"]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collect tests without looking for garbage: nearly all that is made, in every process that runs tests, stays."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def inspect_alone() -> Iterator[Callable[..., Any]]:
    """HDF5 files are inspected by one process for all tests; the value is what starts a process for each."""
    alone, inspector = reading._inspect, Inspector(reading.CPU_S)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "_inspect", inspector)
        yield alone
    inspector.end()


@pytest.fixture(autouse=True)
def log_is_put_back() -> Iterator[None]:
    """What a test has the program log is not logged in the next one, too."""
    logger = logging.getLogger("hpc_lstm")
    level, handlers = logger.level, list(logger.handlers)
    yield
    logger.setLevel(level)
    logger.handlers[:] = handlers


@pytest.fixture(scope="session")
def service_models() -> Iterator[None]:
    """What boto3 finds out about services is found out once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        share_service_models(patch.setattr)
        yield


@pytest.fixture(scope="session")
def s3_server(service_models: None) -> Iterator[str]:
    """The address of a moto server on this machine."""
    from moto import backends
    from moto.server import ThreadedMotoServer

    services = list(backends.list_of_moto_modules())
    with pytest.MonkeyPatch.context() as patch:
        # It would look for folders at every request.
        patch.setattr(backends, "list_of_moto_modules", lambda: services)
        yield from serve_s3(ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False))


def serve_s3(server: Any) -> Iterator[str]:
    """Start a moto server, and stop it at the end."""
    server.start()
    # S3 decides conditional writes in one step; moto looks first and then writes.
    server._server.app = one_at_a_time(server._server.app)
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def take_credentials(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Credentials that any moto server takes, and none of this machine's own."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        patch.delenv(name, raising=False)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "no-credentials"),
        "AWS_CONFIG_FILE": str(folder / "no-config"),
        "NO_PROXY": "127.0.0.1",
    }.items():
        patch.setenv(name, value)


def create_bucket(server: str, client: Any) -> Bucket:
    """A new bucket."""
    name = f"test-{uuid.uuid4().hex}"
    client.create_bucket(Bucket=name)
    return Bucket(name, server, client)


@pytest.fixture
def s3_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Credentials for one test."""
    take_credentials(monkeypatch, tmp_path)


@pytest.fixture(scope="session")
def s3_client(s3_server: str) -> Any:
    """A client of that server; to make one for each test takes longer than most tests."""
    import boto3
    from botocore.config import Config

    session = boto3.session.Session("testing", SECRET_KEY, region_name="us-east-1")
    return session.client("s3", endpoint_url=s3_server, config=Config(proxies={}))


@pytest.fixture
def bucket(s3_server: str, s3_client: Any, s3_credentials: None) -> Bucket:
    """A bucket of its own for each test."""
    return create_bucket(s3_server, s3_client)


@pytest.fixture(scope="module")
def shared_bucket(
    s3_server: str, s3_client: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bucket]:
    """A bucket that the tests of a module share."""
    with pytest.MonkeyPatch.context() as patch:
        take_credentials(patch, tmp_path_factory.mktemp("credentials"))
        yield create_bucket(s3_server, s3_client)


def one_at_a_time(application: Callable[..., Any]) -> Callable[..., Any]:
    """A WSGI application that takes one request after the other."""
    lock = threading.Lock()

    def call(environ: Any, start_response: Any) -> Any:
        with lock:
            return application(environ, start_response)

    return call
