"""New rows and starts from another run's model, on several ranks and with several clusters."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from launcher import InTurn, finish_all, launch_waiting, program
from small_job import final_states, model_weights, write_config

from hpc_lstm.market.known_rows import KnownRows, know_rows
from hpc_lstm.market.store import MarketStore
from hpc_lstm.market.store_writer import StoreWriter
from hpc_lstm.parallel.world import World
from hpc_lstm.preprocess.scaler import Scaler

ROWS = [150, 90, 120]
STILL = ("--set", "train.learning_rate=1e-12", "--set", "model.dropout=0.0", "--set", "train.epochs=1")


def write_store(path: Path, rows: list[int], change: int | None = None) -> Path:
    """Random walks that begin alike however many rows there are; ``change``: a row of the second that differs."""
    with StoreWriter(path, ["close"], "test") as store:
        for number, count in enumerate(rows):
            walk = 100 * np.exp(np.cumsum(np.random.default_rng(number).normal(0, 0.01, 400)))[:count]
            if number == 1 and change is not None:
                walk[change] += 0.01
            store.append(f"S{number}", np.arange(count, dtype=np.int64), walk[:, None])
    return path


def train(ranks: int, config: Path, run: Path, *more: str) -> str:
    """Train to the end and return the output; stderr stays empty."""
    done = launch_waiting(ranks, program("train", str(config), "--run-dir", str(run), *more))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``market.h5``, ``job.toml`` and ``run``, a completed run of it on 2 ranks."""
    folder = tmp_path_factory.mktemp("trained")
    write_store(folder / "market.h5", ROWS)
    train(2, write_config(folder, dropout=0.0, epochs=2), folder / "run")
    return folder


def test_rows_that_are_known_do_not_depend_on_the_number_of_ranks(trained: Path) -> None:
    known = KnownRows.load(trained / "run/rows.h5")
    with MarketStore(trained / "market.h5") as store:
        alone = know_rows(store, [0], range(3), World())
    assert known.digest == alone.digest
    assert (known.checks == alone.checks).all()


def test_newer_rows_are_trained_on_by_all_ranks_and_changed_ones_refused(
    trained: Path, tmp_path: Path
) -> None:
    before = final_states(trained / "run")[0]
    changed = write_store(trained / "changed.h5", [170, 90, 130], change=40)
    grown = write_store(trained / "grown.h5", [170, 90, 130])
    command = ["train", str(trained / "job.toml"), "--run-dir", str(trained / "run"), "--resume"]
    more = (
        [*command, "--set", "train.epochs=3", "--set", f"data.store={store}"] for store in (changed, grown)
    )
    refused, done = InTurn(2, tmp_path / "said", list(more)).finish()
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert "S1 differs from 1970-02-10 on" in line
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    # 0.7 of the days that have a target, 142, then 162, are 99 and 113; S1 has 82 windows and ends before: 2 * 99 + 82,
    # then 2 * 113 + 82.
    assert "30 new rows of 2 symbols after 1970-04-30 to 1970-05-30" in done.stdout
    assert "train windows 280 -> 308" in done.stdout
    states = final_states(trained / "run")
    assert int(states[0]["position/step"]) - int(before["position/step"]) == math.ceil(308 / 16)
    assert "known/rows" not in states[1]
    assert np.asarray(states[0]["known/rows"]).tolist() == [170, 90, 130]


def test_all_ranks_start_with_the_other_runs_weights(trained: Path, tmp_path: Path) -> None:
    config = longer_prices(tmp_path)
    kept = ["--init-from", str(trained / "run"), "--keep-scaling"]
    start_warm = ["train", str(config), "--run-dir", str(tmp_path / "warm"), *kept, *STILL]
    other_units = [
        "train",
        str(config),
        "--run-dir",
        str(tmp_path / "wrong"),
        *kept,
        "--set",
        "model.units=9",
    ]
    done, wrong = InTurn(2, tmp_path / "said", [start_warm, other_units]).finish()
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert_started_with(trained / "run", tmp_path / "warm")
    assert wrong.returncode == 2
    (line,) = wrong.stderr.splitlines()
    assert "its model was trained with model.units = 5, this run has 9" in line
    assert not (tmp_path / "wrong").exists()


def longer_prices(folder: Path) -> Path:
    """The config of a run on more rows, of a store in ``folder``."""
    store = write_store(folder / "longer.h5", [180, 95, 140])
    return write_config(folder, "longer", store=store, every='"epoch"', checkpoint_every='"epoch"')


def assert_started_with(run: Path, warm: Path) -> None:
    """All ranks of a run that has learned nothing since hold another run's weights and scaling."""
    weights = model_weights(run)
    for state in final_states(warm):
        # model.keras has the dense layer first.
        own = np.asarray(state["weights"])
        np.testing.assert_allclose(np.sort(own), np.sort(weights), rtol=0, atol=1e-7)
        assert state["scaling"]
    old, new = (Scaler.load(one / "scaler.h5") for one in (run, warm))
    np.testing.assert_array_equal(new.scale, old.scale)


def test_clusters_start_with_one_model_and_one_scaling(trained: Path, tmp_path: Path) -> None:
    def cluster(name: str, *more: str) -> list[str]:
        sync = f'[storage]\nurl = "file://{tmp_path}/shared"\n[sync]\ncluster = "{name}"\nexpected = 2\n'
        config = write_config(tmp_path, name, store=trained / "market.h5", dropout=0.0, more=sync)
        return ["train", str(config), "--run-dir", str(tmp_path / name), *STILL, *more]

    kept = ("--init-from", str(trained / "run"), "--keep-scaling")
    both = [InTurn(1, tmp_path / f"said-{name}", [cluster(name, *kept)]) for name in ("alpha", "beta")]
    ended = [done for (done,) in finish_all(both)]
    assert [done.returncode for done in ended] == [0, 0], ended
    weights = [model_weights(folder) for folder in (tmp_path / "alpha", tmp_path / "beta", trained / "run")]
    np.testing.assert_array_equal(weights[0], weights[1])
    np.testing.assert_allclose(weights[0], weights[2], rtol=0, atol=1e-6)
    stranger = launch_waiting(1, program(*cluster("gamma", *kept[:2])))
    assert stranger.returncode == 2
    assert "'--keep-scaling': is None here" in stranger.stderr
