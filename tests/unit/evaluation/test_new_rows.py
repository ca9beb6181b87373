"""A trained run on a store that has grown, or that holds other prices than it was trained on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from small_runs import WINDOW, evaluate_run, make_run, predict_symbol, settings, walk, write_store

from hpc_lstm.evaluation.comparison_table import comparison_table
from hpc_lstm.evaluation.metrics_file import write_metrics
from hpc_lstm.market.known_rows import know_rows
from hpc_lstm.market.store import MarketStore
from hpc_lstm.parallel.world import World
from hpc_lstm.report.series import open_and_forecast
from hpc_lstm.runs.directory import RunDirectory
from hpc_lstm.runs.run_file import RunFile, write_run_file

ROWS = {"AAA": 300, "BBB": 200, "CCC": 300}
LAST = np.datetime64(15000 + 299, "D")  # of AAA and CCC


def after(days: int) -> np.datetime64:
    """The day so many days after the last row."""
    return LAST + np.timedelta64(days, "D")


def series(symbol: str, rows: int) -> np.ndarray:
    return walk(ord(symbol[0]), 400)[:rows]


def store_of(path: Path, rows: dict[str, int]) -> Path:
    return write_store(path, {name: series(name, count) for name, count in rows.items()})


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A completed run whose network is persistence, which knows the rows of its store."""
    store = store_of(tmp_path / "market.h5", ROWS)
    run = make_run(tmp_path / "run", settings(store), monkeypatch)
    with MarketStore(store) as market:
        know_rows(market, [market.column("close")], range(3), World()).save(run / "rows.h5")
    return run


def grow(tmp_path: Path, name: str = "market.h5") -> Path:
    """AAA has 7 rows more, BBB none, CCC one; DDD is new."""
    return store_of(tmp_path / name, {"AAA": 307, "BBB": 200, "CCC": 301, "DDD": 300})


def test_validation_and_test_stay_those_of_the_run(run_dir: Path, tmp_path: Path) -> None:
    before = json.loads((run_dir / "metrics.json").read_text())
    grow(tmp_path)
    metrics = evaluate_run(run_dir, None, World())
    for part in ("validation", "test"):
        assert metrics[part] == before[part]
    assert metrics["samples_per_second"] == 123.0
    assert "store" not in metrics


def test_new_rows_are_measured_by_themselves(run_dir: Path, tmp_path: Path) -> None:
    grow(tmp_path)
    metrics = evaluate_run(run_dir, None, World())
    squared = [
        (close[target] - close[target - 1]) ** 2
        for close, targets in ((series("AAA", 307), range(300, 307)), (series("CCC", 301), range(300, 301)))
        for target in targets
    ]
    new = metrics["new"]
    assert (new["windows"], new["symbols"]) == (8, 2)
    assert (new["first_date"], new["last_date"]) == (str(after(1)), str(after(7)))
    for method in ("model", "persistence"):
        assert new[method]["rmse"] == pytest.approx(np.sqrt(np.mean(squared)), rel=1e-4)
    assert metrics["per_symbol"]["AAA"]["new"]["windows"] == 7
    assert metrics["per_symbol"]["BBB"]["new"] is None
    assert (
        f"Rows after {LAST} are new to this run: 8 windows. Validation and test are those of the run."
        in (metrics["notes"])
    )
    text = comparison_table(metrics)
    assert f"new: 8 windows of 2 symbols, {after(1)} to {after(7)}" in text
    assert "On new rows " in text


def test_a_grown_store_elsewhere_is_no_other(run_dir: Path, tmp_path: Path) -> None:
    metrics = evaluate_run(run_dir, grow(tmp_path, "elsewhere.h5"), World())
    assert metrics["new"]["windows"] == 8
    assert metrics["store"] == str(tmp_path / "elsewhere.h5")
    assert not [note for note in metrics["notes"] if "trained on some" in note]


def test_what_was_new_is_forgotten_with_its_store(run_dir: Path, tmp_path: Path) -> None:
    before = json.loads((run_dir / "metrics.json").read_text())
    grow(tmp_path)
    write_metrics(run_dir, evaluate_run(run_dir, None, World()), "")
    assert "new" in json.loads((run_dir / "metrics.json").read_text())
    store_of(tmp_path / "market.h5", ROWS)
    assert evaluate_run(run_dir, None, World()) == before


def test_a_replaced_store_is_said_and_is_not_that_of_the_run(run_dir: Path, tmp_path: Path) -> None:
    store_of(tmp_path / "market.h5", {"AAA": 150, "BBB": 200, "CCC": 150})
    metrics = evaluate_run(run_dir, None, World())
    assert metrics["store"] == str(tmp_path / "market.h5"), (
        "by which it is not written over the run's metrics"
    )
    assert [note for note in metrics["notes"] if "may have been trained on some of them" in note]
    assert [note for note in metrics["notes"] if "AAA has 150 rows where there were 300" in note]
    assert "new" not in metrics


