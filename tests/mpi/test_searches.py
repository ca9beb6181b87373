"""Walk-forward folds and tuning trials on several ranks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from launcher import InTurn, launch_waiting, program
from small_job import write_config, write_store


def run(ranks: int, *arguments: object) -> str:
    """A command's output; stderr stays empty."""
    done = launch_waiting(ranks, program(*map(str, arguments)))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout


def test_folds_are_trained_by_all_ranks(tmp_path: Path) -> None:
    store = write_store(tmp_path / "market.h5", [150, 120])
    found = {}
    for ranks in (1, 2):
        folder = tmp_path / str(ranks)
        folder.mkdir()
        config = write_config(folder, store=store, epochs=1)
        train = ["train", str(config), "--run-dir", str(folder / "run")]
        folds = ["--walk-forward", "2", "--refit", "every 2", "--embargo", "1"]
        done = InTurn(ranks, folder / "said", [train, ["evaluate", str(folder / "run"), *folds]]).finish()
        assert [(one.returncode, one.stderr) for one in done] == [(0, "")] * 2
        found[ranks] = json.loads((folder / "run" / "walk_forward.json").read_text())
        assert "of 2 folds" in done[1].stdout
        first = folder / "run" / "walk_forward" / "2-expanding-refit-2-embargo-1" / "fold-1"
        assert json.loads((first / "metrics.json").read_text())["ranks"] == ranks
    for one, two in zip(found[1]["folds"], found[2]["folds"], strict=True):
        assert one["trained_on_fold"] == two["trained_on_fold"] == 1
        assert one["test"]["windows"] == two["test"]["windows"]
        for method in ("ar", "drift", "smoothing"):
            assert one["test"][method]["rmsse"] == pytest.approx(two["test"][method]["rmsse"], rel=1e-9)


def test_trials_run_side_by_side(tmp_path: Path) -> None:
    store = write_store(tmp_path / "market.h5", [150, 120])
    write_config(tmp_path, store=store, epochs=1)
    tune = tmp_path / "tune.toml"
    tune.write_text(
        '[tune]\nconfig = "job.toml"\ntrials = 3\n[space]\n'
        '"model.units" = [2, 3, 4]\n"train.learning_rate" = {low = 1e-3, high = 1e-1, log = true}\n'
    )
    for ranks in (1, 2):
        text = run(ranks, "tune", tune, "-o", tmp_path / f"out-{ranks}")
        assert text.count("trial ") >= 3
    alone, both = (tmp_path / f"out-{ranks}" / "trials.csv" for ranks in (1, 2))
    assert alone.read_text() == both.read_text()
