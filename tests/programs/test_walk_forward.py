"""Walk-forward folds of a small run: what they learn from, what they are tested on, and how they go on."""

from __future__ import annotations

import io
import itertools
import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from small_runs import walk, write_store

from hpc_lstm import config as configuration
from hpc_lstm.config import RunConfig
from hpc_lstm.errors import InputError, StopRequested
from hpc_lstm.evaluation.walk_forward_table import walk_forward_table
from hpc_lstm.parallel.world import World
from hpc_lstm.preprocess.scaler import Scaler
from hpc_lstm.runs import directory
from hpc_lstm.runs.history import read_history
from hpc_lstm.training import walk_forward as module
from hpc_lstm.training.loop import train
from hpc_lstm.training.walk_forward import WalkForward, walk_forward

ROWS = 160


def settings(store: Path, **data) -> RunConfig:
    return configuration.parse(
        {
            "data": {"store": str(store), "window": 5, **data},
            "model": {"layers": 1, "units": 3, "dropout": 0.0},
            "train": {"epochs": 2, "batch_size": 32, "threads": 1, "deterministic": True, "patience": 1},
        },
        "test",
    )


def prices() -> dict[str, np.ndarray]:
    return {"AAA": walk(1, ROWS), "BBB": walk(2, ROWS - 20)}


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    store = write_store(tmp_path / "market.h5", prices())
    train(settings(store), directory.at(tmp_path / "run"), World())
    return tmp_path / "run"


def learned(fold: Path) -> tuple[dict[str, np.ndarray], Scaler, list[dict]]:
    """Weights, scaling and validation losses of a fold's run."""
    weights: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(fold / "model.keras") as archive:
        content = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(content, "r") as file:
        file.visititems(
            lambda name, item: weights.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
        )
    losses = [entry for entry in read_history(fold / "history.jsonl") if entry.get("kind") == "validation"]
    return weights, Scaler.load(fold / "scaler.h5"), losses


