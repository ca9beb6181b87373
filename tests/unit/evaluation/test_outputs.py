"""Several targets and horizons at once: their batches, metrics and intervals, whatever the number of ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulated_ranks import on_ranks
from small_runs import WINDOW, settings, walk, write_store

from hpc_lstm.config import ForecastConfig, RunConfig, TrainConfig
from hpc_lstm.errors import InputError
from hpc_lstm.evaluation.all_outputs import evaluate_outputs
from hpc_lstm.evaluation.backtest import BacktestSettings
from hpc_lstm.evaluation.comparison_table import comparison_table
from hpc_lstm.evaluation.intervals import (
    Intervals,
    calibrate,
    constant_targets,
    kth_smallest,
    read_intervals,
    write_intervals,
)
from hpc_lstm.evaluation.output_metrics import LEVELS, output_metrics
from hpc_lstm.evaluation.window_forecasts import of_inputs
from hpc_lstm.market.store import MarketStore
from hpc_lstm.market.synthetic import synthesize
from hpc_lstm.model.engines.head import Head
from hpc_lstm.parallel.world import World
from hpc_lstm.preprocess import backends, prepare
from hpc_lstm.runs.directory import at

HOST = backends.create_backend("host")
HORIZONS = [1, 3, 7]


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    return write_store(tmp_path / "market.h5", {"AAA": walk(1), "BBB": walk(2, 200), "CCC": walk(3, 90)})


def config_of(path: Path, loss: str = "auto", **data: Any) -> RunConfig:
    return RunConfig(data=settings(path, **data), train=TrainConfig(loss=loss))


def definition(values: np.ndarray, name: str, row: int, horizon: int) -> float:
    """A target of one row by its definition, from the closes of its symbol."""
    before, now = values[row - horizon], values[row]
    if name == "close":
        return now
    if name == "direction":
        return float(now > before)
    returns = np.diff(np.log(values[row - horizon : row + 1]))
    return returns.sum() if name == "log-returns" else np.sqrt(np.mean(returns**2))


@pytest.mark.parametrize("targets", [["close"], ["log-returns", "close", "volatility"], ["direction"]])
@pytest.mark.parametrize("ranks", [1, 3])
def test_a_batch_has_every_target_at_every_horizon(store_path: Path, targets: list[str], ranks: int) -> None:
    data = config_of(store_path, target=targets, horizon=HORIZONS, scaling="standard").data
    closes = {"AAA": walk(1), "BBB": walk(2, 200), "CCC": walk(3, 90)}
    with MarketStore(store_path) as store:

        def work(world: World) -> list[tuple[np.ndarray, np.ndarray]]:
            prepared = prepare.prepare(store, data, world, HOST)
            found = []
            for windows in (prepared.train, prepared.load_windows("test")):
                numbers = np.arange(len(windows))
                _, batch = windows.batch(numbers)
                symbol = windows.prices(numbers).symbol
                first = np.concatenate(
                    [np.arange(n) + f for f, n in zip(windows.part.first, windows.part.count, strict=True)]
                )
                last = first - store.offsets[symbol] + WINDOW - 1
                for k, target in enumerate(prepared.columns.targets):
                    values = prepared.scaler.inverse_target(batch[:, k], symbol, target.column)
                    wanted = [
                        definition(
                            closes[store.symbols[s]], target.name, row + target.horizon, target.horizon
                        )
                        for s, row in zip(symbol, last.tolist(), strict=True)
                    ]
                    found.append((values, np.array(wanted)))
                    assert target.column == len(data.features) + k
            return found

        for found in on_ranks(ranks, work):
            for values, wanted in found:
                np.testing.assert_allclose(values, wanted, rtol=1e-4, atol=1e-5)


def test_scaling_of_every_target_is_that_of_one_rank_and_of_train_rows_alone(store_path: Path) -> None:
    for scaling in ("minmax", "standard"):
        data = config_of(
            store_path, target=["log-returns", "close", "volatility"], horizon=HORIZONS, scaling=scaling
        ).data
        with MarketStore(store_path) as store:
            alone = prepare.prepare(store, data, World(), HOST).scaler
            assert alone.columns[1:] == [
                f"{t}@{h}" for t in ("log-returns", "close", "volatility") for h in HORIZONS
            ]
            for ranks in (2, 5):
                for found in on_ranks(ranks, lambda w: prepare.prepare(store, data, w, HOST).scaler):  # noqa: B023
                    np.testing.assert_allclose(found.scale, alone.scale, rtol=1e-9)
                    np.testing.assert_allclose(found.shift, alone.shift, rtol=1e-9, atol=1e-12)


def test_directions_are_not_scaled(store_path: Path) -> None:
    with MarketStore(store_path) as store:
        prepared = prepare.prepare(store, config_of(store_path, target="direction").data, World(), HOST)
    assert set(np.unique(prepared.train.batch(np.arange(len(prepared.train)))[1])) == {0.0, 1.0}


def fixed(outputs: np.ndarray) -> Any:
    """A network that gives the same outputs for every window."""
    return lambda inputs: np.repeat(outputs[None], len(inputs), axis=0).astype(np.float32)


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_metrics_of_a_distribution_are_those_of_scipy(store_path: Path, ranks: int) -> None:
    import scipy.stats

    config = config_of(store_path, "gaussian", target="log-returns", horizon=[1, 3], scaling="standard")
    head = Head.of(config)
    outputs = np.array([0.1, 0.3, -0.2, 0.8])
    with MarketStore(store_path) as store:

        def work(world: World) -> tuple[Any, Any]:
            prepared = prepare.prepare(store, config.data, world, HOST)
            intervals = Intervals(0.8, np.full(2, np.nan))
            windows = prepared.load_windows("test")
            found = output_metrics(of_inputs(fixed(outputs)), head, prepared, windows, intervals, world, 16)
            batch = windows.batch(np.arange(len(windows)))[1]
            return found, (batch, windows.prices(np.arange(len(windows))).symbol, prepared.scaler)

        results = on_ranks(ranks, work)
    assert all(found == results[0][0] for found, _ in results)
    batches = np.concatenate([parts[0] for _, parts in results])
    symbols, scaler = np.concatenate([parts[1] for _, parts in results]), results[0][1][2]
    for k, found in enumerate(results[0][0]):
        y = scaler.inverse_target(batches[:, k], symbols, 1 + k)
        scale = 1 / scaler.scale[symbols, 1 + k]
        mean = scaler.inverse_target(np.full(len(y), outputs[2 * k]), symbols, 1 + k)
        spread = scale * (np.log1p(np.exp(outputs[2 * k + 1])) + 1e-4)
        law = scipy.stats.norm(mean, spread)
        low, high = law.ppf(0.1), law.ppf(0.9)
        error = mean - y
        assert (found["target"], found["horizon"], found["windows"]) == ("log-returns", [1, 3][k], len(y))
        assert found["rmse"] == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-5)
        assert found["mase"] == pytest.approx(np.abs(error).mean() / np.abs(y).mean(), rel=1e-5)
        assert found["coverage"]["share"] == pytest.approx(np.mean((low <= y) & (y <= high)), abs=1e-9)
        assert found["width"] == pytest.approx(np.mean(high - low), rel=1e-5)
        hits = int(np.sum(np.sign(mean) == np.sign(y)))
        wilson = scipy.stats.binomtest(hits, len(y)).proportion_ci(0.95, "wilson")
        assert (found["direction"]["low"], found["direction"]["high"]) == pytest.approx(tuple(wilson))
        z = (y - mean) / spread
        phi, cdf = scipy.stats.norm.pdf(z), scipy.stats.norm.cdf(z)
        exact = np.mean(spread * (z * (2 * cdf - 1) + 2 * phi - 1 / np.sqrt(np.pi)))
        assert found["crps"] == pytest.approx(exact, rel=0.03)  # 99 levels stand for all
        pinball = [
            np.mean(np.maximum(q * (y - at), (q - 1) * (y - at)))
            for q, at in ((0.1, low), (0.5, mean), (0.9, high))
        ]
        assert found["pinball"] == pytest.approx(np.mean(pinball), rel=1e-5)
    assert len(LEVELS) == 99


@pytest.mark.parametrize("scaling", ["standard", "minmax"])
@pytest.mark.parametrize("target", ["log-returns", "close"])
def test_unchanged_prices_have_no_direction(tmp_path: Path, target: str, scaling: str) -> None:
    rng = np.random.default_rng(4)
    moves = rng.choice([-0.25, 0.0, 0.25], 300)
    close = 80 + np.cumsum(moves)
    store_path = write_store(tmp_path / "still.h5", {"AAA": close})
    config = config_of(store_path, features=[target], target=target, scaling=scaling)
    with MarketStore(config.data.store) as store:
        prepared = prepare.prepare(store, config.data, World(), HOST)
        windows, none = prepared.load_windows("test"), Intervals(0.9, np.array([np.nan]))
        up = of_inputs(lambda inputs: np.full((len(inputs), 1), 1e3, np.float32))
        found = output_metrics(up, Head.of(config), prepared, windows, none, World(), 16)[0]
    tested = moves[-len(windows) :]
    assert (tested == 0).any()
    assert found["direction"]["share"] == np.sum(tested > 0) / np.sum(tested != 0)


def test_a_price_is_measured_as_a_share_of_the_last_one(store_path: Path) -> None:
    config = config_of(store_path)
    with MarketStore(store_path) as store:
        prepared = prepare.prepare(store, config.data, World(), HOST)
        windows = prepared.validation
        none = Intervals(0.9, np.array([np.nan]))
        last = of_inputs(lambda inputs: inputs[:, -1, :1])
        found = output_metrics(last, Head.of(config), prepared, windows, none, World(), 16)[0]
        prices = windows.prices(np.arange(len(windows)))
    change = prices.actual / prices.last - 1
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean(change**2)), rel=1e-4)
    assert found["mase"] == pytest.approx(1, rel=1e-4)
    assert (found["coverage"], found["crps"]) == (None, None)


def test_every_output_has_the_tables_of_a_run_of_its_own(store_path: Path) -> None:
    """The first of three horizons is measured as if it were the only one, on the windows that all have."""
    config = config_of(store_path, target=["log-returns", "volatility"], horizon=HORIZONS, scaling="standard")
    head, intervals = Head.of(config), Intervals(0.9, np.full(6, 0.7))
    with MarketStore(store_path) as store:
        prepared = prepare.prepare(store, config.data, World(), HOST)
        still = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
        metrics = evaluate_outputs(fixed(still), head, intervals, prepared, World()).metrics
        test = prepared.load_windows("test")
        for output, table in enumerate(metrics["by_output"]):
            assert (table["target"], table["horizon"]) == ("log-returns", HORIZONS[output])
            prices = prepared.of_output(output).load_windows("test").prices(np.arange(len(test)))
            error = prices.last - prices.actual
            assert table["test"]["persistence"]["rmse"] == pytest.approx(np.sqrt(np.mean(error**2)))
    assert {k: v for k, v in metrics["test"].items() if k != "outputs"} == metrics["by_output"][0]["test"]
    assert [(o["target"], o["horizon"]) for o in metrics["test"]["outputs"]] == [
        (target, horizon) for target in ("log-returns", "volatility") for horizon in HORIZONS
    ]
    text = comparison_table(metrics)
    assert text.count("volatility") == 2 * 2 * len(HORIZONS)  # point forecasts and intervals, of two parts
    assert "intervals are meant to cover 90%" in text


def test_each_window_is_forecast_once(store_path: Path) -> None:
    config = config_of(store_path, target=["log-returns", "volatility"], horizon=HORIZONS, scaling="standard")
    network, asked = fixed(np.zeros(6)), []

    def predict(inputs: np.ndarray) -> np.ndarray:
        asked.append(len(inputs))
        return network(inputs)

    with MarketStore(store_path) as store:
        prepared = prepare.prepare(store, config.data, World(), HOST)
        intervals, trading = Intervals(0.9, np.full(6, 0.7)), BacktestSettings(cost=0.001, rule="interval")
        evaluate_outputs(
            *(predict, Head.of(config), intervals, prepared, World()), batch_size=16, trading=trading
        )
        assert sum(asked) == len(prepared.validation) + len(prepared.load_windows("test"))


@pytest.mark.parametrize("margin", [0.1, 9.0])
def test_a_backtest_trades_on_the_intervals_of_the_first_priced_output(
    store_path: Path, margin: float
) -> None:
    config = config_of(store_path, target=["volatility", "log-returns"], scaling="standard")
    head, intervals = Head.of(config), Intervals(0.9, np.array([np.nan, margin]))
    forecast = 2.0
    with MarketStore(store_path) as store:
        prepared = prepare.prepare(store, config.data, World(), HOST)
        windows, target = prepared.load_windows("test"), prepared.columns.targets[1]
        prices = windows.prices(np.arange(len(windows)))
        low, point = (
            prepared.scaler.inverse_target(np.full(len(windows), at), prices.symbol, target.column)
            for at in (forecast - margin, forecast)
        )

        def work(world: World) -> dict[str, float]:
            mine = prepare.prepare(store, config.data, world, HOST)
            predict = fixed(np.array([0.0, forecast]))
            return {
                rule: evaluate_outputs(
                    *(predict, head, intervals, mine, world), trading=BacktestSettings(0.0, True, rule)
                ).metrics["test"]["backtest"]["model"]["invested"]
                for rule in ("sign", "interval", "scaled")
            }

        change, room = np.expm1(point), np.exp(point) - np.exp(low)
        sizes = {"sign": np.ones(len(low)), "interval": low > 0, "scaled": np.minimum(change / room, 1)}
        assert (point > 0).all()
        days = np.unique(prices.date)
        for found in on_ranks(2, work):
            for rule, size in sizes.items():
                expected = np.mean([size[prices.date == day].mean() for day in days])
                assert found[rule] == pytest.approx(expected, rel=1e-6), rule


def test_a_backtest_on_intervals_needs_some_and_a_price(store_path: Path) -> None:
    with MarketStore(store_path) as store:
        for data, reason in (
            ({"target": "log-returns"}, "the run has no intervals to trade on"),
            ({"target": "direction"}, "no price follows from direction"),
        ):
            config = config_of(store_path, **data)
            prepared = prepare.prepare(store, config.data, World(), HOST)
            with pytest.raises(InputError, match=reason):
                evaluate_outputs(
                    *(fixed(np.zeros(1)), Head.of(config), Intervals(0.9, np.array([np.nan]))),
                    *(prepared, World()),
                    trading=BacktestSettings(0.0, rule="interval"),
                )


def test_a_direction_has_a_share_of_hits_and_a_log_loss_but_no_price(store_path: Path) -> None:
    config = config_of(store_path, target="direction", horizon=[1, 3])
    with MarketStore(store_path) as store:
        prepared = prepare.prepare(store, config.data, World(), HOST)
        intervals = calibrate(
            fixed(np.array([2.0, -1.0])), Head.of(config), prepared, World(), ForecastConfig(), 64
        )
        assert np.isnan(intervals.margins).all()
        metrics = evaluate_outputs(
            fixed(np.array([2.0, -1.0])), Head.of(config), intervals, prepared, World()
        ).metrics
        rose = prepared.load_windows("test").batch(np.arange(metrics["test"]["windows"]))[1]
    up, down = metrics["test"]["outputs"]
    assert up["direction"]["share"] == pytest.approx(rose[:, 0].mean())
    assert down["direction"]["share"] == pytest.approx(1 - rose[:, 1].mean())
    p = 1 / (1 + np.exp(-2.0))
    assert up["log_loss"] == pytest.approx(
        -np.mean(np.where(rose[:, 0] > 0, np.log(p), np.log(1 - p))), rel=1e-6
    )
    assert up["brier"] == pytest.approx(np.mean((p - rose[:, 0]) ** 2), rel=1e-6)
    assert "model" not in metrics["test"]
    assert "no price follows from direction" in comparison_table(metrics)


@pytest.fixture(scope="module")
def alike_days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of synthetic prices."""
    path = tmp_path_factory.mktemp("alike") / "market.h5"
    synthesize(path, symbols=30, days=700, seed=4)
    return path


