"""Predictions by networks whose forecast of the next rows is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_runs import last_input, make_run, predict_symbol, settings, walk, write_store

from hpc_lstm.api.run import load as load_run
from hpc_lstm.errors import HpcLstmError, InputError
from hpc_lstm.evaluation.dates import date_texts, future_dates
from hpc_lstm.evaluation.recursion import forecast_recursively
from hpc_lstm.evaluation.together import Asking, forecast_together
from hpc_lstm.market.store_writer import StoreWriter
from hpc_lstm.preprocess.scaler import Scaler


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    return write_store(tmp_path / "market.h5", {"AAA": walk(1), "BBB": walk(2, 200)})


@pytest.fixture
def run_dir(tmp_path: Path, store_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose network is persistence."""
    return make_run(tmp_path / "run", settings(store_path), monkeypatch)


def test_persistence_stays_at_the_last_price(run_dir: Path) -> None:
    forecast = predict_symbol(run_dir, "BBB", 3)
    assert forecast.last.tolist() == forecast.persistence.tolist() == [walk(2, 200)[-1]] * 3
    assert forecast.prices == pytest.approx(forecast.last, rel=1e-6)


def test_typical_error_is_the_symbols_own_and_grows_as_a_random_walk(run_dir: Path) -> None:
    own = json.loads((run_dir / "metrics.json").read_text())["per_symbol"]["BBB"]["test"]["model"]["rmse"]
    assert predict_symbol(run_dir, "BBB", 4).errors == pytest.approx(own * np.sqrt([1, 2, 3, 4]))


def test_table_is_readable(run_dir: Path) -> None:
    text = predict_symbol(run_dir, "AAA", 2).table()
    assert text.startswith("AAA: last close ")
    assert "does not beat persistence" in text
    assert "RMSE of AAA on test" in text


def test_prediction_before_there_are_metrics(run_dir: Path) -> None:
    (run_dir / "metrics.json").unlink()
    forecast = predict_symbol(run_dir, "AAA")
    assert np.isnan(forecast.errors).all()
    assert "not known" in forecast.table()


