"""What the ranks of a run import: packages that take seconds, or hundreds of MiB, only where they are needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from launcher import launch
from small_job import write_config

HERE = Path(__file__).parent


def test_no_rank_of_a_plain_run_imports_a_heavy_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    script, run = [sys.executable, str(HERE / "modules_of_ranks.py")], str(tmp_path / "run")
    train = ["train", str(write_config(tmp_path, epochs=1)), "--run-dir", run]
    assert imported(launch(2, [*script, *train])) == ["imported []"] * 2
    # So little is forecast on CPUs, also where there is a GPU.
    for command in (["evaluate", run], ["predict", run, "--symbol", "S0"]):
        assert imported(launch(0, [*script, *command])) == ["imported []"]


def imported(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done.stdout + done.stderr
    return [line for line in done.stderr.splitlines() if line.startswith("imported")]
