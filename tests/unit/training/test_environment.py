"""What a start of a run says about where it computes."""

from __future__ import annotations

from contextlib import suppress
from importlib import metadata
from pathlib import Path

import pytest

from hpc_lstm.training.environment import PACKAGES, installed_versions


def test_versions_are_those_of_the_metadata() -> None:
    expected = {}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            expected[name] = metadata.version(name)
    assert {"numpy", "h5py"} <= expected.keys()
    assert installed_versions(PACKAGES) == expected


def test_names_are_compared_as_installers_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "Some_Thing-1.0rc2.dist-info",
        "h5py-3.7.0-py3.11.egg-info",
        "h5py-extra-1.0.dist-info",
        "old.txt",
    ):
        (tmp_path / name).mkdir()
    monkeypatch.setattr("sys.path", [str(tmp_path / "none"), str(tmp_path)])
    assert installed_versions(["some-thing", "h5py", "other"]) == {"some-thing": "1.0rc2", "h5py": "3.7.0"}
