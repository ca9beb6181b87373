"""A run that is resumed on another number of ranks, with a market store that has changed meanwhile."""

from __future__ import annotations

import shutil
from pathlib import Path
from subprocess import CompletedProcess

import h5py
import numpy as np
import pytest
from launcher import InTurn, finish_all, launch_waiting, program
from small_job import write_config

from hpc_lstm.market.store_writer import StoreWriter

ROWS = {"AAA": 120, "BBB": 90, "CCC": 150, "DDD": 100}
RANKS = (3, 1)
# By name: rows of the store then, a price that has changed, what is said of it; nothing: the run continues.
CHANGES: dict[str, tuple[dict[str, int], tuple[str, int] | None, str]] = {
    "rows appended": ({**ROWS, "BBB": 130}, None, ""),
    "symbol added": ({"000": 80, **ROWS}, None, ""),
    "price revised": (ROWS, ("DDD", 99), "DDD differs from"),
    "symbol removed": (
        {name: rows for name, rows in ROWS.items() if name != "CCC"},
        None,
        "it has no symbol CCC",
    ),
    "revised and appended": ({**ROWS, "DDD": 140}, ("AAA", 0), "AAA differs from"),
}


def write_prices(path: Path, rows: dict[str, int], revised: tuple[str, int] | None = None) -> Path:
    """A store in which a symbol has the same first rows whatever else there is, but for the one that was revised."""
    with StoreWriter(path, ["close"], "test") as store:
        for symbol, count in rows.items():
            chance = np.random.default_rng(ord(symbol[0]))
            walk = 100 + np.cumsum(chance.uniform(-0.3, 0.5, 200))[:count, None]
            if revised and revised[0] == symbol:
                walk[revised[1]] *= 1.01
            store.append(symbol, np.arange(15000, 15000 + count, dtype=np.int64), walk)
    return path


@pytest.fixture(scope="module")
def resumed(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, dict[tuple[int, str], CompletedProcess[str]]]:
    """What resuming a run of 2 ranks came to, by the ranks and the change; their run directories are in the folder."""
    folder = tmp_path_factory.mktemp("changed")
    config = write_config(folder, store=write_prices(folder / "first.h5", ROWS), epochs=1)
    done = launch_waiting(2, program("train", str(config), "--run-dir", str(folder / "run")))
    assert done.returncode == 0, done.stderr
    launches = []
    for ranks in RANKS:
        commands = []
        for name, (rows, revised, _) in CHANGES.items():
            run = folder / f"{name}, {ranks}"
            shutil.copytree(folder / "run", run)
            store = write_prices(folder / f"{run.name}.h5", rows, revised)
            more = ["--resume", "--set", "train.epochs=2", "--set", f'data.store="{store}"']
            commands.append(["train", str(config), "--run-dir", str(run), *more])
        launches.append(InTurn(ranks, folder / f"said by {ranks}", commands))
    ended = finish_all(launches)
    return folder, {
        (ranks, name): one
        for ranks, several in zip(RANKS, ended, strict=True)
        for name, one in zip(CHANGES, several, strict=True)
    }


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("change", CHANGES)
def test_a_store_that_has_grown_is_trained_on_and_any_other_refused(
    resumed: tuple[Path, dict[tuple[int, str], CompletedProcess[str]]], change: str, ranks: int
) -> None:
    folder, done = resumed[0], resumed[1][ranks, change]
    run, (rows, _, says) = folder / f"{change}, {ranks}", CHANGES[change]
    if not says:
        assert (done.returncode, done.stderr) == (0, "")
        assert "resuming from the checkpoint of step" in done.stdout
        with h5py.File(run / "rows.h5") as known:
            assert sorted(known["symbols"].asstr()[:]) == sorted(rows)
        return
    assert done.returncode == 2, done.stdout
    (line,) = done.stderr.splitlines()
    assert "holds other prices than this run was started with" in line
    assert says in line
    for name in ("config.toml", "model.keras", "metrics.json", "rows.h5", "history.jsonl"):
        assert (run / name).read_bytes() == (folder / "run" / name).read_bytes()
