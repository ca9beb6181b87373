"""Metrics against hand-computed numbers, scikit-learn and a direct Diebold-Mariano test."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_ranks import on_ranks

from hpc_lstm.evaluation.error_sums import ErrorSums, PartErrors
from hpc_lstm.evaluation.metrics import best_baseline, method_metrics
from hpc_lstm.evaluation.part_metrics import measure_part
from hpc_lstm.evaluation.significance import diebold_mariano
from hpc_lstm.evaluation.verdict import verdict
from hpc_lstm.parallel.world import World

METHODS = ("model", "persistence", "drift")


def named(forecasts):
    return dict(zip(METHODS, forecasts, strict=True))


def reduced(symbol, last, actual, dates, forecasts, world=None, symbols=None) -> PartErrors:
    sums = ErrorSums(symbols or int(np.max(symbol)) + 1, METHODS)
    sums.add(
        np.asarray(symbol),
        np.asarray(last, float),
        np.asarray(actual, float),
        np.asarray(dates),
        named(forecasts),
    )
    return sums.reduce(world or World())


def panel(seed: int, windows: int = 200, symbols: int = 3):
    """Windows of a few symbols, and three forecasts of each; symbol by symbol, in order of date."""
    random = np.random.default_rng(seed)
    symbol = np.sort(random.integers(0, symbols, windows))
    last = random.uniform(5, 300, windows)
    actual = last + random.normal(0, 3, windows)
    forecasts = [actual + random.normal(0, 2, windows), last, last + 0.1]
    dates = np.concatenate([np.arange((symbol == s).sum()) for s in range(symbols)])
    return symbol, last, actual, dates, forecasts


def measured(symbol, last, actual, dates, forecasts, **more) -> dict:
    return measure_part(reduced(symbol, last, actual, dates, forecasts, **more), 1, "test", World()).table


def test_hand_computed() -> None:
    # Symbol 0: 10 -> 12 and 10 -> 9; symbol 1: 100 -> 100, which has no scale, and 100 -> 110.
    symbol, last, actual = [0, 0, 1, 1], [10.0, 10.0, 100.0, 100.0], [12.0, 9.0, 100.0, 110.0]
    model, drift = np.array([11.0, 11.0, 98.0, 105.0]), np.array([10.5, 10.5, 101.0, 101.0])
    errors = reduced(symbol, last, actual, [1, 2, 2, 3], [model, np.array(last), drift])
    # Squares of returns: persistence .04, .01 and 0, .01; the model .01, .04 and .0004, .0025.
    first, second = 0.05 / 0.05, (0.0004 + 0.0025) / 0.01
    assert method_metrics(errors, "model") == pytest.approx(
        {
            "rmsse": math.sqrt((2 * first + 2 * second) / 4),
            "mase": (2 * (0.1 + 0.2) / (0.2 + 0.1) + 2 * (0.02 + 0.05) / 0.1) / 4,
            "rmse": np.sqrt((1 + 4 + 4 + 25) / 4),
            "mae": (1 + 2 + 2 + 5) / 4,
            "mape": 100 * (1 / 12 + 2 / 9 + 2 / 100 + 5 / 110) / 4,
            "directional_accuracy": 2 / 4,
        }
    )
    # Persistence says "unchanged", which is right on the unchanged price alone.
    assert method_metrics(errors, "persistence")["directional_accuracy"] == pytest.approx(1 / 4)
    assert (
        method_metrics(errors, "persistence")["rmsse"] == method_metrics(errors, "persistence")["mase"] == 1
    )
    assert errors.dates.tolist() == [1, 2, 3]
    assert errors.date_windows.tolist() == [1, 2, 1]
    # Each square over its symbol's mean square of persistence: .025 and .005.
    assert errors.by_date[0] == pytest.approx([0.01 / 0.025, 0.04 / 0.025 + 0.0004 / 0.005, 0.0025 / 0.005])


def test_prices_that_may_be_negative_are_scaled_as_they_are() -> None:
    sums = ErrorSums(1, METHODS, returns=False)
    forecasts = named([np.array([1.0, -1.0]), np.array([0.0, -3.0]), np.zeros(2)])
    sums.add(np.zeros(2, int), np.array([0.0, -3.0]), np.array([2.0, -1.0]), np.arange(2), forecasts)
    errors = sums.reduce(World())
    assert method_metrics(errors, "model")["rmsse"] == pytest.approx(math.sqrt(1 / (4 + 4)))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_agrees_with_scikit_learn(seed: int) -> None:
    from sklearn.metrics import mean_absolute_error, mean_absolute_percentage_error, root_mean_squared_error

    symbol, last, actual, dates, forecasts = panel(seed)
    errors = reduced(symbol, last, actual, dates, forecasts, symbols=3)
    for method, forecast in named(forecasts).items():
        found = method_metrics(errors, method)
        assert found["rmse"] == pytest.approx(root_mean_squared_error(actual, forecast), rel=1e-12)
        assert found["mae"] == pytest.approx(mean_absolute_error(actual, forecast), rel=1e-12)
        assert found["mape"] == pytest.approx(
            100 * mean_absolute_percentage_error(actual, forecast), rel=1e-12
        )


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), symbol=st.integers(0, 2), factor=st.floats(1e-3, 1e3))
def test_the_verdict_does_not_depend_on_the_currency_of_a_symbol(
    seed: int, symbol: int, factor: float
) -> None:
    numbers, last, actual, dates, forecasts = panel(seed)
    before = measured(numbers, last, actual, dates, forecasts)
    scale = np.where(numbers == symbol, factor, 1.0)
    after = measured(numbers, last * scale, actual * scale, dates, [each * scale for each in forecasts])
    for key in ("rmsse", "mase", "mape", "directional_accuracy"):
        assert after["model"][key] == pytest.approx(before["model"][key], rel=1e-9)
    assert after["against_best"]["p_value"] == pytest.approx(before["against_best"]["p_value"], rel=1e-6)
    assert after["verdict"] == before["verdict"]


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(2, 5))
def test_any_number_of_ranks_gives_the_numbers_of_one(seed: int, size: int) -> None:
    symbol, last, actual, dates, forecasts = panel(seed)

    def work(world: World):
        start, stop = (len(symbol) * (world.rank + i) // world.size for i in (0, 1))
        sums = ErrorSums(3, METHODS)
        for batch in np.array_split(np.arange(start, stop), 3):
            sums.add(
                symbol[batch], last[batch], actual[batch], dates[batch], named(f[batch] for f in forecasts)
            )
        return measure_part(sums.reduce(world), 1, "test", world)

    whole = work(World())
    for result in on_ranks(size, work):
        assert result.table["windows"] == whole.table["windows"] == 200
        assert result.table["verdict"] == whole.table["verdict"]
        for method in METHODS:
            assert result.table[method] == pytest.approx(whole.table[method], rel=1e-12)
        for against in ("against_persistence", "against_best"):
            for key in ("squared_error_difference", "standard_error", "p_value", "dates"):
                assert result.table[against][key] == pytest.approx(whole.table[against][key], rel=1e-9)
        assert result.table["against_best"]["symbols"] == whole.table["against_best"]["symbols"]
        assert result.tests.p_value == pytest.approx(whole.tests.p_value, rel=1e-9)
        assert result.symbol_table(1)["model"] == pytest.approx(whole.symbol_table(1)["model"], rel=1e-12)


def test_targets_overlap_over_the_dates_of_all_symbols() -> None:
    """Three symbols trade in turn: 20 rows of one span 58 dates, over which its errors are alike."""
    count, horizon = 150, 20
    random = np.random.default_rng(2)
    columns = []
    for number in range(3):
        moves = np.convolve(random.normal(0, 1, count + horizon - 1), np.ones(horizon), "valid")
        last = np.full(count, 100.0)
        dates = 3 * np.arange(count) + number
        columns.append((np.full(count, number), last, last + moves, dates, last + random.normal(0, 1)))
    symbol, last, actual, dates, forecast = map(np.concatenate, zip(*columns, strict=True))
    forecasts = [forecast, last, last + 0.1]
    errors = reduced(symbol, last, actual, dates, forecasts)
    found = measure_part(errors, horizon, "test", World()).table["against_persistence"]
    direct = diebold_mariano(errors.by_date[0] - errors.by_date[1], errors.date_windows, 58)
    assert (found["p_value"], found["standard_error"]) == (direct.p_value, direct.standard_error)

    def work(world: World) -> dict:
        mine = slice(*(len(symbol) * (world.rank + i) // world.size for i in (0, 1)))
        own = (column[mine] for column in (symbol, last, actual, dates))
        errors = reduced(*own, [f[mine] for f in forecasts], world, symbols=3)
        return measure_part(errors, horizon, "test", world).table["against_persistence"]

    for of_ranks in on_ranks(4, work):
        assert of_ranks == pytest.approx(found)
    # Where each symbol has all dates, it is the horizon.
    assert reduced(symbol, last, actual, dates // 3, forecasts).step == 1


def test_a_rank_without_windows_takes_part() -> None:
    symbol, last, actual, dates, forecasts = panel(1)

    def work(world: World):
        sums = ErrorSums(3, METHODS)
        if world.rank == 1:
            sums.add(symbol, last, actual, dates, named(forecasts))
        return measure_part(sums.reduce(world), 1, "test", world)

    for part in on_ranks(3, work):
        assert part.table["windows"] == 200
        assert part.table["against_best"]["symbols"]["compared"] == 3


def test_perfect_model() -> None:
    symbol, last, actual, dates, forecasts = panel(2)
    table = measured(symbol, last, actual, dates, [actual, *forecasts[1:]])
    assert table["model"] == {
        "rmsse": 0,
        "mase": 0,
        "rmse": 0,
        "mae": 0,
        "mape": 0,
        "directional_accuracy": 1,
    }
    assert table["verdict"].startswith("On test the model beats ")
    assert "100.0% smaller" in table["verdict"]
    assert table["against_best"]["symbols"] == {
        "compared": 3,
        "better": 3,
        "better_holm": 3,
        "worse_holm": 0,
        "better_benjamini_hochberg": 3,
        "worse_benjamini_hochberg": 0,
    }


def test_persistence_as_the_model() -> None:
    symbol, last, actual, dates, _ = panel(3)
    table = measured(symbol, last, actual, dates, [last, last, last + 50])
    assert table["model"] == table["persistence"]
    assert table["against_persistence"]["p_value"] == 1
    assert "the same within 0.05%" in table["verdict"]


def test_undefined_metrics_are_null_and_strict_json() -> None:
    # Every actual price is 0 and the last price of one window, too.
    table = measured(
        [0, 0], [0.0, 1.0], [0.0, 0.0], [1, 2], [np.array([np.nan, np.inf]), np.zeros(2) + 0.5, np.ones(2)]
    )
    assert table["model"] == {
        "rmsse": None,
        "mase": None,
        "rmse": None,
        "mae": None,
        "mape": None,
        "directional_accuracy": 0,
    }
    assert table["persistence"]["mape"] is None
    assert table["verdict"].startswith("On test the model's forecasts are not finite")
    json.dumps(table, allow_nan=False)


def test_a_part_without_a_change_says_so() -> None:
    table = measured(
        [0, 0], [5.0, 5.0], [5.0, 5.0], [1, 2], [np.array([5.0, 6.0]), np.full(2, 5.0), np.ones(2)]
    )
    assert table["persistence"]["rmsse"] is None
    assert table["model"]["rmse"] == pytest.approx(math.sqrt(0.5))
    assert table["verdict"] == "On test no price changed, so that there is nothing to forecast."
    json.dumps(table, allow_nan=False)


def test_symbol_whose_price_never_moved_has_no_scaled_error() -> None:
    symbol, last = [0, 1], [1.0, 1.0]
    errors = reduced(symbol, last, [2.0, 1.0], [1, 2], [np.array([1.5, 9.0]), np.array(last), np.array(last)])
    assert method_metrics(errors, "model")["mase"] == pytest.approx(0.5)
    assert method_metrics(errors, "model")["rmsse"] == pytest.approx(0.5)


def test_one_symbol_of_many() -> None:
    symbol, last, actual, dates, forecasts = panel(4)
    part = measure_part(reduced(symbol, last, actual, dates, forecasts, symbols=4), 1, "test", World())
    chosen = symbol == 1
    alone = measured(
        *(np.zeros(chosen.sum(), int), last[chosen], actual[chosen], dates[chosen]),
        [f[chosen] for f in forecasts],
    )
    found = part.symbol_table(1)
    assert found is not None
    assert found["windows"] == chosen.sum()
    assert found["model"] == pytest.approx(alone["model"])
    best = part.table["against_best"]["baseline"]
    if best == alone["against_best"]["baseline"]:
        assert part.tests.p_value[1] == pytest.approx(alone["against_best"]["p_value"])
    assert part.symbol_table(3) is None


def test_too_few_dates_give_no_p_value() -> None:
    random = np.random.default_rng(0)
    last = random.uniform(5, 300, 20)
    actual = last + random.normal(0, 3, 20)
    table = measured(np.zeros(20, int), last, actual, np.arange(20), [actual, last, last + 1])
    assert "it is too early to say that the model beats persistence" in table["verdict"]


def random_walk_table(seed: int, signal: float):
    """A model that hopes for momentum on random walks whose steps carry ``signal`` of the step before."""
    random = np.random.default_rng(seed)
    steps = random.normal(0, 1, (4, 301))
    for day in range(1, 301):
        steps[:, day] += signal * steps[:, day - 1]
    prices = 100 + np.cumsum(steps, axis=1)
    last, actual, before = prices[:, 1:-1].ravel(), prices[:, 2:].ravel(), prices[:, :-2].ravel()
    symbol, dates = np.repeat(np.arange(4), 299), np.tile(np.arange(299), 4)
    return measured(symbol, last, actual, dates, [last + 0.3 * (last - before), last, last])


def test_no_model_beats_a_random_walk_and_one_with_a_signal_does() -> None:
    claims = [
        "On test the model beats persistence" in random_walk_table(seed, 0.0)["verdict"] for seed in range(40)
    ]
    assert sum(claims) <= 2
    for seed in range(10):
        table = random_walk_table(seed, 0.3)
        assert "On test the model beats persistence" in table["verdict"]
        assert " of 4 symbols, by more than chance on " in table["verdict"]


def test_the_model_has_to_beat_the_best_baseline() -> None:
    symbol, last, actual, dates, _ = panel(8)
    errors = reduced(symbol, last, actual, dates, [actual + 0.5, last, actual + 0.1])
    assert best_baseline(errors) == "drift"
    sentences = measure_part(errors, 1, "test", World()).table["verdict"]
    assert sentences.startswith(
        "On test the model does not beat the best simple forecast, drift: its error is "
    )
    assert "larger, by more than chance explains (p < 0.001)." in sentences
    assert "Persistence's error is " in sentences


def test_equal_errors_are_not_called_larger_or_smaller_by_nothing() -> None:
    table = random_walk_table(0, 0.0)
    table["against_best"]["baseline"] = "drift"
    table["persistence"]["rmsse"] = table["model"]["rmsse"] * 1.0001
    assert "Persistence's error is the model's within 0.05%." in verdict(table, "test")
    table["persistence"]["rmsse"] = table["model"]["rmsse"] * 1.01
    assert "Persistence's error is 1.0% larger than the model's." in verdict(table, "test")


def test_one_expensive_symbol_does_not_decide() -> None:
    # In price units the model loses by the one expensive symbol; it is better on the nine others.
    symbol, dates = np.repeat(np.arange(10), 40), np.tile(np.arange(40), 10)
    random = np.random.default_rng(3)
    last = np.where(symbol == 0, 10_000.0, 10.0)
    moves = random.normal(0, 0.02, 400)
    actual = last * (1 + moves)
    model = last * (1 + np.where(symbol == 0, -0.5, 0.5) * moves)
    table = measured(symbol, last, actual, dates, [model, last, last])
    assert table["model"]["rmse"] > table["persistence"]["rmse"]
    assert table["model"]["rmsse"] == pytest.approx(math.sqrt((9 * 0.25 + 2.25) / 10))
    assert "On test the model beats persistence" in table["verdict"]
    assert "It is better than persistence on 9 of 10 symbols" in table["verdict"]
    assert "worse by more than chance on 1." in table["verdict"]


def test_worse_than_persistence_is_said() -> None:
    symbol, last, actual, dates, _ = panel(9)
    sentence = measured(symbol, last, actual, dates, [actual + 50, last, last])["verdict"]
    assert sentence.startswith("On test the model does not beat persistence: its error is ")
    assert "larger, by more than chance explains (p = 0.0014)." in sentence


def test_the_reachable_gain_that_was_reached_is_said() -> None:
    symbol, last, actual, dates, _ = panel(5)
    move = actual - last
    sums = ErrorSums(3, (*METHODS, "oracle"))
    forecasts = [last + 0.2 * move, last, last, last + 0.4 * move]
    sums.add(symbol, last, actual, dates, dict(zip((*METHODS, "oracle"), forecasts, strict=True)))
    table = measure_part(sums.reduce(World()), 1, "test", World()).table
    assert table["reached_gain"] == pytest.approx(0.5)
    assert table["against_best"]["baseline"] == "persistence", "the oracle is no baseline"
    assert "an error 40.0% smaller than persistence; the model reached 50% of that gain." in table["verdict"]
