"""What ranks import and open: packages that take seconds, or hundreds of MiB, only where they are needed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from launcher import ROOT, launch
from small_job import write_config

HERE = Path(__file__).parent
# Before the first step: of 500 files in all, those that Python opens. MPI and the system map 20 to 40 libraries, which
# depends on the machine.
MOST_FILES = 480
# What a run needs later, or only some runs do, and what brings many files along.
LATER = {
    *("csv", "difflib", "email", "multiprocessing", "shutil", "tempfile", "zipfile"),
    *("numpy.ma", "numpy.testing", "numpy.typing"),
    *(
        "hpc_lstm.checkpoint.restore",
        "hpc_lstm.clusters.documents",
        "hpc_lstm.evaluation",
        "hpc_lstm.market.formats",
    ),
    *("hpc_lstm.model.keras_file", "hpc_lstm.report", "hpc_lstm.timing.spans"),
}


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


def test_few_files_are_opened_before_the_first_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("FIRST_STEP_LAUNCHED", str(time.time()))
    monkeypatch.setenv("FIRST_STEP_REPORTS", str(tmp_path))
    train = ["train", str(write_config(tmp_path, epochs=1)), "--run-dir", str(tmp_path / "run")]
    done = launch(2, [sys.executable, str(ROOT / "benchmarks" / "first_step.py"), *train])
    assert done.returncode == 0, done.stdout + done.stderr
    for rank in range(2):
        report = json.loads((tmp_path / f"{rank}.json").read_text())
        files = opened_by_python(report)
        assert not LATER & set(report["modules"])
        assert "numpy" in report["modules"]
        assert 200 < len(files) < MOST_FILES, "\n".join(sorted(files))


def opened_by_python(report: dict[str, Any]) -> set[str]:
    """The files of a report less libraries of MPI and the system; a module is one, whether it is compiled or not."""
    own = {path for path in report["mapped"] if "/python3" in path}
    return {
        re.sub(r"__pycache__/(\w+)\.cpython-[^/]*$", r"\1.py", path) for path in {*report["opened"], *own}
    }
