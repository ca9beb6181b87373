"""The main job on several ranks: the same mathematics, stopping, killing, going on."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from launcher import InTurn, kill, launch_waiting, outcome, program, ranks_of, start, wait_until
from small_job import checkpoints, final_states, write_config, write_store


def train(ranks: int, config: Path, run: Path, *more: str) -> str:
    """Train to the end and return the output; stderr stays empty."""
    done = launch_waiting(ranks, program("train", str(config), "--run-dir", str(run), *more))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout


def history(run: Path) -> list[dict]:
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    return [
        {k: v for k, v in line.items() if k not in ("samples_per_second", "elapsed_s", "memory_bytes")}
        for line in lines
    ]


def same(one: dict, other: dict) -> bool:
    """Equal to the bit in everything that a run is made of."""
    return one.keys() == other.keys() and all(
        np.asarray(one[name]).tobytes() == np.asarray(other[name]).tobytes() for name in one
    )


# By name: other settings of [average], and whether weights and moments of two ranks agree at the end.
WAYS = {
    "never": ({"every": 0}, (False, False)),
    "weights and moments": ({"every": '"epoch"', "what": "weights+moments"}, (True, True)),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A config and the directory of an uninterrupted run of it on 2 ranks; beside it those of ``WAYS``, by name."""
    folder = tmp_path_factory.mktemp("whole")
    configs = {"run": write_config(folder)}
    for name, (settings, _) in WAYS.items():
        configs[name] = write_config(folder, name, checkpoint_every='"epoch"', **settings)
    commands = [["train", str(config), "--run-dir", str(folder / name)] for name, config in configs.items()]
    # Where the time goes begins with the start of a process.
    done = InTurn(2, folder / "said", commands, fresh=True).finish()
    assert [(one.returncode, one.stderr) for one in done] == [(0, "")] * len(commands), done
    return configs["run"], folder / "run"


@pytest.fixture(scope="module")
def on_three_ranks(whole: tuple[Path, Path]) -> str:
    """A copy of that run, ``three``, has gone on, and another, ``early``, has stopped early; what the first said."""
    config, reference = whole
    folder = reference.parent
    shutil.copytree(reference, folder / "three")
    train = ["train", str(config), "--run-dir"]
    more = [*train, str(folder / "three"), "--resume", "--set", "train.epochs=5"]
    patience = [
        word
        for setting in ("epochs=60", "patience=2", "min_delta=10.0")
        for word in ("--set", f"train.{setting}")
    ]
    three, early = InTurn(
        3, folder / "said-three", [more, [*train, str(folder / "early"), *patience]]
    ).finish()
    assert [(one.returncode, one.stderr) for one in (three, early)] == [(0, "")] * 2, (three, early)
    return three.stdout


