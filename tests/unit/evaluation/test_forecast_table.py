"""Forecasts of many symbols: from the command line, as text, CSV and JSON."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_runs import make_run, settings, walk, write_store

from hpc_lstm import cli
from hpc_lstm.evaluation.forecast import predict_symbols
from hpc_lstm.evaluation.forecast_table import forecast_table


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
    assert header.split() == ["symbol", "date", "last", "forecast", "+/-", "persistence"]
    assert [row.split()[0] for row in rows[:4]] == ["A", "B", "C", "D"]
    assert said.out.count("does not beat persistence") == 1
    assert "warning: 1 left out: symbol NEW" in said.err


def test_csv_and_json_hold_the_same(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["--symbol", "B", "--symbol", "A", "--steps", "2"]
    called("predict", str(run_dir), *names, "-o", str(tmp_path / "new" / "f.csv"))
    capsys.readouterr()
    table = pd.read_csv(io.StringIO((tmp_path / "new" / "f.csv").read_text()))
    assert table["symbol"].tolist() == ["B", "B", "A", "A"]
    assert table["last"].tolist() == [walk(1)[-1]] * 2 + [walk(0)[-1]] * 2
    called("predict", str(run_dir), *names, "--json")
    found = json.loads(capsys.readouterr().out)
    assert [price for one in found for price in one["forecast"]] == table["forecast"].tolist()


def test_a_symbol_that_the_run_does_not_know(run_dir: Path) -> None:
    found, left_out = predict_symbols(run_dir, ["NEW"], unseen=True)
    assert not left_out
    assert np.isclose(found[0].prices[0], walk(4)[-1]), "persistence, whatever the scaling"
    assert "The run was not trained on NEW, which is scaled by its own 300 rows." in forecast_table(found)


def test_neither_symbols_nor_all(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--all", "--symbol", "A"]):
        with pytest.raises(SystemExit) as ended:
            cli.main(["predict", str(run_dir), *arguments])
        assert ended.value.code == 2
        assert "--symbol, or give --all" in capsys.readouterr().err
