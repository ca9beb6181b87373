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
from launcher import launch
from small_job import write_config

SCRIPT = [sys.executable, str(Path(__file__).with_name("modules_of_ranks.py"))]
# Before the first step: of 500 files in all, those that Python opens. MPI and the system map 20 to 40 libraries, which
# depends on the machine.
MOST_FILES = 480
# What a run needs later, or only some runs do, and what brings many files along.
LATER = {
    *("csv", "difflib", "email", "gzip", "multiprocessing", "shutil", "tempfile", "zipfile"),
    *("numpy.ma", "numpy.testing", "numpy.typing"),
    *(
        "hpc_lstm.checkpoint.restore",
        "hpc_lstm.clusters.documents",
        "hpc_lstm.evaluation",
        "hpc_lstm.market.formats",
    ),
    *("hpc_lstm.model.keras_file", "hpc_lstm.report", "hpc_lstm.timing.spans"),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The folder of a run on 2 ranks, with a report of each rank's first step, and what they say that they imported."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        patch.setenv("FIRST_STEP_LAUNCHED", str(time.time()))
        patch.setenv("FIRST_STEP_REPORTS", str(folder))
        train = ["train", str(write_config(folder, epochs=1)), "--run-dir", str(folder / "run")]
        return folder, imported(launch(2, [*SCRIPT, *train]))


def imported(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done.stdout + done.stderr
    return [line for line in done.stderr.splitlines() if line.startswith("imported")]


def test_no_rank_of_a_plain_run_imports_a_heavy_package(
    trained: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    folder, of_ranks = trained
    assert of_ranks == ["imported []"] * 2
    # So little is forecast on CPUs, also where there is a GPU.
    run = str(folder / "run")
    evaluate, predict = ["evaluate", run], ["predict", run, "--symbol", "S0"]
    assert imported(launch(0, [*SCRIPT, *evaluate, "then", *predict])) == ["imported []"] * 2


def test_few_files_are_opened_before_the_first_step(trained: tuple[Path, list[str]]) -> None:
    for rank in range(2):
        report = json.loads((trained[0] / f"{rank}.json").read_text())
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