@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize("loss", ["mse", "quantile", "student-t"])
def test_calibrated_intervals_hold_what_they_state(alike_days: Path, loss: str, ranks: int) -> None:
    """On synthetic prices, whose days are alike; a network that is wrong about the scale is put right."""
    config = config_of(
        alike_days,
        loss,
        target="log-returns",
        horizon=[1, 5],
        scaling="standard",
        features=["close"],
    )
    head, settings_ = Head.of(config), ForecastConfig(coverage=0.8)
    outputs = {"mse": [0.0, 0.0], "quantile": [-0.3, 0, 0.2] * 2, "student-t": [0.0, 3.0] * 2}[loss]
    with MarketStore(alike_days) as store:

        def work(world: World) -> tuple[Intervals, Any]:
            prepared = prepare.prepare(store, config.data, world, HOST)
            network = fixed(np.array(outputs))
            intervals = calibrate(network, head, prepared, world, settings_, 500)
            windows = prepared.load_windows("test")
            metrics = output_metrics(of_inputs(network), head, prepared, windows, intervals, world, 500)
            return intervals, metrics

        found = on_ranks(ranks, work)
    stated = 0.9 if loss == "quantile" else 0.8
    for intervals, metrics in found:
        np.testing.assert_array_equal(intervals.margins, found[0][0].margins)
        assert metrics == found[0][1]
        for output in metrics:
            assert output["coverage"]["stated"] == pytest.approx(stated)
            assert output["coverage"]["share"] == pytest.approx(stated, abs=0.03)


