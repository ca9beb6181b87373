"""Evaluation of models whose worth is known, on stores of a few symbols."""

from __future__ import annotations

import csv
import errno
import json
import math
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from small_runs import WINDOW, evaluate_run, last_input, make_run, settings, walk, write_store

from hpc_lstm import cli
from hpc_lstm.cuda import availability
from hpc_lstm.errors import InputError
from hpc_lstm.evaluation.baselines.registry import BASELINES, METHODS
from hpc_lstm.evaluation.comparison_table import comparison_table
from hpc_lstm.evaluation.evaluate import evaluate
from hpc_lstm.evaluation.metrics_file import write_metrics
from hpc_lstm.evaluation.window_forecasts import of_inputs
from hpc_lstm.market.store import MarketStore
from hpc_lstm.market.store_writer import StoreWriter
from hpc_lstm.parallel.world import World
from hpc_lstm.preprocess import backends, prepare


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    return write_store(tmp_path / "market.h5", {"AAA": walk(1), "BBB": walk(2, 200), "CCC": walk(3)})


def measure(predict, path: Path, world: World | None = None, **more) -> dict:
    world = world or World()
    with MarketStore(path) as store:
        prepared = prepare.prepare(store, settings(path, **more), world, backends.create_backend("host"))
        return evaluate(of_inputs(predict), prepared, world, batch_size=64).metrics


def test_persistence_as_the_model_is_persistence(store_path: Path) -> None:
    metrics = measure(last_input, store_path)
    for part in ("validation", "test"):
        model, persistence = metrics[part]["model"], metrics[part]["persistence"]
        for name in ("rmse", "mae", "mape", "mase"):
            assert model[name] == pytest.approx(persistence[name], rel=1e-5)
        assert metrics[part]["verdict"].startswith(f"On {part} the model does not beat ")


def test_log_return_of_zero_is_exactly_persistence(store_path: Path) -> None:
    # Scaled by hand: the forecast that inverts to a log return of 0 for each symbol.
    world = World()
    data = settings(store_path, target="log-returns", scaling="standard")
    with MarketStore(store_path) as store:
        prepared = prepare.prepare(store, data, world, backends.create_backend("host"))
        prepared.scaler.shift[:, -1] = 0.0
        metrics = evaluate(of_inputs(lambda x: np.zeros(len(x), np.float32)), prepared, world).metrics
    assert metrics["test"]["model"] == metrics["test"]["persistence"]
    assert metrics["test"]["against_persistence"]["p_value"] == 1
    assert metrics["test"]["model"]["rmsse"] == 1


@pytest.mark.parametrize(
    ("target", "horizon"),
    [("close", 1), ("close", 3), ("log-returns", 1), ("log-returns(open)", 3), ("close", 7)],
)
def test_numbers_are_those_of_plain_loops(store_path: Path, target: str, horizon: int) -> None:
    column = "open" if "open" in target else "close"
    metrics = measure(last_input, store_path, target=target, horizon=horizon, split=[0.6, 0.2, 0.2])
    with MarketStore(store_path) as store:
        offsets, number = store.offsets, store.column(column)
        price = [store.rows(offsets[s], offsets[s + 1])[:, number] for s in range(3)]
    squared, scaled, scaled_drift, drift, seasonal, windows = [], [], [], [], [], 0
    for series in price:
        total = len(series) - WINDOW - horizon + 1
        changes = [series[w + WINDOW - 1 + horizon] - series[w + WINDOW - 1] for w in range(total)]
        train = changes[: int(total * 0.6 + 1e-9)]
        test = changes[int(total * 0.8 + 1e-9) :]
        windows += len(test)
        squared += [c**2 for c in test]
        last = [series[len(series) - len(test) + i - horizon] for i in range(len(test))]
        relative = np.array(test) / last
        scaled += list(np.abs(relative) / np.abs(relative).mean())
        errors = np.array([np.mean(train) - c for c in test]) / last
        scaled_drift += list(errors**2 / (relative**2).mean())
        drift += [(c - np.mean(train)) ** 2 for c in test]
        targets = range(len(series) - len(test), len(series))
        seasonal += [(series[t] - series[t - 5 * math.ceil(horizon / 5)]) ** 2 for t in targets]
    assert metrics["test"]["windows"] == windows
    assert metrics["test"]["persistence"]["rmse"] == pytest.approx(np.sqrt(np.mean(squared)))
    assert metrics["test"]["persistence"]["mase"] == pytest.approx(np.mean(scaled))
    assert metrics["test"]["persistence"]["rmsse"] == 1
    assert metrics["test"]["drift"]["rmsse"] == pytest.approx(np.sqrt(np.mean(scaled_drift)))
    assert metrics["test"]["drift"]["rmse"] == pytest.approx(np.sqrt(np.mean(drift)))
    assert metrics["test"]["seasonal-naive"]["rmse"] == pytest.approx(np.sqrt(np.mean(seasonal)))


