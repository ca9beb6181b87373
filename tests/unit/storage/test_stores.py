"""Which store ``[storage]`` means, and what is refused before anything is opened."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner

from hpc_lstm.cli import cli
from hpc_lstm.config import StorageConfig
from hpc_lstm.errors import ConfigError
from hpc_lstm.storage import stores
from hpc_lstm.storage.folder import FolderStore
from hpc_lstm.storage.stores import check_storage_config, open_store

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"url": "https://host/x"}, 'storage.url: must start with "file://" or "s3://", got "https://host/x"'),
    ({"url": "s3"}, 'storage.url: must start with "file://" or "s3://", got "s3"'),
    ({"url": "://x"}, 'storage.url: must start with "file://" or "s3://", got "://x"'),
    ({"url": "s3://"}, "storage.url: names no bucket"),
    ({"url": "s3:///"}, "storage.url: names no bucket"),
    ({"url": "file://folder"}, "storage.url: a folder must be absolute"),
    ({"endpoint_url": "http://host"}, "storage.endpoint_url: is for S3 only"),
    ({"url": "file:///x", "sse": "AES256"}, "storage.sse: is for S3 only"),
    ({"sse_kms_key": "alias/prices"}, "storage.sse_kms_key: is for S3 only"),
    ({"url": "s3://b", "endpoint_url": "host:9000"}, 'storage.endpoint_url: must start with "https://"'),
    ({"url": "s3://b", "sse_kms_key": "alias/prices"}, 'storage.sse_kms_key: is for sse = "aws:kms"'),
    (
        {"url": "s3://b", "sse": "AES256", "sse_kms_key": "k"},
        'storage.sse_kms_key: is for sse = "aws:kms"',
    ),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED)
def test_what_no_store_takes_is_refused_with_the_key(settings: dict[str, Any], message: str) -> None:
    config = StorageConfig(**settings)
    with pytest.raises(ConfigError) as caught:
        check_storage_config(config, "job.toml")
    assert str(caught.value).startswith(f"job.toml: {message}")
    assert caught.value.exit_code == 2
    with pytest.raises(ConfigError, match=r"^storage"):
        open_store(config, Path("elsewhere"))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"url": "file:///x"},
        {"url": "s3://b"},
        {"url": "s3://b/p", "endpoint_url": "http://h:9000", "sse": "aws:kms", "sse_kms_key": "k"},
    ],
)
def test_what_a_store_takes_passes(settings: dict[str, Any]) -> None:
    check_storage_config(StorageConfig(**settings), "job.toml")


@pytest.mark.parametrize("command", ["train", "doctor", "submit", "rounds", "checkpoints"])
def test_every_command_refuses_an_unknown_scheme_before_it_does_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("job.toml").write_text('[data]\nstore = "m.h5"\n[storage]\nurl = "gs://bucket/x"\n')
    arguments = {"rounds": ["gs://bucket/x"], "checkpoints": ["gs://bucket/x"]}.get(command, ["job.toml"])
    error = CliRunner().invoke(cli, [command, *arguments]).exception
    where = "URL" if "gs" in arguments[0] else "job.toml"
    assert isinstance(error, ConfigError)
    assert str(error) == (f'{where}: storage.url: must start with "file://" or "s3://", got "gs://bucket/x"')
    assert [path.name for path in tmp_path.iterdir()] == ["job.toml"]


def test_a_store_is_one_module_and_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("memory_store")

    def check_config(config: StorageConfig) -> None:
        if config.url == "memory://":
            raise ConfigError("storage.url: names no memory")

    module.check_config = check_config  # type: ignore[attr-defined]
    module.open_url = lambda config: FolderStore(tmp_path / config.url[9:])  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "memory_store", module)
    monkeypatch.setitem(stores.STORES, "memory", "memory_store")
    open_store(StorageConfig(url="memory://a"), Path()).put_new("b", b"1")
    assert (tmp_path / "a" / "b").exists()
    with pytest.raises(ConfigError, match=r"job\.toml: storage\.url: names no memory"):
        check_storage_config(StorageConfig(url="memory://"), "job.toml")
    with pytest.raises(ConfigError, match='"file://" or "s3://" or "memory://"'):
        check_storage_config(StorageConfig(url="ftp://x"), "job.toml")
