"""Forecasts of many symbols: from the command line, as text, CSV and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_runs import make_run, settings, walk, write_store

from hpc_lstm import cli
from hpc_lstm.errors import InputError
from hpc_lstm.evaluation import metrics_file
from hpc_lstm.evaluation.forecast_table import forecast_table
from hpc_lstm.evaluation.past_forecasts import past_forecasts
from hpc_lstm.evaluation.predict import predict_symbols
from hpc_lstm.market import known_rows


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of four symbols whose network is persistence, and a fifth symbol that it does not know."""
    prices = {name: walk(seed) for seed, name in enumerate(("A", "B", "C", "D", "NEW"))}
    store = write_store(tmp_path / "market.h5", prices)
    return make_run(tmp_path / "run", settings(store, symbols=["A", "B", "C", "D"]), monkeypatch)


def called(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(list(arguments))
    assert ended.value.code == 0


def test_all_symbols_in_one_table(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    called("predict", str(run_dir), "--all")
    said = capsys.readouterr()
    header, *rows = said.out.splitlines()
    assert header.replace("rows ahead", "ahead").split() == [
        "symbol", "ahead", "date", "last", "forecast", "+/-", "low", "high",
    ]  # fmt: skip
    assert [row.split()[0] for row in rows[:4]] == ["A", "B", "C", "D"]
    assert said.out.count("On test the model does not beat ") == 1
    assert "warning: 1 left out: symbol NEW" in said.err


def test_the_files_of_a_run_are_read_once_for_all_symbols(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both grow with the symbols: read for each of them, they would take most of the time of many."""
    read: list[str] = []
    for owner, name in ((metrics_file.json, "loads"), (known_rows.KnownRows, "load")):
        real = getattr(owner, name)

        def counted(*given: object, real: Callable = real, name: str = name, **options: object) -> object:
            read.append(name)
            return real(*given, **options)

        monkeypatch.setattr(owner, name, counted)
    predict_symbols(run_dir, ["A"])
    of_one = sorted(read)
    assert of_one
    read.clear()
    found, _ = predict_symbols(run_dir, None)
    assert len(found) == 4
    assert sorted(read) == of_one


def test_csv_and_json_hold_the_same(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["--symbol", "B", "--symbol", "A", "--steps", "2"]
    called("predict", str(run_dir), *names, "-o", str(tmp_path / "new" / "f.csv"))
    capsys.readouterr()
    table = pd.read_csv(
        tmp_path / "new" / "f.csv", converters=dict.fromkeys(["last", "forecast", "low", "high"], float)
    )
    assert table["symbol"].tolist() == ["B", "B", "A", "A"]
    assert table["step"].tolist() == table["rows_ahead"].tolist() == [1, 2, 1, 2]
    assert table["last"].tolist() == [walk(1)[-1]] * 2 + [walk(0)[-1]] * 2
    called("predict", str(run_dir), *names, "--json")
    found = json.loads(capsys.readouterr().out)
    assert [price for one in found for price in one["forecast"]] == table["forecast"].tolist()
    assert [end for one in found for end in one["low"]] == table["low"].tolist()
    assert (table["low"] < table["forecast"]).all()
    assert (table["forecast"] < table["high"]).all()
    assert table["step"].tolist() == table["rows_ahead"].tolist() == [1, 2, 1, 2]
    called("predict", str(run_dir), *names, "--json", "-o", str(tmp_path / "g.csv"))
    both = capsys.readouterr()
    assert json.loads(both.out) == found
    assert both.err == f"wrote {tmp_path / 'g.csv'}\n"
    assert (tmp_path / "g.csv").read_bytes() == (tmp_path / "new" / "f.csv").read_bytes()


def test_several_outputs_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = write_store(tmp_path / "market.h5", {name: walk(seed) for seed, name in enumerate("ABCD")})
    data = settings(store, target=["close", "volatility(close)"], horizon=[1, 5])
    run_dir = make_run(tmp_path / "run", data, monkeypatch, lambda x: np.repeat(x[:, -1, :1], 4, axis=1))
    called("predict", str(run_dir), "--all")
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.replace("rows ahead", "ahead").split() == [
        "symbol", "ahead", "date", "target", "last", "forecast", "low", "high", "persistence",
    ]  # fmt: skip
    targets = ["close", "close", "volatility(close)", "volatility(close)"]
    assert [row.split()[3] for row in rows[:16]] == targets * 4
    assert [row.split()[1] for row in rows[:4]] == ["1", "5", "1", "5"]
    assert [row.split()[-1] == "-" for row in rows[:4]] == [False, False, True, True], (
        "no price is a volatility"
    )
    called("predict", str(run_dir), "--symbol", "A", "--json")
    (found,) = json.loads(capsys.readouterr().out)
    assert found["target"] == targets
    assert found["rows_ahead"] == [1, 5, 1, 5]
    assert found["persistence"] == [walk(0)[-1]] * 2 + [None] * 2
    with pytest.raises(
        InputError, match=r"--steps 2: this run forecasts close, volatility.* leave --steps out"
    ):
        predict_symbols(run_dir, None, 2)


def test_outputs_have_the_last_price_of_their_own_column_and_the_number_of_their_horizon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = write_store(tmp_path / "market.h5", {"A": walk(0)})
    data = settings(store, target=["close", "open"], horizon=[1, 5])
    run_dir = make_run(tmp_path / "run", data, monkeypatch, lambda x: np.repeat(x[:, -1, :1], 4, axis=1))
    (found,), _ = predict_symbols(run_dir, ["A"])
    columns, last = found.columns(), walk(0)[-1]
    assert columns["target"] == ["close", "close", "open", "open"]
    assert columns["last"] == columns["persistence"] == [last, last, last - 0.5, last - 0.5]
    assert columns["step"] == [1, 2, 1, 2]


def test_a_symbol_that_stood_still_has_no_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prices = {"A": walk(0), "STILL": np.full(300, 100.0)}
    store = write_store(tmp_path / "market.h5", prices)
    run_dir = make_run(tmp_path / "run", settings(store), monkeypatch)
    (moving, still), _ = predict_symbols(run_dir, None)
    assert np.isfinite([moving.low, moving.high]).all()
    assert np.isnan([still.low, still.high]).all()
    assert "No interval: close of STILL did not vary in the rows that scale it." in still.notes
    assert not any(note.startswith("No interval") for note in moving.notes)
    past = {one.symbol[0]: one.low for one in past_forecasts(run_dir, parts=["test"], symbols=["A"])}
    past |= {one.symbol[0]: one.low for one in past_forecasts(run_dir, parts=["test"], symbols=["STILL"])}
    assert {name: bool(np.isfinite(low).all()) for name, low in past.items()} == {"A": True, "STILL": False}


def test_a_symbol_that_the_run_does_not_know(run_dir: Path) -> None:
    found, left_out = predict_symbols(run_dir, ["NEW"], unseen=True)
    assert not left_out
    assert np.isclose(found[0].prices[0], walk(4)[-1]), "persistence, whatever the scaling"
    assert "The run was not trained on NEW, which is scaled by its own 300 rows." in forecast_table(found)


def test_features_that_are_not_scaled_reach_the_network_as_they_are_for_any_symbol(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = write_store(tmp_path / "market.h5", {"A": walk(0), "NEW": walk(1)})
    seen = []

    def network(inputs: np.ndarray) -> np.ndarray:
        seen.append(inputs)
        return inputs[:, -1, 0]

    data = settings(store, symbols=["A"], features=["close", "symbol(A)", "weekday"])
    run_dir = make_run(tmp_path / "run", data, monkeypatch, network)
    inputs = {}
    for name in ("A", "NEW"):
        predict_symbols(run_dir, [name], unseen=True)
        inputs[name] = seen[-1][-1]
    np.testing.assert_array_equal(inputs["A"][:, 1], 1)
    np.testing.assert_array_equal(inputs["NEW"][:, 1], 0)
    np.testing.assert_array_equal(inputs["A"][:, 2:], inputs["NEW"][:, 2:], "the same days")


def test_neither_symbols_nor_all(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--all", "--symbol", "A"]):
        with pytest.raises(SystemExit) as ended:
            cli.main(["predict", str(run_dir), *arguments])
        assert ended.value.code == 2
        assert "--symbol, or give --all" in capsys.readouterr().err