def test_a_model_that_knows_the_target_is_perfect(store_path: Path) -> None:
    # With horizon 1 and a known slope of 0.25 a day the next price is the last one plus 0.25.
    line = write_store(store_path.with_name("line.h5"), {"AAA": 50 + 0.25 * np.arange(200)})
    with MarketStore(line) as store:
        world = World()
        prepared = prepare.prepare(store, settings(line), world, backends.create_backend("host"))
        step = np.float32(0.25 * prepared.scaler.scale[0, 0])
        metrics = evaluate(of_inputs(lambda inputs: inputs[:, -1, 0] + step), prepared, world).metrics
    for method in ("model", "drift"):
        assert metrics["test"][method]["rmse"] == pytest.approx(0, abs=1e-4)
        assert metrics["test"][method]["directional_accuracy"] == 1
    assert metrics["test"]["persistence"]["rmse"] == pytest.approx(0.25)
    assert metrics["test"]["persistence"]["directional_accuracy"] == 0
    assert metrics["test"]["persistence"]["mase"] == pytest.approx(1)


def test_dates_and_listed_symbols(store_path: Path) -> None:
    metrics = measure(last_input, store_path)
    assert metrics["test"]["last_date"] == str(np.datetime64(15000 + 299, "D"))
    assert metrics["validation"]["first_date"] < metrics["test"]["first_date"]
    assert list(metrics["per_symbol"]) == ["AAA", "BBB", "CCC"]
    assert metrics["per_symbol_omitted"] == 0
    total = sum(own["test"]["windows"] for own in metrics["per_symbol"].values())
    assert total == metrics["test"]["windows"]
    json.dumps(metrics, allow_nan=False)


def test_only_the_first_fifty_symbols_are_listed(tmp_path: Path) -> None:
    many = write_store(tmp_path / "many.h5", {f"S{n:02}": walk(n, 40) for n in range(53)})
    metrics = measure(last_input, many)
    assert list(metrics["per_symbol"]) == [f"S{n:02}" for n in range(50)]
    assert metrics["per_symbol_omitted"] == 3
    assert metrics["test"]["symbols"] == 53


def test_every_symbol_is_in_the_file(tmp_path: Path) -> None:
    many = write_store(tmp_path / "many.h5", {f"S{n:02}": walk(n, 60 + n) for n in range(53)})
    with MarketStore(many) as store:
        prepared = prepare.prepare(store, settings(many), World(), backends.create_backend("host"))
        evaluation = evaluate(of_inputs(last_input), prepared, World())
    rows = list(csv.DictReader(evaluation.symbols_csv().splitlines()))
    methods = [method for method in METHODS if method in evaluation.metrics["test"]]
    assert [(row["part"], row["symbol"], row["method"]) for row in rows] == [
        (part, f"S{n:02}", method) for part in ("validation", "test") for n in range(53) for method in methods
    ]
    for row in rows:
        listed = evaluation.metrics["per_symbol"].get(row["symbol"])
        if listed is not None:
            assert int(row["windows"]) == listed[row["part"]]["windows"]
            for key, value in listed[row["part"]][row["method"]].items():
                assert float(row[key] or "nan") == pytest.approx(
                    np.nan if value is None else value, nan_ok=True
                )
    windows = sum(int(row["windows"]) for row in rows if (row["part"], row["method"]) == ("test", "model"))
    assert windows == evaluation.metrics["test"]["windows"]


def test_an_empty_part_is_null_and_said(store_path: Path) -> None:
    metrics = measure(last_input, store_path, split=[0.8, 0.2, 0.0])
    assert metrics["test"] is None
    assert metrics["validation"]["windows"] > 0
    text = comparison_table(metrics)
    assert "There is no test part" in text
    (line,) = (line for line in text.splitlines() if line.startswith("  persistence"))
    assert line.endswith(" -"), "it never says up or down"


def test_a_diverged_model_is_said(store_path: Path) -> None:
    metrics = measure(lambda inputs: np.full(len(inputs), np.nan, np.float32), store_path)
    assert metrics["test"]["model"]["rmse"] is None
    assert "not finite" in comparison_table(metrics)
    json.dumps(metrics, allow_nan=False)


def test_table_of_a_file_from_before_a_baseline_was_added(store_path: Path) -> None:
    metrics = measure(last_input, store_path)
    whole = comparison_table(metrics)
    for part in ("validation", "test"):
        del metrics[part]["seasonal-naive"]
    assert "  seasonal-naive " in whole
    assert comparison_table(metrics) == "\n".join(
        line for line in whole.splitlines() if not line.startswith("  seasonal-naive ")
    )


def test_table_shows_each_method_and_the_verdict(store_path: Path) -> None:
    metrics = measure(last_input, store_path)
    text = comparison_table(metrics)
    for part in ("validation", "test"):
        assert metrics[part]["verdict"] in text
        for method in (*(baseline.name for baseline in BASELINES), "model"):
            assert f"{metrics[part][method]['rmse']:.5g}" in text
    assert max(map(len, text.splitlines()[:5])) <= 80