def test_each_fold_is_tested_once_on_its_own_block(run_dir: Path) -> None:
    results = walk_forward(run_dir, WalkForward(3), World())
    assert [(fold.number, fold.trained) for fold in results] == [(1, 1), (2, 2), (3, 3)]
    days = ROWS - 5
    assert sum(fold.table["windows"] for fold in results) == (days - days // 4) + (days - 20 - days // 4)
    for before, after in itertools.pairwise(results):
        assert before.table["last_date"] < after.table["first_date"]
    for fold in results:
        assert fold.table["first_date"] == fold.days["test_begins"]
    written = json.loads((run_dir / "walk_forward.json").read_text())
    assert [fold["test"] for fold in written["folds"]] == [fold.table for fold in results]
    scores = [fold.table["model"]["rmsse"] for fold in results]
    found = written["summary"]["model"]["rmsse"]
    assert (found["mean"], found["standard_deviation"]) == pytest.approx(
        (np.mean(scores), np.std(scores, ddof=1))
    )
    text = walk_forward_table(results)
    assert f"{np.mean(scores):.4f}" in text
    assert "of 3 folds" in text


@pytest.mark.parametrize("how", [WalkForward(2), WalkForward(2, rolling=30, embargo=3)], ids=str)
def test_nothing_of_a_folds_test_reaches_what_it_learns(
    run_dir: Path, tmp_path: Path, how: WalkForward
) -> None:
    first = walk_forward(run_dir, how, World())
    for fold in first:
        # All prices from the first test day on are others.
        begins = int(np.datetime64(fold.days["test_begins"]).astype(int)) - 15000
        changed = prices()
        for number, series in enumerate(changed.values()):
            series[begins:] = 5 * walk(90 + number, ROWS)[begins : len(series)]
        other = write_store(tmp_path / f"other-{fold.number}.h5", changed)
        again = tmp_path / f"again-{fold.number}"
        train(settings(other), directory.at(again), World())
        second = walk_forward(again, how, World())
        name = f"walk_forward/{how.name}/fold-{fold.number}"
        weights, scaler, losses = learned(run_dir / name)
        other_weights, other_scaler, other_losses = learned(again / name)
        for key, value in weights.items():
            np.testing.assert_array_equal(value, other_weights[key])
        np.testing.assert_array_equal(scaler.scale, other_scaler.scale)
        np.testing.assert_array_equal(scaler.shift, other_scaler.shift)
        assert [entry["loss"] for entry in losses] == [entry["loss"] for entry in other_losses]
        assert losses
        assert second[fold.number - 1].table["model"] != fold.table["model"]


def test_rolling_folds_learn_from_the_last_days_alone(run_dir: Path) -> None:
    results = walk_forward(run_dir, WalkForward(3, rolling=30), World())
    last = directory.at(run_dir / "walk_forward" / "3-rolling-30-refit-1-embargo-0" / "fold-3").load_config()
    begin = np.datetime64(last.data.train_from)
    assert np.datetime64(results[2].days["validation_begins"]) - begin == np.timedelta64(30, "D")


def test_a_fold_that_is_not_refitted_is_tested_with_an_earlier_model(run_dir: Path) -> None:
    each = walk_forward(run_dir, WalkForward(3), World())
    frozen = walk_forward(run_dir, WalkForward(3, refit_every=0), World())
    assert [fold.trained for fold in frozen] == [1, 1, 1]
    assert frozen[0].table == each[0].table
    for one, other in zip(each, frozen, strict=True):
        assert (one.table["windows"], one.table["first_date"]) == (
            other.table["windows"],
            other.table["first_date"],
        )
        assert one.table["persistence"]["rmse"] == other.table["persistence"]["rmse"]
    assert frozen[2].table["model"] != each[2].table["model"]
    seldom = walk_forward(run_dir, WalkForward(3, refit_every=2), World())
    assert [fold.trained for fold in seldom] == [1, 1, 3]
    assert seldom[2].table["model"] == each[2].table["model"]


def test_a_walk_that_is_asked_to_stop_names_the_command_that_goes_on(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stops(*_: object, **__: object) -> None:
        raise StopRequested("run the same command with --resume to continue")

    monkeypatch.setattr(module, "train", stops)
    with pytest.raises(StopRequested, match=r"^stopped in fold 1; run the same command again to continue$"):
        walk_forward(run_dir, WalkForward(2), World())


def test_a_stopped_walk_goes_on_where_it_was(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = walk_forward(run_dir, WalkForward(3), World())
    folder = run_dir / "walk_forward" / WalkForward(3).name
    (folder / "fold-2" / "metrics.json").unlink()  # as if it was stopped while that fold was measured
    trained = []

    def counted(config, files, world, **more) -> None:
        trained.append(files.path.name)
        train(config, files, world, **more)

    monkeypatch.setattr(module, "train", counted)
    assert walk_forward(run_dir, WalkForward(3), World()) == whole
    assert trained == ["fold-2"]


def test_finished_folds_of_other_days_or_prices_are_not_read(run_dir: Path, tmp_path: Path) -> None:
    walk_forward(run_dir, WalkForward(2), World())
    store = tmp_path / "market.h5"
    grown = {"AAA": walk(1, ROWS + 20), "BBB": walk(2, ROWS)}
    write_store(store, grown)
    with pytest.raises(
        InputError, match=r"fold-1: was trained with other settings: data\.split .*start over"
    ):
        walk_forward(run_dir, WalkForward(2), World())
    revised = prices()
    revised["BBB"][40] *= 2
    write_store(store, revised)
    with pytest.raises(InputError, match="fold-1: was trained on other prices: BBB differs"):
        walk_forward(run_dir, WalkForward(2), World())
    write_store(store, prices())
    walk_forward(run_dir, WalkForward(2), World())


def test_a_warm_start_begins_with_the_fold_before(run_dir: Path) -> None:
    walk_forward(run_dir, WalkForward(2, warm_start=True), World())
    folder = run_dir / "walk_forward" / WalkForward(2, warm_start=True).name
    record = json.loads((folder / "fold-2" / "run.json").read_text())
    assert record["init_from"] == str(folder / "fold-1")
    assert record["scaling"] == "fitted"


def test_too_many_folds_are_refused_before_anything_is_trained(run_dir: Path) -> None:
    with pytest.raises(InputError, match="--walk-forward 100: 155 days with a target"):
        walk_forward(run_dir, WalkForward(100), World())
    assert not (run_dir / "walk_forward").exists()
