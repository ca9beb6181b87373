"""Averages that are queued behind the steps: ranks agree later than they average, and nothing else changes."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from launcher import InTurn, outcome, ranks_of, start, wait_until
from small_job import checkpoints, final_states, model_weights, write_config

QUEUED = str(Path(__file__).parent / "queued_averages.py")
TIMES = ("samples_per_second", "elapsed_s", "memory_bytes")


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
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a run whose checkpoints fall between averages and upon them."""
    return write_config(tmp_path_factory.mktemp("runs"), every=3, checkpoint_every=4)


@pytest.fixture(scope="module")
def trained(config: Path) -> dict[str, CompletedProcess[str]]:
    """Runs beside their config, by name: their ranks agree wherever they average, or later; losses stay, or explode."""
    explode = ("--set", "train.learning_rate=1e30", "--set", 'train.optimizer="sgd"')
    rarely = ("--set", "average.every=5", "--set", "checkpoint.every=1000")
    runs = {
        "whole": train(config, "whole"),
        "at_once": train(config, "at_once", *explode),
        "queued": [QUEUED, *train(config, "queued")],
        "between": train(config, "between", *rarely),
        "within": [QUEUED, "--within", *train(config, "within", *rarely)],
        "late": [QUEUED, *train(config, "late", *explode)],
        "within_late": [QUEUED, "--within", *train(config, "within_late", *explode, *rarely)],
    }
    return dict(zip(runs, InTurn(2, config.with_name("said"), list(runs.values())).finish(), strict=True))


def train(config: Path, name: str, *more: str) -> list[str]:
    return ["train", str(config), "--run-dir", str(config.with_name(name)), *more]


def test_a_run_is_the_same_to_the_bit(config: Path, trained: dict[str, CompletedProcess[str]]) -> None:
    for name in ("whole", "queued"):
        done = trained[name]
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    run = config.with_name("queued")
    assert_same(run, config.with_name("whole"))
    for rank in range(2):
        lines = (run / f"timing/rank-{rank:05d}.jsonl").read_text().splitlines()
        phases = json.loads(lines[-1])["phases_ns"]
        assert phases["wait"] > 0
        assert phases["average"] > 0


def test_averages_between_the_steps_of_a_call_are_the_same(
    config: Path, trained: dict[str, CompletedProcess[str]]
) -> None:
    done, run, other = trained["within"], config.with_name("within"), config.with_name("between")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert model_weights(run).tobytes() == model_weights(other).tobytes()
    # Of an epoch's 18 steps, a call ends at the first average, the next one averages after 10 and 15.
    met = [line["step"] for line in history(run) if line["kind"] == "train"]
    assert met == [5, 15, 18, 20, 35, 36, 40, 50, 54]
    assert set(met) < {line["step"] for line in history(other)}
    (written,) = run.rglob("events.out.tfevents*")
    assert b"ranks/distance_before_average" in written.read_bytes()
    phases = json.loads((run / "timing/rank-00000.jsonl").read_text().splitlines()[-1])["phases_ns"]
    assert phases["average"] > 0


@pytest.mark.parametrize("how", [[QUEUED], [QUEUED, "--within"]], ids=["queued", "within calls"])
def test_a_run_that_is_stopped_goes_on_to_the_same_bits(config: Path, tmp_path: Path, how: list[str]) -> None:
    run, straight = (config.with_name(f"{name}{len(how)}") for name in ("stopped", "straight"))
    endless = ("--set", "train.epochs=100000")
    process = start(2, [sys.executable, *how, *train(config, run.name, *endless)])
    wait_until(lambda: len(checkpoints(run)) > 1, process)
    for pid in ranks_of(process):
        if "queued_averages.py" in Path(f"/proc/{pid}/cmdline").read_text():
            os.kill(pid, signal.SIGTERM)
            break
    stopped = outcome(process)
    assert stopped.returncode == 75, stopped.stdout + stopped.stderr
    assert stopped.stderr.count("\n") == 1
    assert "stopped by SIGTERM at step" in stopped.stderr
    step = checkpoints(run)[-1]
    assert f"at step {step} with a checkpoint" in stopped.stderr
    states = final_states(run)
    assert {int(str(state["position/step"])) for state in states} == {step}
    goal = ("--set", f"train.epochs={step // 10 + 3}")
    resume = [*how, *train(config, run.name, "--resume", *goal)]
    done = InTurn(2, tmp_path / "said", [train(config, straight.name, *goal), resume]).finish()
    assert [one.returncode for one in done] == [0, 0], done
    assert model_weights(run).tobytes() == model_weights(straight).tobytes()
    if how == [QUEUED]:  # otherwise they are means of more steps
        losses = [(line["step"], line["loss"]) for line in history(run)]
        assert losses == [(line["step"], line["loss"]) for line in history(straight)]


def test_a_loss_that_is_not_finite_ends_with_the_same_message(
    trained: dict[str, CompletedProcess[str]],
) -> None:
    late, within, at_once = (trained[name] for name in ("late", "within_late", "at_once"))
    assert [late.returncode, within.returncode, at_once.returncode] == [1, 1, 1]
    assert late.stderr == at_once.stderr
    assert "the loss is not finite at step" in late.stderr
    assert re.sub(r"step \d+", "step", within.stderr) == re.sub(r"step \d+", "step", late.stderr)
