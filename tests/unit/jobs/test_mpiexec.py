"""Where mpiexec is found, and how it is called."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from hpc_lstm.errors import InputError
from hpc_lstm.jobs.mpiexec import find_mpiexec, mpiexec_command


def executable(folder: Path, name: str, prints: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{prints}'\n")
    path.chmod(0o755)
    return path


def test_a_folder_wins_over_the_path_and_mpiexec_over_mpirun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    monkeypatch.setenv("PATH", str(other))
    assert find_mpiexec(own) is None
    assert find_mpiexec() is None
    on_path = executable(other, "mpirun")
    assert find_mpiexec(own) == str(on_path)
    on_path = executable(other, "mpiexec")
    assert find_mpiexec(own) == str(on_path)
    beside = executable(own, "mpirun")
    assert find_mpiexec(own) == str(beside)
    assert find_mpiexec() == str(on_path)


@pytest.mark.parametrize(
    ("version", "options"),
    [
        ("mpirun (Open MPI) 4.1.4", ["--oversubscribe", "--bind-to", "none"]),
        ("mpirun (PRRTE) 3.0.7", ["--oversubscribe", "--bind-to", "none"]),
        ("HYDRA build details: Version: 5.0.2", []),
    ],
)
def test_open_mpi_alone_needs_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, options: list[str]
) -> None:
    path = executable(tmp_path, "mpiexec", version)
    for user, as_root in ((1000, []), (0, ["--allow-run-as-root"])):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        assert mpiexec_command(str(path)) == [str(path), *(as_root if options else []), *options]


def test_that_there_is_none_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(InputError, match=r'mpiexec: not found: pip install "hpc-lstm\[mpich\]"'):
        mpiexec_command()