def test_without_calibration_there_is_the_interval_of_the_loss_or_none(store_path: Path) -> None:
    with MarketStore(store_path) as store:
        for loss, known in (("mse", False), ("gaussian", True)):
            config = config_of(store_path, loss)
            prepared = prepare.prepare(store, config.data, World(), HOST)
            off = ForecastConfig(calibration="none")
            head = Head.of(config)
            network = fixed(np.zeros(head.outputs))
            intervals = calibrate(network, head, prepared, World(), off, 64)
            low, high = intervals.of(head, network(np.zeros((3, 1))))
            assert np.isfinite(low).all() == np.isfinite(high).all() == known
            assert (low[:, 0] < high[:, 0]).all() == known


@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize("loss", ["mse", "gaussian"])
def test_a_symbol_that_stood_still_has_no_interval_and_leaves_that_of_others_alone(
    tmp_path: Path, loss: str, ranks: int
) -> None:
    prices = {"AAA": walk(1), "CCC": walk(3)}
    store_paths = [
        write_store(tmp_path / "all.h5", {**prices, "BBB": np.full(300, 100.0)}),
        write_store(tmp_path / "two.h5", prices),
    ]

    def measured(path: Path) -> list[tuple[Intervals, Any, np.ndarray]]:
        config = config_of(path, loss, target="log-returns", scaling="standard")
        head = Head.of(config)
        network = fixed(np.full(head.outputs, 0.1))
        with MarketStore(path) as store:

            def work(world: World) -> tuple[Intervals, Any, np.ndarray]:
                prepared = prepare.prepare(store, config.data, world, HOST)
                intervals = calibrate(network, head, prepared, world, ForecastConfig(), 64)
                windows = prepared.load_windows("test")
                outputs = output_metrics(of_inputs(network), head, prepared, windows, intervals, world, 64)
                known = constant_targets(prepared.scaler, prepared.columns, np.arange(len(store.symbols)))
                ends = intervals.of(head, network(np.zeros((len(known), 1))), known)
                return intervals, outputs[0], np.isfinite(np.stack(ends)).all(axis=(0, 2))

            return on_ranks(ranks, work)

    (with_still, without_still), names = map(measured, store_paths), ["AAA", "CCC", "BBB"]
    for (intervals, output, known), (others, alone, _) in zip(with_still, without_still, strict=True):
        assert intervals.margins.tolist() == others.margins.tolist()
        assert dict(zip(names, known, strict=True)) == {"AAA": True, "CCC": True, "BBB": False}
        assert output["windows"] > alone["windows"]
        assert output["coverage"] == alone["coverage"]
        assert output["width"] == pytest.approx(alone["width"])