@pytest.fixture
def run_dir(tmp_path: Path, store_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A completed run whose network is persistence."""
    return make_run(tmp_path / "run", settings(store_path), monkeypatch)


def test_run_is_measured_as_training_did(run_dir: Path) -> None:
    before = json.loads((run_dir / "metrics.json").read_text())
    measured = evaluate_run(run_dir, None, World())
    assert measured == before
    write_metrics(run_dir, measured, "")
    assert json.loads((run_dir / "metrics.json").read_text()) == before


def test_damaged_metrics_are_not_written_over(run_dir: Path) -> None:
    (run_dir / "metrics.json").write_text('{"format": ')
    with pytest.raises(InputError, match=r"metrics\.json: cannot be read as JSON"):
        evaluate_run(run_dir, None, World())


def test_other_store_is_scaled_by_the_run(run_dir: Path, tmp_path: Path) -> None:
    longer = {"AAA": walk(1, 400), "NEW": walk(9, 400)}
    other = write_store(tmp_path / "longer.h5", longer)
    metrics = evaluate_run(run_dir, other, World())
    assert metrics["store"] == str(other)
    assert "samples_per_second" not in metrics
    assert list(metrics["per_symbol"]) == ["AAA"]
    assert any("not trained on: 1 symbol (NEW)" in note for note in metrics["notes"])
    test = metrics["test"]
    assert test["model"]["rmse"] == pytest.approx(test["persistence"]["rmse"], rel=1e-5)


def test_windows_that_may_have_been_trained_on_are_said(run_dir: Path, tmp_path: Path) -> None:
    earlier = write_store(tmp_path / "earlier.h5", {"AAA": walk(1, 300)}, first_day=14000)
    assert any("trained on some of them" in note for note in evaluate_run(run_dir, earlier, World())["notes"])


def test_store_of_strangers_is_refused(run_dir: Path, tmp_path: Path) -> None:
    other = write_store(tmp_path / "other.h5", {"XXX": walk(1), "YYY": walk(2)})
    with pytest.raises(InputError, match=r"none of its 2 symbols \(XXX, YYY\); it knows AAA, BBB, CCC"):
        evaluate_run(run_dir, other, World())


def test_store_without_the_columns_is_refused(run_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "columns.h5"
    with StoreWriter(path, ["last"], "test") as writer:
        writer.append("AAA", np.arange(300, dtype=np.int64), walk(1)[:, None])
    with pytest.raises(InputError, match="close"):
        evaluate_run(run_dir, path, World())


def test_store_without_a_named_symbol_is_refused(
    tmp_path: Path, store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = make_run(tmp_path / "named", settings(store_path, symbols=["AAA", "BBB"]), monkeypatch)
    other = write_store(tmp_path / "other.h5", {"AAA": walk(1)})
    with pytest.raises(InputError, match="BBB"):
        evaluate_run(named, other, World())


@pytest.mark.parametrize("missing", ["config.toml", "scaler.h5", "model.keras"])
def test_incomplete_run_is_refused(run_dir: Path, missing: str) -> None:
    (run_dir / missing).unlink()
    with pytest.raises(InputError):
        evaluate_run(run_dir, None, World())


def test_a_run_trained_on_a_gpu_is_measured_without_one(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hpc_lstm.parallel import gpu

    def fail(*_: object) -> None:
        raise AssertionError("the C engine forecasts: a GPU has nothing to do")

    monkeypatch.setattr(availability, "cuda_problem", fail)
    monkeypatch.setattr(gpu, "assign_gpu", fail)
    measured = evaluate_run(run_dir, None, World())
    config = run_dir / "config.toml"
    config.write_text(config.read_text() + '[train]\nbackend = "cuda"\n')
    assert evaluate_run(run_dir, None, World()) == measured


def test_network_of_another_run_is_refused(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hpc_lstm.model.engines import registry as engine

    other = SimpleNamespace(window=7, features=1, outputs=1, predict=last_input)
    monkeypatch.setattr(engine, "load_forecaster", lambda path, *, threads=1: other)
    with pytest.raises(InputError, match="windows of 7 rows"):
        evaluate_run(run_dir, None, World())


def test_a_run_that_may_only_be_read_is_measured_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody else's, or on a disk that is full."""
    store = write_store(tmp_path / "market.h5", {"A": walk(1), "B": walk(2)})
    run = make_run(tmp_path / "run", settings(store), monkeypatch)
    before, real = (run / "metrics.json").read_bytes(), os.open

    def refuse(path: object, flags: int, *more: object, **where: object) -> int:
        if flags & os.O_CREAT and str(run) in str(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return real(path, flags, *more, **where)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(SystemExit) as ended:
        cli.main(["evaluate", str(run)])
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert "persistence" in said.out
    (line,) = said.err.splitlines()
    assert f"{run}/symbols.csv: cannot be written: Permission denied; make room or choose a folder" in line
    assert (run / "metrics.json").read_bytes() == before