def test_forecasts_are_fed_back(store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A network that goes on by the last difference: on a straight line every step stays on the line.
    line = write_store(tmp_path / "line.h5", {"AAA": 50 + 0.25 * np.arange(200)})
    run = make_run(tmp_path / "line", settings(line), monkeypatch, lambda x: 2 * x[:, -1, 0] - x[:, -2, 0])
    found = predict_symbol(run, "AAA", 5).prices
    assert found == pytest.approx(50 + 0.25 * np.arange(200, 205), abs=1e-3)


def test_log_return_network_with_other_features(
    store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The forecast is the last log return, so its growth goes on; "open" keeps its value.
    returns = np.random.default_rng(6).uniform(-0.02, 0.02, 200)
    returns[-1] = 0.01
    grown = write_store(tmp_path / "grown.h5", {"AAA": 50 * np.exp(np.cumsum(returns))})
    data = settings(grown, features=["log-returns", "open"], target="log-returns")
    run = make_run(tmp_path / "grown", data, monkeypatch, lambda x: x[:, -1, 0])
    forecast = predict_symbol(run, "AAA", 3)
    assert forecast.prices / forecast.last == pytest.approx(np.exp(0.01 * np.arange(1, 4)), rel=1e-5)
    assert "the columns of these inputs keep their last value: open" in forecast.table()


def test_moving_averages_of_forecast_rows_are_those_of_the_longer_series(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The network forecasts the mean of its last two averages; by hand on the prices that it makes.
    store = write_store(tmp_path / "market.h5", {"AAA": walk(1), "BBB": walk(2, 200)})
    data = settings(store, features=["sma(close, 4)", "ema(close, 3)"], scaling="standard")
    run = make_run(tmp_path / "run", data, monkeypatch, lambda x: x[:, -1].mean(axis=1))
    scaler = Scaler.load(run / "scaler.h5")
    prices = walk(1).tolist()
    for _ in range(6):
        averages = [np.mean(prices[-4:]), pd.Series(prices).ewm(span=3).mean().iloc[-1]]
        scaled = np.mean(np.array(averages) * scaler.scale[0, :2] + scaler.shift[0, :2])
        prices.append((scaled - scaler.shift[0, 2]) / scaler.scale[0, 2])
    assert predict_symbol(run, "AAA", 6).prices == pytest.approx(prices[-6:], rel=1e-6)


def test_rows_between_horizons_are_forecast_from_the_window_a_horizon_before() -> None:
    rows = np.column_stack([np.arange(10.0), np.full(10, 7.0)])
    asked: list[list[int]] = []

    def forecast(rows: np.ndarray, ends: np.ndarray) -> Asking[np.ndarray]:
        asked.append(ends.tolist())
        return (yield rows[ends, 0]) + 3  # the line goes on: right for every row 3 ahead

    (found,) = forecast_together(
        iter([forecast_recursively(rows, 0, forecast, horizon=3, steps=3)]), lambda windows: windows
    )
    assert found.tolist() == [12.0, 15.0, 18.0]
    assert asked == [[7, 8, 9], [10, 11, 12], [15]]


def test_forecast_that_is_not_finite_stops() -> None:
    def forecast(rows: np.ndarray, ends: np.ndarray) -> Asking[np.ndarray]:
        return (yield np.full(len(ends), np.nan))

    asking = forecast_recursively(np.zeros((5, 1)), 0, forecast, 1, 3)
    with pytest.raises(HpcLstmError, match="step 1 is not a finite number"):
        forecast_together(iter([asking]), lambda windows: windows)


def test_an_interval_is_calibrated_on_validation_and_grows_with_the_steps(run_dir: Path) -> None:
    forecast = predict_symbol(run_dir, "AAA", 4)
    assert forecast.coverage == 0.9
    assert (forecast.low < forecast.prices).all()
    assert (forecast.prices < forecast.high).all()
    widths = forecast.high - forecast.low
    assert widths == pytest.approx(widths[0] * np.sqrt([1, 2, 3, 4]))
    text = forecast.table()
    assert "low to high: meant to contain 90% of the values to come, calibrated on validation" in text
    (run_dir / "intervals.json").unlink()  # a run of an older version
    forecast = predict_symbol(run_dir, "AAA")
    assert np.isnan(forecast.low).all()
    assert "low" not in forecast.table()


def test_every_output_is_forecast_from_known_rows(
    store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = settings(store_path, target=["log-returns", "volatility"], horizon=[1, 5], scaling="standard")
    outputs = np.array([0.5, 1.0, -0.25, 9.0], np.float32)
    run = make_run(tmp_path / "many", data, monkeypatch, lambda x: np.repeat(outputs[None], len(x), axis=0))
    forecast = predict_symbol(run, "BBB")
    scaler = Scaler.load(run / "scaler.h5")
    values = scaler.inverse_target(outputs, 1, np.arange(1, 5))
    last = walk(2, 200)[-1]
    assert forecast.prices == pytest.approx([*(last * np.exp(values[:2])), max(values[2], 0), values[3]])
    assert forecast.targets == ["log-returns"] * 2 + ["volatility"] * 2
    assert forecast.rows_ahead == [1, 5, 1, 5]
    head, *rows = forecast.table().splitlines()[1:6]
    assert head.startswith("  rows ahead  ")
    assert [line.split()[0] for line in rows] == ["1", "5", "1", "5"]
    assert forecast.persistence[:2].tolist() == [last, last]
    assert np.isnan(forecast.persistence[2:]).all()
    assert (forecast.low <= forecast.prices).all()
    assert forecast.dates[0] != forecast.dates[1] == forecast.dates[3]
    assert "volatility" in forecast.table()
    with pytest.raises(InputError, match=r"--steps 2: .* leave --steps out"):
        predict_symbol(run, "BBB", 2)


def test_a_direction_is_a_probability_without_an_interval(
    store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(
        tmp_path / "run",
        settings(store_path, target="direction"),
        monkeypatch,
        lambda x: np.full(len(x), 1.0),
    )
    forecast = predict_symbol(run, "AAA")
    assert forecast.prices == pytest.approx(1 / (1 + np.exp(-1)))
    assert np.isnan(forecast.low).all()
    assert "direction" in forecast.table()


def test_features_of_the_calendar_know_the_days_to_come(
    store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The network repeats the sine of its last row's weekday: the second step sees that of the day after.
    data = settings(store_path, features=["weekday-sine", "market"])
    run = make_run(tmp_path / "days", data, monkeypatch, last_input)
    scaler = Scaler.load(run / "scaler.h5")
    found = predict_symbol(run, "AAA", 3).prices * scaler.scale[0, 2] + scaler.shift[0, 2]
    last = 15000 + len(walk(1)) - 1
    days = last + np.arange(3)
    assert found == pytest.approx(np.sin(2 * np.pi * ((days + 3) % 7) / 7), abs=1e-5)


def test_weekdays_follow_weekdays() -> None:
    friday = int(np.datetime64("2013-03-01", "D").astype(int))
    week = np.arange(friday - 4, friday + 1)
    found, rule = future_dates(week, "D", np.array([1, 2, 6]))
    assert found.astype("datetime64[D]").astype(str).tolist() == ["2013-03-04", "2013-03-05", "2013-03-11"]
    assert "holidays" in rule


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (pd.date_range("2012-01-01", "2013-04-01", freq="MS"), ["2013-05-01", "2013-06-01", "2013-07-01"]),
        (pd.date_range("2012-01-01", "2013-04-30", freq="ME"), ["2013-05-31", "2013-06-30", "2013-07-31"]),
        (pd.date_range("2012-01-01", "2013-04-30", freq="BME"), ["2013-05-31", "2013-06-28", "2013-07-31"]),
        (pd.date_range("2012-01-01", "2013-05-01", freq="BMS"), ["2013-06-03", "2013-07-01", "2013-08-01"]),
        (pd.date_range("2012-01-01", "2013-04-30", freq="QE"), ["2013-06-30", "2013-09-30", "2013-12-31"]),
        ([f"2013-{month:02}-15" for month in range(1, 5)], ["2013-05-15", "2013-06-15", "2013-07-15"]),
        ([*pd.date_range("2013-01-04", None, 15, "7D"), "2013-04-18"], ["2013-04-26", "2013-05-03", "2013-05-10"]),
        ([*pd.bdate_range("2013-03-01", "2013-04-12"), "2013-04-13"], ["2013-04-15", "2013-04-16", "2013-04-17"]),
    ],
)  # fmt: skip
def test_months_weeks_and_weekdays_go_on(rows: Sequence[object], expected: list[str]) -> None:
    dates = pd.DatetimeIndex(rows).values.astype("datetime64[D]").astype(np.int64)
    found, _ = future_dates(dates, "D", np.array([1, 2, 3]))
    assert found.astype("datetime64[D]").astype(str).tolist() == expected


def test_times_are_as_exact_as_they_need_to_be() -> None:
    second = 10**9
    assert date_texts([0, 60 * second], "ns") == ["1970-01-01T00:00", "1970-01-01T00:01"]
    assert date_texts([0, 50 * second], "ns") == ["1970-01-01T00:00:00", "1970-01-01T00:00:50"]
    assert date_texts([second // 4], "ns") == ["1970-01-01T00:00:00.250"]


def test_bars_of_seconds_keep_their_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "seconds.h5"
    with StoreWriter(store, ["close"], "test", date_unit="ns") as writer:
        for symbol, seconds in (("AAA", 10), ("BBB", 60)):
            times = np.datetime64("2013-03-01T18:10:00", "ns") + np.arange(60) * np.timedelta64(seconds, "s")
            writer.append(symbol, times.astype(np.int64), walk(1, 60)[:, None])
    run = make_run(tmp_path / "run", settings(store), monkeypatch)
    forecast = predict_symbol(run, "AAA", 2)
    assert forecast.last_date == "2013-03-01T18:19:50"
    assert forecast.dates == ["2013-03-01T18:20:00", "2013-03-01T18:20:10"]
    with pytest.warns(UserWarning, match="outside of what the scaling was fitted on"):
        table = load_run(run).predict(symbols=["BBB", "AAA"])
    assert table["date"].astype(str).tolist() == ["2013-03-01 19:10:00", "2013-03-01 18:20:00"]


def test_other_spacings_go_on() -> None:
    assert future_dates(np.arange(100, 120), "D", np.array([1, 2]))[0].tolist() == [120, 121]  # every day
    assert future_dates(np.arange(100, 170, 7), "D", np.array([2]))[0].tolist() == [163 + 14]  # weekly
    minute = 60 * 10**9
    assert future_dates(np.arange(5) * minute, "ns", np.array([1]))[0].tolist() == [5 * minute]


@pytest.mark.parametrize(("window", "steps"), [(1, 1), (2, 1), (3, 4)])
def test_a_short_window_does_not_hide_the_spacing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int, steps: int
) -> None:
    """The last rows are of a Friday and a Monday, and of two Mondays."""
    for name, days, expected in (
        ("daily", np.busday_offset("2013-01-01", np.arange(60), roll="forward"), "2013-03-26"),
        ("weekly", np.datetime64("2013-01-07") + 7 * np.arange(60), "2014-03-03"),
    ):
        store = tmp_path / f"{name}.h5"
        with StoreWriter(store, ["close"], "test") as writer:
            writer.append("AAA", days.astype("datetime64[D]").astype(np.int64), walk(1, 60)[:, None])
        run = make_run(tmp_path / name, settings(store, window=window), monkeypatch)
        assert predict_symbol(run, "AAA", steps).dates[0] == expected


def test_unknown_symbol_names_the_nearest(run_dir: Path) -> None:
    with pytest.raises(InputError, match="AAA"):
        predict_symbol(run_dir, "AAAA")


def test_symbol_that_was_not_trained_on_is_refused(run_dir: Path, tmp_path: Path) -> None:
    other = write_store(tmp_path / "other.h5", {"NEW": walk(5)})
    with pytest.raises(
        InputError, match=r"symbol NEW: .* not trained on it, .*; forecast symbols of the run \(AAA"
    ):
        predict_symbol(run_dir, "NEW", store=other)


def test_too_few_rows_say_how_many_are_needed(
    store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "far", settings(store_path, horizon=4), monkeypatch, last_input)
    short = write_store(tmp_path / "short.h5", {"AAA": walk(1, 7)})
    assert len(predict_symbol(run, "AAA", 1, short).prices) == 1
    with pytest.raises(InputError, match=r"has 7 rows .* need 8"):
        predict_symbol(run, "AAA", 2, short)


def test_gap_in_the_last_window_names_the_day(run_dir: Path, tmp_path: Path) -> None:
    prices = walk(1)
    prices[-2] = np.nan
    with pytest.raises(InputError, match="AAA: close on 2011-11-20 is nan"):
        predict_symbol(run_dir, "AAA", store=write_store(tmp_path / "gap.h5", {"AAA": prices}))


@pytest.mark.parametrize("steps", [0, 2.5, "2", 10**23])
def test_steps_are_a_whole_number_above_0(run_dir: Path, steps: object) -> None:
    with pytest.raises(
        InputError, match=f"a whole number of at least 1 and at most 1,000,000, got {steps!r}"
    ):
        predict_symbol(run_dir, "AAA", steps)
    assert len(predict_symbol(run_dir, "AAA", np.int64(2)).dates) == 2
