"""Ranks that train in TensorFlow, all in one run: to import it takes each of them seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
from launcher import LIMIT_S, InTurn, launch, launch_waiting, program
from small_job import write_config
from test_warm_start import STILL, assert_started_with, longer_prices


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``run``, of the fused engine, and ``warm``, which two ranks begin with its model in Keras."""
    folder = tmp_path_factory.mktemp("trained")
    config = write_config(folder, dropout=0.0, epochs=2)
    first = launch_waiting(0, program("train", str(config), "--run-dir", str(folder / "run")))
    assert first.returncode == 0, first.stderr
    kept = ("--init-from", str(folder / "run"), "--keep-scaling", "--set", "train.engine=keras")
    command = program("train", str(longer_prices(folder)), "--run-dir", str(folder / "warm"), *kept, *STILL)
    # TensorFlow and absl ignore a level of messages, such as a parent process has set, while they start: a rank without
    # a level, and one with the parent's.
    without = ["env", "-u", "TF_CPP_MIN_LOG_LEVEL", *command]
    both = [*without, ":", "-n", "1", "env", "TF_CPP_MIN_LOG_LEVEL=2", *command]
    done = launch(1, both, timeout=2 * LIMIT_S)
    assert (done.returncode, done.stderr) == (0, ""), (
        "nobody else writes on stderr\n" + done.stdout + done.stderr
    )
    assert "2 ranks" in done.stdout
    return folder


def test_all_ranks_start_with_the_other_runs_weights(trained: Path) -> None:
    assert_started_with(trained / "run", trained / "warm")


def test_nobody_else_writes_on_stderr(trained: Path, tmp_path: Path) -> None:
    warm = str(trained / "warm")
    asked = InTurn(0, tmp_path / "asked", [["evaluate", warm], ["predict", warm, "--symbol", "S0"]])
    assert [(one.returncode, one.stderr) for one in asked.finish()] == [(0, "")] * 2
