"""A symbol's forecasts, from a real store and scaler, with a network whose forecasts are known."""

from __future__ import annotations

import numpy as np
import pytest

from hpc_lstm import config as configuration
from hpc_lstm.errors import InputError
from hpc_lstm.evaluation.intervals import Intervals
from hpc_lstm.evaluation.past_forecasts import forecast_part, prepared_as_trained
from hpc_lstm.evaluation.trained_run import TrainedRun
from hpc_lstm.market.store import MarketStore
from hpc_lstm.market.store_writer import StoreWriter
from hpc_lstm.parallel.world import World
from hpc_lstm.preprocess import backends, prepare
from hpc_lstm.report.series import forecast_series, persistence_loss
from hpc_lstm.runs import directory

ROWS, WINDOW, HORIZON = 200, 10, 3
NO_INTERVALS = Intervals(0.9, np.array([np.nan]))
NO_TWO_INTERVALS = Intervals(0.9, np.array([np.nan, np.nan]))
LENGTHS = {"AAA": ROWS, "BBB": ROWS + 7}


@pytest.fixture
def prices(tmp_path):
    rng = np.random.default_rng(5)
    found = {s: 40 + np.cumsum(rng.normal(size=n)) for s, n in LENGTHS.items()}
    with StoreWriter(tmp_path / "market.h5", ["close"], "test") as writer:
        for symbol, values in found.items():
            writer.append(symbol, np.arange(len(values)) + 14_000, values[:, None])
    return found


@pytest.fixture
def trained(tmp_path, prices):
    """A run whose network says: as the window's last row."""
    return make_trained(tmp_path, lambda inputs: inputs[:, -1, :1], NO_INTERVALS)


def make_trained(folder, predict, intervals, loss="auto", **data):
    tables = {"store": str(folder / "market.h5"), "window": WINDOW, "horizon": HORIZON}
    tables |= {"features": ["close"], "target": "close", "scaling": "minmax", **data}
    config = configuration.parse({"data": tables, "train": {"loss": loss}}, "test")
    with MarketStore(config.data.store) as store:
        scaler = prepare.prepare(store, config.data, World(), backends.create_backend("host")).scaler
    return TrainedRun(directory.at(folder), config, scaler, predict, intervals)


@pytest.mark.parametrize("symbol", ["AAA", "BBB", None])
def test_a_network_that_repeats_the_last_price_is_persistence(trained, prices, symbol):
    series = forecast_series(trained, symbol)
    values = prices[symbol or "AAA"]
    windows = len(values) - WINDOW - HORIZON + 1
    # A window's last row is on or after the last validation day, of the days that have a target.
    last_validation = int(windows * 0.85 + 1e-9) - 1 + WINDOW + HORIZON - 1
    targets = np.arange(last_validation + HORIZON, len(values))
    assert series.symbol == (symbol or "AAA")
    assert series.horizon == HORIZON
    np.testing.assert_array_equal(series.actual, values[targets])
    np.testing.assert_array_equal(series.persistence, values[targets - HORIZON])
    np.testing.assert_allclose(series.model, series.persistence, rtol=1e-5)
    np.testing.assert_array_equal(series.dates, (targets + 14_000).astype("datetime64[D]"))
    assert np.isnan([series.lower, series.upper]).all()
    assert series.column == "close"


def test_an_interval_is_told_in_prices_of_the_first_target_that_has_one(tmp_path, prices):
    def network(inputs):
        return np.repeat(inputs[:, -1, :1], 4, axis=1)  # volatilities, then prices, at two horizons each

    margins = Intervals(0.8, np.array([0.5, 0.5, 0.125, 0.25]))
    two = {"target": ["volatility(close)", "close"], "horizon": [1, HORIZON]}
    run = make_trained(tmp_path, network, margins, **two)
    series, width = forecast_series(run), 0.125 / run.scaler.scale[0, 3]
    assert (series.horizon, series.coverage) == (1, 0.8)
    np.testing.assert_allclose(series.model, series.persistence, rtol=1e-5)
    np.testing.assert_allclose(series.upper - series.model, width)
    np.testing.assert_allclose(series.model - series.lower, width)


def test_outputs_without_a_price_are_told_in_their_own_unit(tmp_path, prices):
    def network(inputs):
        return np.tile(np.float32([0.5, 0.75]), (len(inputs), 1))  # in scaled units, at two horizons

    run = make_trained(tmp_path, network, NO_TWO_INTERVALS, target="volatility(close)", horizon=[1, HORIZON])
    with MarketStore(run.config.data.store) as store:
        prepared = prepared_as_trained(run, store, ["BBB"])
        near, far = forecast_part(run, prepared, "test", [0, 1])
    returns = np.diff(np.log(prices["BBB"]))
    rows = np.searchsorted(np.arange(len(prices["BBB"])) + 14_000, far.date.astype(np.int64))
    expected = [np.sqrt(np.mean(returns[row - HORIZON : row] ** 2)) for row in rows]
    np.testing.assert_allclose(far.actual, expected, rtol=1e-5)
    np.testing.assert_array_equal(far.last, prices["BBB"][rows - HORIZON])
    assert (near.horizon, far.horizon) == (1, HORIZON)
    assert (far.date - far.last_date == np.timedelta64(HORIZON, "D")).all()
    column = prepared.columns.targets[1].column
    np.testing.assert_allclose(
        far.forecast, run.scaler.inverse_target(np.float32(0.75), 1, column), rtol=1e-6
    )


@pytest.mark.parametrize("horizon", [HORIZON, [1, HORIZON]])
@pytest.mark.parametrize("target", ["close", "log-returns(close)"])
def test_the_loss_of_persistence_is_that_of_a_network_that_forecasts_no_change(
    tmp_path, prices, target, horizon
):
    run = make_trained(tmp_path, None, NO_INTERVALS, target=target, horizon=horizon)
    squares = []
    with MarketStore(run.config.data.store) as store:
        prepared = prepare.prepare(store, run.config.data, World(), backends.create_backend("host"))
        for output, column in enumerate(prepared.columns.targets):
            windows = prepared.of_output(output).validation
            around = windows.prices(np.arange(len(windows)))
            change = around.actual - around.last if target == "close" else np.log(around.actual / around.last)
            squares.append(np.square(change * run.scaler.scale[around.symbol, column.column]))
    assert persistence_loss(run) == pytest.approx(np.mean(squares), rel=1e-4)


def test_a_loss_of_another_kind_is_not_compared_with_persistence(tmp_path, prices):
    assert persistence_loss(make_trained(tmp_path, None, NO_INTERVALS, loss="mae")) is None


def test_an_unknown_symbol_is_one_clear_line(trained):
    with pytest.raises(InputError, match="CCC"):
        forecast_series(trained, "CCC")


def test_a_part_without_windows_is_one_clear_line(trained):
    data = trained.config.data.model_copy(update={"split": [0.8, 0.2, 0.0]})
    without = TrainedRun(
        trained.files,
        trained.config.model_copy(update={"data": data}),
        trained.scaler,
        trained.predict,
        NO_INTERVALS,
    )
    with pytest.raises(InputError, match="no windows in the test part"):
        forecast_series(without)