def test_a_run_of_a_share_of_the_symbols_is_measured_on_that_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_of(tmp_path / "market.h5", ROWS | {"DDD": 300})
    run = make_run(tmp_path / "run", settings(store, shard="1/2"), monkeypatch)
    before = json.loads((run / "metrics.json").read_text())
    assert list(before["per_symbol"]) == ["AAA", "CCC"]
    metrics = evaluate_run(run, None, World())
    assert metrics.pop("notes") == ["Left out, not trained on: 2 symbols (BBB, DDD)."]
    assert metrics == {name: value for name, value in before.items() if name != "notes"}


def test_a_store_of_train_rows_alone_is_said_to_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_of(tmp_path / "market.h5", ROWS)
    run = make_run(tmp_path / "run", settings(store, split_by="date"), monkeypatch)
    split = {"train_ends": str(after(-120)), "validation_ends": str(after(-60))}
    write_run_file(RunDirectory(run), RunFile(data=split))
    elsewhere = store_of(tmp_path / "short.h5", dict.fromkeys(ROWS, 100))
    store_of(store, dict.fromkeys(ROWS, 100))
    begins = np.datetime64(15000 + WINDOW, "D")
    for other in (elsewhere, None):
        metrics = evaluate_run(run, other, World())
        assert metrics["validation"] is None
        assert metrics["test"] is None
        assert metrics["store"] == str(other or store), "by which it is not written over the run's metrics"
        note = next(note for note in metrics["notes"] if "may have been trained on some of them" in note)
        assert f"begin at {begins}, before" in note
        assert "nothing is measured" in note


def test_new_rows_are_measured_where_older_prices_were_corrected(run_dir: Path, tmp_path: Path) -> None:
    corrected = series("AAA", 302).copy()
    corrected[:120] /= 2
    symbols = {"AAA": corrected, "BBB": series("BBB", 200)}
    write_store(tmp_path / "market.h5", symbols)
    metrics = evaluate_run(run_dir, None, World())
    assert (metrics["new"]["windows"], metrics["new"]["symbols"]) == (2, 1)
    notes = " ".join(metrics["notes"])
    assert "other prices than the run was trained on: it has no symbol CCC." in notes
    assert "The run's metrics.json stays as it is." in notes
    write_store(tmp_path / "market.h5", symbols | {"CCC": series("CCC", 300)})
    notes = " ".join(evaluate_run(run_dir, None, World())["notes"])
    assert f"AAA differs from {np.datetime64(15000, 'D')} on." in notes
    assert f"Rows after {LAST} are new to this run: 2 windows." in notes
    assert "may have been trained on" not in notes


def test_what_a_run_was_trained_on_is_not_forgotten_though_it_kept_no_rows(
    run_dir: Path, tmp_path: Path
) -> None:
    (run_dir / "rows.h5").unlink()
    short = {"AAA": 150, "BBB": 100, "CCC": 150}
    elsewhere = store_of(tmp_path / "short.h5", short)

    def warned(store: Path | None) -> bool:
        metrics = evaluate_run(run_dir, store, World())
        if store is None:
            write_metrics(run_dir, metrics, "")
        return any("may have been trained on some of them" in note for note in metrics["notes"])

    assert warned(elsewhere)
    store_of(tmp_path / "market.h5", short)
    assert [warned(None), warned(None), warned(elsewhere)] == [True, True, True]
    store_of(tmp_path / "market.h5", ROWS)
    assert not warned(None)


def test_a_forecast_tells_what_is_new(run_dir: Path, tmp_path: Path) -> None:
    assert "New to this run" not in predict_symbol(run_dir, "AAA").table()
    grow(tmp_path)
    assert f"New to this run: 7 rows after {LAST}." in predict_symbol(run_dir, "AAA").table()
    assert f"New to this run: 1 row after {LAST}." in predict_symbol(run_dir, "CCC").table()
    assert "New to this run" not in predict_symbol(run_dir, "BBB").table()


def test_a_forecast_from_other_prices_says_so(run_dir: Path, tmp_path: Path) -> None:
    changed = series("AAA", 300).copy()
    changed[120:] /= 2
    write_store(
        tmp_path / "market.h5", {"AAA": changed, "BBB": series("BBB", 201), "CCC": series("CCC", 300)}
    )
    date = np.datetime64(15000 + 120, "D")
    assert (
        f"than the run was trained on: AAA differs from {date} on." in predict_symbol(run_dir, "AAA").table()
    )
    assert "New to this run: 1 row " in predict_symbol(run_dir, "BBB").table()


def test_the_picture_of_the_test_part_stays(run_dir: Path, tmp_path: Path) -> None:
    before = open_and_forecast(run_dir, "AAA")
    grow(tmp_path)
    after = open_and_forecast(run_dir, "AAA")
    assert (after.dates == before.dates).all()
    assert (after.model == before.model).all()
    assert len(open_and_forecast(run_dir, "AAA", "new").dates) == 7
    assert len(before.dates) == 300 - WINDOW - int(0.85 * (300 - WINDOW))
