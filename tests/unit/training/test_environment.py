"""What a start of a run says about where it computes."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import pytest

from hpc_lstm.training.environment import PACKAGES, git_commit, installed_versions


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


def test_the_commit_is_that_of_git_describe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):  # of a hook that runs the tests
        monkeypatch.delenv(variable, raising=False)

    def git(*words: str) -> str:
        own = ("-C", str(tmp_path), "-c", "user.name=A", "-c", "user.email=a@b")
        return subprocess.run(["git", *own, *words], capture_output=True, text=True, check=True).stdout

    def described() -> str:
        return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*").strip()

    assert git_commit(tmp_path) == ""
    git("init")
    assert git_commit(tmp_path) == ""
    kept = tmp_path / "kept"
    kept.write_text("1")
    git("add", ".")
    git("commit", "-m", "first")
    git("tag", "v1")
    (tmp_path / "of nobody").write_text("")
    commit = git("rev-parse", "HEAD").strip()
    assert git_commit(tmp_path) == described() == commit
    kept.write_text("2")
    assert git_commit(tmp_path) == described() == f"{commit}-dirty"
    git("add", "kept")
    assert git_commit(tmp_path) == described() == f"{commit}-dirty"
    git("checkout", "HEAD", "kept")
    git("checkout", "--detach")
    os.utime(kept, (0, 0))  # another time, the same content
    index = (tmp_path / ".git" / "index").read_bytes()
    assert git_commit(tmp_path) == commit
    assert (tmp_path / ".git" / "index").read_bytes() == index
    assert described() == commit
