"""The Python API, as a notebook would use it."""

from __future__ import annotations

import doctest
import subprocess
import sys
import warnings
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from click.testing import CliRunner

import hpc_lstm as hl
from hpc_lstm.cli import cli
from hpc_lstm.evaluation.metrics_file import read_metrics
from hpc_lstm.runs import directory


@pytest.fixture(scope="module")
def store() -> hl.Store:
    return hl.synthesize(symbols=3, days=260, seed=2)


def settings(store: hl.Store) -> dict:
    return {
        "data": {"store": store, "window": 10, "symbols": ["SYN00000", "SYN00001"]},
        "model": {"units": 8, "layers": 1, "dropout": 0.0},
        "train": {"epochs": 2, "batch_size": 32},
    }


@pytest.fixture(scope="module")
def run(store: hl.Store, tmp_path_factory: pytest.TempPathFactory) -> hl.Run:
    """A run on two ranks, whose store was a temporary one."""
    return hl.train(settings(store), ranks=2, run_dir=tmp_path_factory.mktemp("runs") / "a", progress=False)


def test_the_import_is_light_and_names_are_known() -> None:
    code = "import sys, hpc_lstm as hl; print(*sys.modules); print(*dir(hl)); hl.Store; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules, names, later = done.stdout.splitlines()
    assert not {"numpy", "h5py", "pandas", "pydantic", "hpc_lstm.config"} & set(modules.split())
    assert set(hl.__all__) <= set(names.split())
    assert later == "True"
    for name in hl.__all__:
        assert getattr(hl, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = hl.trian


@pytest.mark.parametrize(
    "name", ["hpc_lstm", "hpc_lstm.api.prices", "hpc_lstm.api.run", "hpc_lstm.api.training"]
)
def test_examples_in_docstrings(name: str) -> None:
    flags = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL
    result = doctest.testmod(import_module(name), optionflags=flags)
    assert result.attempted
    assert not result.failed


def test_prices_go_to_pandas_and_back(store: hl.Store) -> None:
    table = store.to_pandas()
    assert table.index.names == ["symbol", "date"]
    again = hl.read_prices(table)
    assert again.symbols == store.symbols
    pd.testing.assert_frame_equal(again.to_pandas()[store.columns], table, check_index_type=False)
    one = store.to_pandas("SYN00001")
    pd.testing.assert_frame_equal(one, table.loc["SYN00001"])
    with pytest.raises(hl.InputError, match='no symbol "SYN9"'):
        store.to_pandas("SYN9")


def test_prices_are_drawn(store: hl.Store) -> None:
    figure = store.plot("SYN00000", sma=[5], candles=True, rsi=True)
    assert [axes.get_ylabel() for axes in figure.axes[1:]] == ["volume", "RSI 14"]
    assert len(store.plot(store.symbols).axes[0].get_lines()) == 4
    with pytest.raises(hl.InputError, match='candle: no such option; did you mean "candles"'):
        store.plot("SYN00000", candle=True)
    with pytest.raises(hl.InputError, match="no symbol is given"):
        store.plot([])
    for lengths in (20, [0], [-3], [2.5], "20"):
        with pytest.raises(hl.InputError, match="sma: must be lengths in rows"):
            store.plot("SYN00000", sma=lengths)


def test_a_temporary_store_goes_with_its_object() -> None:
    store = hl.synthesize(symbols=1, days=5)
    path = store.path
    assert path.exists()
    del store
    assert not path.exists()


def test_files_and_their_options(tmp_path: Path) -> None:
    file = tmp_path / "ABC.csv"
    file.write_text("date;close\n2024-01-01;1,5\n2024-01-02;2,5\n")
    store = hl.read_prices(file, tmp_path / "new" / "folder" / "market.h5", decimal=",")
    assert store.to_pandas("ABC")["close"].tolist() == [1.5, 2.5]
    assert hl.read_prices(store.path).symbols == ["ABC"]
    with pytest.raises(hl.InputError, match='decimals: no such option; did you mean "decimal"'):
        hl.read_prices(file, decimals=",")
    with pytest.raises(hl.InputError, match="table: the pandas table is empty"):
        hl.read_prices(pd.DataFrame())


@pytest.mark.parametrize("wrong", [{"symbols": 0}, {"days": 1}, {"seed": -1}])
def test_a_universe_needs_symbols_and_days(wrong: dict[str, int]) -> None:
    with pytest.raises(hl.InputError, match=f"{next(iter(wrong))} must be at least"):
        hl.synthesize(**wrong)


def test_prices_with_a_split_left_in_are_told() -> None:
    close = 100 * np.exp(np.cumsum(np.random.default_rng(3).normal(0, 0.01, 60)))
    close[40:] /= 4
    days = pd.date_range("2024-01-01", periods=60, name="date")
    table = pd.DataFrame({"close": close}, index=days)
    with pytest.warns(UserWarning, match=r"1 step in price may be splits \(first: ABC 2024-02-10, "):
        hl.read_prices({"ABC": table})
    adjusted = table.assign(adj_close=np.where(np.arange(60) < 40, close / 4, close))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hl.read_prices({"ABC": adjusted})


def test_a_run_tells_what_it_is_worth(run: hl.Run) -> None:
    assert run.complete
    assert run.config.train.epochs == 2
    measured = read_metrics(directory.at(run.path))
    assert run.metrics.loc[("test", "model"), "rmse"] == measured["test"]["model"]["rmse"]
    assert run.metrics.loc[("test", "persistence"), "rmse"] == measured["test"]["persistence"]["rmse"]
    assert run.verdict == measured["test"]["verdict"]
    assert run.verdict in repr(run)
    losses = run.history.query("kind == 'validation'")
    assert losses["epoch"].tolist() == [1, 2]
    assert "all phases" in run.timing()
    again = run.evaluate()
    assert np.isclose(again.loc[("test", "model"), "rmse"], measured["test"]["model"]["rmse"], rtol=1e-5)


def test_the_store_is_kept_with_the_run(run: hl.Run, store: hl.Store) -> None:
    kept = run.path / "prices.h5"
    assert run.config.data.store == str(kept)
    assert kept.read_bytes() == store.path.read_bytes()


def test_a_call_with_a_temporary_store_can_be_repeated(run: hl.Run, store: hl.Store, tmp_path: Path) -> None:
    """Where no run began, with other prices; where one did, to resume it with the same."""
    longer = hl.synthesize(symbols=3, days=60)
    for prices in (store, longer):
        settings = {"data": {"store": prices, "window": 5000}}
        with pytest.raises(hl.InputError, match=r"data\.window"):
            hl.train(settings, run_dir=tmp_path / "run", progress=False)
    assert (tmp_path / "run" / "prices.h5").read_bytes() == longer.path.read_bytes()
    settings = {
        **run.config.model_dump(),
        "data": {**run.config.data.model_dump(), "store": hl.read_prices(store.to_pandas())},
    }
    assert hl.train(settings, run_dir=run.path, resume=True, progress=False).complete
    before = (run.path / "prices.h5").read_bytes()
    settings["data"]["store"] = longer
    with pytest.raises(hl.InputError, match=r"prices\.h5: the run was begun with other prices"):
        hl.train(settings, run_dir=run.path, resume=True, progress=False)
    assert (run.path / "prices.h5").read_bytes() == before


def test_forecasts_also_of_symbols_that_the_run_does_not_know(run: hl.Run, store: hl.Store) -> None:
    table = run.predict(symbols="SYN00000", steps=3)
    assert table["step"].tolist() == [1, 2, 3]
    assert (table["persistence"] == store.to_pandas("SYN00000")["close"].iloc[-1]).all()
    assert (table["date"].diff().dropna() > pd.Timedelta(0)).all()
    assert table["error"].notna().all()
    everything = run.predict()
    assert everything["symbol"].tolist() == store.symbols  # the third was not trained on
    known = store.to_pandas("SYN00000")
    named = run.predict({"OTHER": known})
    # The same prices under another name are scaled by all of their rows, not by those of training alone.
    assert named["persistence"].tolist() == [known["close"].iloc[-1]]
    assert np.isclose(named["forecast"].iloc[0], table["forecast"].iloc[0], rtol=0.1)
    with pytest.raises(hl.InputError, match="SYN9"):
        run.predict(symbols=["SYN9"])


@pytest.mark.parametrize("part", ["validation", "test"])
def test_metrics_are_those_of_the_forecasts(run: hl.Run, store: hl.Store, part: str) -> None:
    table = run.forecasts(part)
    measured = read_metrics(directory.at(run.path))[part]
    error, naive = table["forecast"] - table["actual"], table["last"] - table["actual"]
    scaled, still = error / table["last"], naive / table["last"]
    by_symbol = still.groupby(table["symbol"])
    root = table["symbol"].map(by_symbol.apply(lambda own: np.sqrt(np.mean(own**2))))
    magnitude = table["symbol"].map(by_symbol.apply(lambda own: np.mean(np.abs(own))))
    found = {
        "rmse": np.sqrt(np.mean(error**2)),
        "mae": np.mean(np.abs(error)),
        "mape": 100 * np.mean(np.abs(error / table["actual"])),
        "rmsse": np.sqrt(np.mean((scaled / root) ** 2)),
        "mase": np.mean(np.abs(scaled) / magnitude),
    }
    assert found == pytest.approx({name: measured["model"][name] for name in found}, rel=1e-6)
    inside = table["actual"].between(table["low"], table["high"])
    # In scaled units a calibrated interval ends at a validation target, which rounding may put on either side.
    assert inside.sum() == pytest.approx(measured["outputs"][0]["coverage"]["share"] * len(table), abs=1)
    assert len(table) == measured["windows"]
    prices = store.to_pandas()["close"]
    index = prices.index
    for row in table.itertuples():
        assert prices[row.symbol, row.date] == row.actual
        assert index.get_loc((row.symbol, row.date)) - index.get_loc((row.symbol, row.last_date)) == 1
        assert prices[row.symbol, row.last_date] == row.last


def test_forecasts_are_written_by_the_command_and_refused_where_there_are_none(
    run: hl.Run, tmp_path: Path
) -> None:
    file = tmp_path / "new" / "forecasts.csv"
    done = CliRunner().invoke(cli, ["evaluate", str(run.path), "--forecasts", str(file)])
    assert done.exit_code == 0, done.output
    assert f"wrote {file}" in done.output
    written = pd.read_csv(file, parse_dates=["last_date", "date"])
    assert written["part"].unique().tolist() == ["validation", "test"]
    own = written[written["part"] == "test"].drop(columns="part").reset_index(drop=True)
    pd.testing.assert_frame_equal(own, run.forecasts(), check_dtype=False)
    one = run.forecasts(symbols="SYN00001")
    assert one["symbol"].unique().tolist() == ["SYN00001"]
    np.testing.assert_allclose(one["forecast"], own.loc[own["symbol"] == "SYN00001", "forecast"], rtol=1e-6)
    with pytest.raises(hl.InputError, match="was not trained on SYN00002"):
        run.forecasts(symbols=["SYN00002"])
    with pytest.raises(hl.InputError, match="no windows in the new part"):
        run.forecasts("new")
    with pytest.raises(hl.InputError, match='part "train": must be one of validation, test, new'):
        run.forecasts("train")


def test_pictures_are_shown_by_notebooks(run: hl.Run) -> None:
    for figure in (run.plot_forecast(), run.plot_losses()):
        assert figure._repr_png_().startswith(b"\x89PNG")
    assert run.report(run.path / "page.html").exists()
    with pytest.raises(hl.InputError, match='part "tests": must be one of'):
        run.plot_forecast(part="tests")


def test_failures_of_the_ranks_are_errors_here(run: hl.Run, store: hl.Store, tmp_path: Path) -> None:
    with pytest.raises(hl.InputError, match="holds a run"):
        hl.train({"data": {"store": run.config.data.store}}, run_dir=run.path)
    with pytest.raises(hl.InputError, match="no such market store"):
        hl.train({"data": {"store": "nothing.h5"}}, run_dir=tmp_path / "b", ranks=2, progress=False)
    for ranks in (0, 1.5):
        with pytest.raises(hl.InputError, match="a whole number of at least 1"):
            hl.train({"data": {"store": store}}, ranks=ranks)
    assert hl.train(run.path / "config.toml", run_dir=run.path, resume=True, progress=False).complete


@pytest.mark.parametrize("ranks", [1, 2])
def test_ranks_end_where_the_python_that_trains_is_killed(
    store: hl.Store, tmp_path: Path, ranks: int
) -> None:
    """In the midst of an epoch without end, in which they print nothing by which a launcher would notice."""
    code = f"""
import hpc_lstm as hl
data = {{"store": {str(store.path)!r}, "window": 10}}
train = {{"epochs": 1_000_000, "batch_size": 1, "threads": 1}}
loops = {{"data": data, "model": {{"units": 8, "layers": 1}}, "train": train, "checkpoint": {{"every": 100}}}}
hl.train(loops, ranks={ranks}, run_dir={str(tmp_path / "run")!r})
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as python:
        assert python.stdout is not None
        while "steps per epoch" not in (line := python.stdout.readline()):
            assert line, "it has ended"
        started = psutil.Process(python.pid).children(recursive=True)
        assert len(started) >= ranks
        python.kill()
        python.wait()
        assert not psutil.wait_procs(started, timeout=60)[1]


def test_settings_from_a_file_are_overridden_and_progress_is_shown(
    run: hl.Run, store: hl.Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "night.toml"
    file.write_text(
        '[data]\nstore = "missing.h5"\nwindow = 10\n[model]\nlayers = 1\ndropout = 0.0\n[train]\nepochs = 50\n'
    )
    overrides = {"data.store": store, "train.epochs": 2, "model.units": 8}
    again = hl.train(file, run_dir=tmp_path / "night", overrides=overrides, init_from=run)
    said = capsys.readouterr().out
    assert "epoch 2 of 2" in said
    assert "starting with the model of" in said
    assert "results in" in said
    assert again.config.train.epochs == 2
    assert again.config.data.window == 10
    assert again.config.data.store == str(tmp_path / "night" / "prices.h5")
    with pytest.raises(hl.InputError, match=r"missing\.h5: no such market store"):
        hl.train(file, run_dir=tmp_path / "other", progress=False)
    with pytest.raises(hl.InputError, match=r'must be "section\.key"'):
        hl.train(file, overrides={"epochs": 3})
