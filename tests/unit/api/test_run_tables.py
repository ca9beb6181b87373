"""The tables of a run in Python, and what is said beside them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_runs import make_run, settings, write_store

import hpc_lstm as hl
from hpc_lstm.evaluation.metrics import METRICS
from hpc_lstm.market.known_rows import know_rows
from hpc_lstm.market.store import MarketStore
from hpc_lstm.parallel.world import World


def level(seed: int, rows: int = 300) -> np.ndarray:
    """Prices that stay where they are."""
    return np.random.default_rng(seed).uniform(99, 101, rows)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return write_store(tmp_path / "market.h5", {"A": level(0), "B": level(1)})


@pytest.fixture
def run(store: Path, monkeypatch: pytest.MonkeyPatch) -> hl.Run:
    """A run whose network is persistence, which knows the rows of its store."""
    run = hl.load(make_run(store.parent / "run", settings(store), monkeypatch))
    with MarketStore(store) as market:
        know_rows(market, [market.column("close")], range(2), World()).save(run.path / "rows.h5")
    return run


def test_outputs_are_a_table_of_what_the_metrics_file_says(run: hl.Run) -> None:
    said = json.loads((run.path / "metrics.json").read_text())["test"]["outputs"][0]
    row = run.outputs.loc[("test", "close", 1)]
    for name in ("windows", "rmse", "mase", "width", "pinball"):
        assert row[name] == said[name]
    assert row["coverage"] == said["coverage"]["share"]
    assert row["coverage_stated"] == 0.9
    assert row["direction_low"] == said["direction"]["low"]
    assert run.outputs.dtypes.drop("windows").eq(float).all()
    pd.testing.assert_frame_equal(run.evaluate(outputs=True), run.outputs)
    damaged = {"format": "hpc_lstm metrics", "test": {"outputs": 5}}
    (run.path / "metrics.json").write_text(json.dumps(damaged))
    with pytest.raises(hl.InputError, match=r"metrics\.json: is damaged"):
        _ = run.outputs


def test_without_prices_the_metrics_have_no_rows(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = settings(store, target="direction(close)")
    run = hl.load(make_run(store.parent / "run", data, monkeypatch, lambda x: np.full(len(x), 0.6)))
    for table in (run.metrics, run.evaluate()):
        assert table.empty
        assert table.index.names == ["part", "method"]
        assert table.columns.tolist() == [metric.key for metric in METRICS]
    assert run.outputs.loc[("test", "direction(close)", 1), "brier"] > 0


def test_where_nothing_can_be_measured_it_is_said_why(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = hl.load(make_run(store.parent / "whole", settings(store, split=[1, 0, 0]), monkeypatch))
    assert run.metrics.empty
    assert run.outputs.empty
    with pytest.raises(hl.InputError, match=r"nothing can be measured: .* no test part: by data\.split"):
        run.evaluate()


def test_tables_of_prices_are_taken_everywhere(run: hl.Run, store: Path) -> None:
    table = hl.Store(store).to_pandas()
    pd.testing.assert_frame_equal(run.evaluate(table), run.evaluate())
    pd.testing.assert_frame_equal(run.forecasts(prices=table), run.forecasts())
    assert run.predict(table)["symbol"].tolist() == ["A", "B"]


def test_nothing_is_warned_of_where_all_is_well(run: hl.Run) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = run.predict()
        run.evaluate()
        run.forecasts()
    assert any(note.startswith("Dates: ") for note in table.attrs["notes"])


def test_what_speaks_against_a_forecast_is_a_warning(run: hl.Run, store: Path) -> None:
    changed = level(0)
    changed[-3:] *= 10
    other = write_store(store.parent / "other.h5", {"A": changed, "B": level(1) + 0.1, "C": level(2, 2)})
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        run.predict(other)
    assert [str(one.message) for one in warned] == [
        f"1 symbol left out: C: has 2 rows in {other}, but forecasts of 1 step with data.window = 5 and "
        "data.horizon = 1 need 5",
        "A: The last rows lie far outside of what the scaling was fitted on: close. The network has seen no such "
        "inputs; after a split, fetch the symbol again or train on the new prices.",
        "A, B: The store holds other prices than the run was trained on: A differs from 2011-11-19 on.",
    ]
    assert {one.filename for one in warned} == {__file__}


def test_what_speaks_against_metrics_is_a_warning(run: hl.Run, store: Path) -> None:
    other = write_store(store.parent / "other.h5", {"A": level(7), "C": level(8)}, first_day=14900)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        table = run.evaluate(other)
    left_out, seen = (str(one.message) for one in warned)
    assert left_out == "Left out, not trained on: 1 symbol (C)."
    assert "its metrics flatter it" in seen
    assert {one.filename for one in warned} == {__file__}
    assert table.attrs["notes"] == [left_out, seen]