def test_full_batch_descent_is_the_same_on_any_number_of_ranks(tmp_path: Path) -> None:
    # 48 train windows over two symbols: 1, 2, 3 and 4 ranks take equal slices, some across the symbols' border.
    store = write_store(tmp_path / "market.h5", [8 + 20, 8 + 28])
    descent = {"store": store, "split": "[1, 0, 0]", "dropout": 0.0, "optimizer": "sgd", "every": 1}
    weights = {}
    for ranks in (1, 2, 3, 4):
        config = write_config(tmp_path, **descent, epochs=20, batch_size=48 // ranks, checkpoint_every=1000)
        commands = [["train", str(config), "--run-dir", str(tmp_path / f"run{ranks}")]]
        if ranks == 1:
            commands.append([*commands[0][:-1], str(tmp_path / "short"), "--set", "train.epochs=1"])
        done = InTurn(ranks, tmp_path / f"said{ranks}", commands).finish()
        assert [(one.returncode, one.stderr) for one in done] == [(0, "")] * len(commands), done
        states = final_states(tmp_path / f"run{ranks}")
        assert len(states) == ranks
        for state in states[1:]:
            assert np.asarray(state["weights"]).tobytes() == np.asarray(states[0]["weights"]).tobytes()
        assert states[0]["position/step"] == 20
        weights[ranks] = np.asarray(states[0]["weights"])
    for ranks in (2, 3, 4):
        np.testing.assert_allclose(weights[ranks], weights[1], rtol=0, atol=2e-6)
    moved = np.abs(weights[1] - np.asarray(final_states(tmp_path / "short")[0]["weights"])).max()
    assert moved > 1e-3, "20 steps must move the weights by far more than the tolerance"


def test_run_directory_is_complete(whole: tuple[Path, Path]) -> None:
    _, run = whole
    for name in ("config.toml", "metrics.json", "history.jsonl", "model.keras", "scaler.h5", "timing.h5",
                 "timing/rank-00000.jsonl", "timing/rank-00001.jsonl", "log/rank-00000.log",
                 "log/rank-00001.log"):  # fmt: skip
        assert (run / name).stat().st_size > 0, name
    assert list((run / "tensorboard").iterdir())
    metrics = json.loads((run / "metrics.json").read_text())
    assert (metrics["ranks"], metrics["engine"], metrics["backend"]) == (2, "fused", "host")
    for part in ("validation", "test"):
        for method in ("model", "persistence", "drift"):
            assert {"rmse", "mae", "mape", "mase", "directional_accuracy"} <= metrics[part][method].keys()
    steps = [line["step"] for line in history(run) if line["kind"] == "train"]
    assert steps == sorted(set(steps))


def test_phases_add_up_to_the_wall_time(whole: tuple[Path, Path]) -> None:
    _, run = whole
    for rank in range(2):
        lines = [
            json.loads(line) for line in (run / f"timing/rank-{rank:05d}.jsonl").read_text().splitlines()
        ]
        spans, footer = [line for line in lines if "phase" in line], lines[-1]
        stages = [line for line in lines if "stage" in line]
        named = [line["stage"] for line in stages]
        assert named[:2] == ["starting MPI", "importing"]
        assert {"opening the device", "compiling kernels", "reading prices"} <= set(named)
        assert 0 <= stages[0]["start_ns"] <= stages[-1]["end_ns"] <= footer["wall_ns"]
        assert sum(span["busy_ns"] for span in spans) == pytest.approx(footer["wall_ns"], rel=0.01)
        assert sum(footer["phases_ns"].values()) == pytest.approx(footer["wall_ns"], rel=0.01)
        for phase in (
            "startup",
            "load",
            "preprocess",
            "compute",
            "average",
            "wait",
            "checkpoint",
            "evaluate",
        ):
            assert footer["phases_ns"][phase] > 0, phase


def test_killed_runs_go_on_to_the_same_bits(whole: tuple[Path, Path]) -> None:
    config, reference = whole
    run = reference.with_name("killed")
    command = program("train", str(config), "--run-dir", str(run), "--resume")
    chance = random.Random(5)
    for goal in (1, 6, 11):
        process = start(2, command)
        wait_until(lambda goal=goal: bool(checkpoints(run)) and checkpoints(run)[-1] >= goal, process)
        time.sleep(chance.uniform(0, 0.05))
        kill(process)
        process.communicate()
    said = train(2, config, run, "--resume")
    assert "resuming from the checkpoint of step" in said
    assert checkpoints(run)[-1] == checkpoints(reference)[-1]
    for mine, uninterrupted in zip(final_states(run), final_states(reference), strict=True):
        assert same(mine, uninterrupted)
    assert history(run) == history(reference)
    for file in ("model.keras", "metrics.json", "timing.h5"):
        assert (run / file).exists()


def test_sigterm_on_one_rank_stops_all_with_a_checkpoint(whole: tuple[Path, Path]) -> None:
    config, reference = whole
    run = reference.with_name("stopped")
    long = ("--set", "train.epochs=100000", "--set", "checkpoint.every=100000")
    command = program("train", str(config), "--run-dir", str(run), *long)
    process = start(2, command)
    wait_until(lambda: (run / "history.jsonl").exists() and "validation loss" in log(run), process)
    os_ranks = [pid for pid in ranks_of(process) if "hpc_lstm" in command_line(pid)]
    signal_one(os_ranks[-1], signal.SIGTERM)
    done = outcome(process)
    assert done.returncode == 75, done.stdout + done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("hpc-lstm:")]
    assert len(said) == 1
    assert "SIGTERM" in said[0]
    assert "--resume" in said[0]
    assert len(checkpoints(run)) == 1
    out = train(2, config, run, "--resume", "--set", "train.epochs=3")
    assert "resuming from the checkpoint" in out


def test_another_number_of_ranks_goes_on(whole: tuple[Path, Path], on_three_ranks: str) -> None:
    config, reference = whole
    run = reference.with_name("three")
    assert "written by 2 ranks, now there are 3" in on_three_ranks
    states = final_states(run)
    assert len(states) == 3
    assert all(np.isfinite(np.asarray(state["weights"])).all() for state in states)
    assert states[0]["position/epoch"] == 5
    alone = train(0, config, run, "--resume", "--set", "train.epochs=6")
    assert "written by 3 ranks, now there is 1" in alone
    assert json.loads((run / "metrics.json").read_text())["ranks"] == 1


def test_completed_run_has_nothing_to_do(whole: tuple[Path, Path]) -> None:
    config, run = whole
    before = (run / "metrics.json").read_bytes()
    assert "nothing to do" in train(2, config, run, "--resume")
    assert (run / "metrics.json").read_bytes() == before


@pytest.mark.parametrize("way", WAYS)
def test_other_ways_to_average(whole: tuple[Path, Path], way: str) -> None:
    run = whole[1].with_name(way)
    one, other = final_states(run)
    agree = tuple(np.array_equal(one[what], other[what]) for what in ("weights", "moments"))
    assert agree == WAYS[way][1]
    assert json.loads((run / "metrics.json").read_text())["validation"]["model"]["rmse"] > 0


@pytest.mark.usefixtures("on_three_ranks")
def test_early_stopping_on_all_ranks(whole: tuple[Path, Path]) -> None:
    run = whole[1].with_name("early")
    losses = [line for line in history(run) if line["kind"] == "validation"]
    assert len(losses) == 3, "one that is better than nothing, two that are not better by 10"
    assert json.loads((run / "metrics.json").read_text())["best_step"] == losses[0]["step"]


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def signal_one(pid: int, number: signal.Signals) -> None:
    import os

    os.kill(pid, number)


def log(run: Path) -> str:
    path = run / "log" / "rank-00000.log"
    return path.read_text() if path.exists() else ""
