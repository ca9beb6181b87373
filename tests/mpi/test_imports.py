"""What the ranks of a run import: packages that take seconds, or hundreds of MiB, only where they are needed."""

from __future__ import annotations

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
    script = [sys.executable, str(HERE / "modules_of_ranks.py")]
    done = launch(2, [*script, str(write_config(tmp_path, epochs=1)), str(tmp_path / "run")])
    assert done.returncode == 0, done.stdout + done.stderr
    assert (done.stdout + done.stderr).count("imported []\n") == 2, done.stderr
