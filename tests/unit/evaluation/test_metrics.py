"""Metrics against hand-computed numbers, scikit-learn and a direct Diebold-Mariano test."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_ranks import on_ranks
from sklearn.metrics import mean_absolute_error, mean_absolute_percentage_error, root_mean_squared_error

from hpc_lstm.evaluation.error_sums import ErrorSums, PartErrors
from hpc_lstm.evaluation.metrics import method_metrics, part_metrics, symbol_metrics
from hpc_lstm.evaluation.train_changes import TrainChanges, TrainChangeSums
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
    """Windows of a few symbols, and three forecasts of each."""
    random = np.random.default_rng(seed)
    symbol = random.integers(0, symbols, windows)
    last = random.uniform(5, 300, windows)
    actual = last + random.normal(0, 3, windows)
    forecasts = [actual + random.normal(0, 2, windows), last, last + 0.1]
    return symbol, last, actual, random.integers(0, 60, windows), forecasts


def test_hand_computed() -> None:
    # Symbol 0: 10 -> 12 and 10 -> 9; symbol 1: 100 -> 100.
    symbol, last, actual = [0, 0, 1], [10.0, 10.0, 100.0], [12.0, 9.0, 100.0]
    model, drift = np.array([11.0, 11.0, 98.0]), np.array([10.5, 10.5, 101.0])
    errors = reduced(symbol, last, actual, [1, 2, 2], [model, np.array(last), drift])
    scale = np.array([2.0, 4.0])
    assert method_metrics(errors, scale, "model") == pytest.approx(
        {
            "rmse": np.sqrt((1 + 4 + 4) / 3),
            "mae": 5 / 3,
            "mape": 100 * (1 / 12 + 2 / 9 + 2 / 100) / 3,
            "mase": (1 / 2 + 2 / 2 + 2 / 4) / 3,
            "directional_accuracy": 1 / 3,
        }
    )
    # Persistence says "unchanged", which is right on the unchanged price alone.
    assert method_metrics(errors, scale, "persistence")["directional_accuracy"] == pytest.approx(1 / 3)
    assert method_metrics(errors, scale, "drift")["mae"] == pytest.approx((1.5 + 1.5 + 1) / 3)
    assert errors.dates.tolist() == [1, 2]
    assert errors.differential == pytest.approx([1 - 4, (4 - 1) + (4 - 0)])
    assert errors.date_windows.tolist() == [1, 2]


def test_reference_hand_computed() -> None:
    sums = TrainChangeSums(3)
    sums.add(np.array([0, 0]), np.array([10.0, 12.0]), np.array([12.0, 11.0]))
    sums.add(np.array([2]), np.array([5.0]), np.array([5.0]))
    reference = sums.reduce(World())
    assert reference.mean[[0, 2]] == pytest.approx([0.5, 0.0])
    assert reference.mean_absolute[[0, 2]] == pytest.approx([1.5, 0.0])
    assert np.isnan(reference.mean[1])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_agrees_with_scikit_learn(seed: int) -> None:
    symbol, last, actual, dates, forecasts = panel(seed)
    errors = reduced(symbol, last, actual, dates, forecasts, symbols=3)
    for method, forecast in named(forecasts).items():
        found = method_metrics(errors, np.ones(3), method)
        assert found["rmse"] == pytest.approx(root_mean_squared_error(actual, forecast), rel=1e-12)
        assert found["mae"] == pytest.approx(mean_absolute_error(actual, forecast), rel=1e-12)
        assert found["mape"] == pytest.approx(
            100 * mean_absolute_percentage_error(actual, forecast), rel=1e-12
        )


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(2, 5))
def test_any_number_of_ranks_gives_the_numbers_of_one(seed: int, size: int) -> None:
    symbol, last, actual, dates, forecasts = panel(seed)

    def work(world: World):
        start, stop = (len(symbol) * (world.rank + i) // world.size for i in (0, 1))
        mine = slice(start, stop)
        sums, reference = ErrorSums(3, METHODS), TrainChangeSums(3)
        for batch in np.array_split(np.arange(len(symbol))[mine], 3):
            sums.add(
                symbol[batch], last[batch], actual[batch], dates[batch], named(f[batch] for f in forecasts)
            )
            reference.add(symbol[batch], last[batch], actual[batch])
        return part_metrics(sums.reduce(world), reference.reduce(world), 1, "test")

    whole = work(World())
    for result in on_ranks(size, work):
        assert result["windows"] == whole["windows"] == 200
        assert result["verdict"] == whole["verdict"]
        for method in METHODS:
            assert result[method] == pytest.approx(whole[method], rel=1e-12)
        assert result["against_persistence"] == pytest.approx(whole["against_persistence"], rel=1e-9)


def test_a_rank_without_windows_takes_part() -> None:
    symbol, last, actual, dates, forecasts = panel(1)

    def work(world: World):
        sums = ErrorSums(3, METHODS)
        if world.rank == 1:
            sums.add(symbol, last, actual, dates, named(forecasts))
        return sums.reduce(world)

    for errors in on_ranks(2, work):
        assert errors.windows.sum() == 200


def test_perfect_model() -> None:
    symbol, last, actual, dates, forecasts = panel(2)
    table = part_metrics(
        reduced(symbol, last, actual, dates, [actual, *forecasts[1:]]),
        TrainChanges(np.zeros(3), np.ones(3)),
        1,
        "test",
    )
    assert table["model"] == {"rmse": 0, "mae": 0, "mape": 0, "mase": 0, "directional_accuracy": 1}
    assert table["verdict"].startswith("On test the model beats persistence: ")
    assert "100.0% lower" in table["verdict"]


def test_persistence_as_the_model() -> None:
    symbol, last, actual, dates, forecasts = panel(3)
    table = part_metrics(
        reduced(symbol, last, actual, dates, [last, *forecasts[1:]]),
        TrainChanges(np.zeros(3), np.ones(3)),
        1,
        "test",
    )
    assert table["model"] == table["persistence"]
    assert table["against_persistence"]["p_value"] == 1
    assert "the same within 0.05%" in table["verdict"]


def test_undefined_metrics_are_null_and_strict_json() -> None:
    # Every actual price is 0 and the train price never moved.
    errors = reduced(
        [0, 0], [0.0, 1.0], [0.0, 0.0], [1, 2], [np.array([np.nan, np.inf]), np.zeros(2), np.ones(2)]
    )
    table = part_metrics(errors, TrainChanges(np.zeros(1), np.zeros(1)), 1, "validation")
    assert table["model"] == {
        "rmse": None,
        "mae": None,
        "mape": None,
        "mase": None,
        "directional_accuracy": 0,
    }
    assert table["persistence"]["mape"] is None
    assert table["persistence"]["rmse"] == 0
    assert table["verdict"].startswith("On validation the model's forecasts are not finite")
    json.dumps(table, allow_nan=False)


def test_symbol_without_train_change_is_left_out_of_mase() -> None:
    errors = reduced([0, 1], [1.0, 1.0], [2.0, 2.0], [1, 2], [np.zeros(2)] * 3)
    assert method_metrics(errors, np.array([4.0, 0.0]), "model")["mase"] == pytest.approx(0.5)
    assert method_metrics(errors, np.array([4.0, np.nan]), "model")["mase"] == pytest.approx(0.5)


def test_one_symbol_of_many() -> None:
    symbol, last, actual, dates, forecasts = panel(4)
    errors = reduced(symbol, last, actual, dates, forecasts, symbols=4)
    reference = TrainChanges(np.zeros(4), np.array([1.0, 2.0, 3.0, np.nan]))
    chosen = symbol == 1
    alone = reduced(
        np.zeros(chosen.sum(), int),
        last[chosen],
        actual[chosen],
        dates[chosen],
        [f[chosen] for f in forecasts],
    )
    found = symbol_metrics(errors, reference, 1)
    assert found is not None
    assert found["windows"] == chosen.sum()
    assert found["model"] == pytest.approx(method_metrics(alone, np.array([2.0]), "model"))
    assert symbol_metrics(errors, reference, 3) is None


def test_too_few_dates_give_no_p_value() -> None:
    symbol, last, actual, _, forecasts = panel(6)
    errors = reduced(symbol, last, actual, np.arange(200) % 7, [actual, *forecasts[1:]])
    assert (
        "it is too early to say"
        in part_metrics(errors, TrainChanges(np.zeros(3), np.ones(3)), 1, "test")["verdict"]
    )


def random_walk_table(seed: int, signal: float):
    """A model that hopes for momentum on random walks whose steps carry ``signal`` of the step before."""
    random = np.random.default_rng(seed)
    steps = random.normal(0, 1, (4, 301))
    for day in range(1, 301):
        steps[:, day] += signal * steps[:, day - 1]
    prices = 100 + np.cumsum(steps, axis=1)
    last, actual, before = prices[:, 1:-1].ravel(), prices[:, 2:].ravel(), prices[:, :-2].ravel()
    symbol, dates = np.repeat(np.arange(4), 299), np.tile(np.arange(299), 4)
    model = last + 0.3 * (last - before)
    errors = reduced(symbol, last, actual, dates, [model, last, last])
    return part_metrics(errors, TrainChanges(np.zeros(4), np.ones(4)), 1, "test")


def test_no_model_beats_a_random_walk_and_one_with_a_signal_does() -> None:
    claims = [
        "On test the model beats persistence" in random_walk_table(seed, 0.0)["verdict"] for seed in range(40)
    ]
    assert sum(claims) <= 2
    assert all(
        "On test the model beats persistence" in random_walk_table(seed, 0.3)["verdict"] for seed in range(10)
    )


def test_better_than_persistence_but_not_than_drift_is_said() -> None:
    symbol, last, actual, dates, _ = panel(8)
    errors = reduced(symbol, last, actual, dates, [actual + 0.5, last, actual + 0.1])
    sentence = part_metrics(errors, TrainChanges(np.zeros(3), np.ones(3)), 1, "test")["verdict"]
    assert "On test the model beats persistence" in sentence
    assert "it does not beat drift" in sentence


def test_every_baseline_that_is_as_good_is_said() -> None:
    symbol, last, actual, dates, _ = panel(8)
    sums = ErrorSums(3)
    forecasts = {"model": actual + 0.5, "persistence": last, "drift": actual, "seasonal-naive": actual - 0.25}
    sums.add(symbol, last, actual, dates, forecasts)
    table = part_metrics(sums.reduce(World()), TrainChanges(np.zeros(3), np.ones(3)), 1, "test")
    assert "it does not beat drift (RMSE 0) or seasonal-naive (RMSE 0.25)." in table["verdict"]


def test_worse_than_persistence_is_said() -> None:
    symbol, last, actual, dates, _ = panel(9)
    errors = reduced(symbol, last, actual, dates, [actual + 50, last, last])
    sentence = part_metrics(errors, TrainChanges(np.zeros(3), np.ones(3)), 1, "test")["verdict"]
    assert sentence.startswith("On test the model does not beat persistence: RMSE 50 against ")
    assert "higher, and that is no chance (p < 0.001)." in sentence