def test_margins_that_narrow_never_cross() -> None:
    head = Head.of(RunConfig(data={"store": "m.h5"}, train=TrainConfig(loss="gaussian")))
    low, high = Intervals(0.9, np.array([-50.0])).of(head, np.array([[0.5, 0.0]]))
    assert low == high == pytest.approx(0.5)


def test_the_kth_smallest_number_of_all_ranks() -> None:
    random = np.random.default_rng(0)
    everyone = np.concatenate(
        [random.normal(size=50), [0.0, -0.0, -np.inf, 1e300, -1e-310], random.normal(size=9)]
    )
    for ranks in (1, 3):
        parts = np.array_split(everyone, ranks)
        for k in (1, 2, 30, len(everyone)):
            for found in on_ranks(ranks, lambda world: kth_smallest(parts[world.rank], k, world)):  # noqa: B023
                assert found == np.sort(everyone)[k - 1]
    assert kth_smallest(np.array([np.nan, 1.0]), 2, World()) == np.inf


def test_ranks_find_it_in_few_meetings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is one in which a rank may have to wait for another."""
    meetings = []
    monkeypatch.setattr(World, "allreduce_sum", lambda _, array: meetings.append(1) or array)
    numbers = np.random.default_rng(0).normal(size=1000)
    assert kth_smallest(numbers, 500, World()) == np.sort(numbers)[499]
    assert len(meetings) <= 8


def test_intervals_are_read_back_and_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    head = Head.of(RunConfig(data={"store": "m.h5", "horizon": [1, 2]}))
    files, margins = at(tmp_path), np.array([0.5, np.nan])
    assert np.isnan(read_intervals(files, head, ForecastConfig()).margins).all()
    write_intervals(files, Intervals(0.8, margins))
    found = read_intervals(files, head, ForecastConfig())
    assert found.coverage == 0.8
    np.testing.assert_array_equal(found.margins, margins)
    for text in (
        "{",
        '{"format": "hpc_lstm intervals", "version": 1, "coverage": 0.8, "margins": [1.0]}',
        "[]",
    ):
        files.intervals.write_text(text)
        with pytest.raises(InputError, match=r"intervals\.json: cannot be read"):
            read_intervals(files, head, ForecastConfig())
