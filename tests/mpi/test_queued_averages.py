"""Averages that are queued behind the steps: ranks agree later than they average, and nothing else changes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from launcher import launch, program, ranks_of, start, wait_until
from small_job import checkpoints, final_states, model_weights, write_config

QUEUED = [sys.executable, str(Path(__file__).parent / "queued_averages.py")]
TIMES = ("samples_per_second", "elapsed_s", "memory_bytes")


def train(command: list[str], config: Path, run: Path, *more: str) -> subprocess.CompletedProcess[str]:
    arguments = program("train", str(config), "--run-dir", str(run), *more)[3:]
    return launch(2, [*command, *arguments])


def history(run: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


def assert_same(run: Path, other: Path) -> None:
    """Equal to the bit in everything that a run is made of."""
    assert history(run) == history(other)
    # Which of the earlier ones are written depends on how fast the storage is.
    assert checkpoints(run)[-1] == checkpoints(other)[-1]
    assert model_weights(run).tobytes() == model_weights(other).tobytes()
    for one, two in zip(final_states(run), final_states(other), strict=True):
        assert one.keys() == two.keys()
        for name in one:
            assert np.asarray(one[name]).tobytes() == np.asarray(two[name]).tobytes(), name


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A config, and the directory of a run of it whose ranks agree wherever they average."""
    folder = tmp_path_factory.mktemp("whole")
    # Checkpoints fall between averages and upon them.
    config = write_config(folder, every=3, checkpoint_every=4)
    done = train([sys.executable, "-m", "hpc_lstm"], config, folder / "run")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return config, folder / "run"


def test_a_run_is_the_same_to_the_bit(whole: tuple[Path, Path]) -> None:
    config, reference = whole
    run = reference.with_name("queued")
    done = train(QUEUED, config, run)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert_same(run, reference)
    for rank in range(2):
        lines = (run / f"timing/rank-{rank:05d}.jsonl").read_text().splitlines()
        phases = json.loads(lines[-1])["phases_ns"]
        assert phases["wait"] > 0
        assert phases["average"] > 0


def test_a_run_that_is_stopped_goes_on_to_the_same_bits(whole: tuple[Path, Path]) -> None:
    config, reference = whole
    run = reference.with_name("stopped")
    begun = "--set", "train.epochs=500"
    process = start(2, [*QUEUED, "train", str(config), "--run-dir", str(run), *begun])
    wait_until(lambda: len(checkpoints(run)) > 1, process)
    for pid in ranks_of(process):
        if "queued_averages.py" in Path(f"/proc/{pid}/cmdline").read_text():
            os.kill(pid, signal.SIGTERM)
            break
    out, err = process.communicate(timeout=60)
    assert process.returncode == 75, out + err
    assert err.count("\n") == 1
    assert "stopped by SIGTERM at step" in err
    step = checkpoints(run)[-1]
    assert f"at step {step} with a checkpoint" in err
    states = final_states(run)
    assert {int(str(state["position/step"])) for state in states} == {step}
    goal = ("--resume", "--set", f"train.epochs={step // 10 + 3}")
    assert train(QUEUED, config, run, *goal).returncode == 0
    straight = reference.with_name("straight")
    assert train([sys.executable, "-m", "hpc_lstm"], config, straight, *goal[1:]).returncode == 0
    assert model_weights(run).tobytes() == model_weights(straight).tobytes()
    losses = [(line["step"], line["loss"]) for line in history(run)]
    assert losses == [(line["step"], line["loss"]) for line in history(straight)]


def test_a_loss_that_is_not_finite_ends_with_the_same_message(whole: tuple[Path, Path]) -> None:
    config, reference = whole
    explode = ("--set", "train.learning_rate=1e30", "--set", 'train.optimizer="sgd"')
    found = [
        train(command, config, reference.with_name(name), *explode)
        for command, name in ((QUEUED, "late"), ([sys.executable, "-m", "hpc_lstm"], "at_once"))
    ]
    assert [one.returncode for one in found] == [1, 1]
    assert found[0].stderr == found[1].stderr
    assert "the loss is not finite at step" in found[0].stderr
