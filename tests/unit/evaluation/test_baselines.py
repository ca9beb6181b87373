"""Every baseline of the registry, and what each says of known prices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_ranks import on_ranks

from hpc_lstm.evaluation.baselines.autoregression import FEWEST_WINDOWS, ORDER
from hpc_lstm.evaluation.baselines.baseline import Baseline, KnownPrices
from hpc_lstm.evaluation.baselines.drift import Drift
from hpc_lstm.evaluation.baselines.exponential_smoothing import ALPHAS, ROWS, ExponentialSmoothing
from hpc_lstm.evaluation.baselines.fitted import fit_baselines, longest_lookback
from hpc_lstm.evaluation.baselines.historical_mean import HistoricalMean
from hpc_lstm.evaluation.baselines.persistence import Persistence
from hpc_lstm.evaluation.baselines.registry import BASELINES, METHODS
from hpc_lstm.evaluation.baselines.seasonal_naive import SeasonalNaive
from hpc_lstm.parallel.world import World
from hpc_lstm.preprocess.prices import Prices

REPOSITORY = Path(__file__).parents[3]
EACH = pytest.mark.parametrize("baseline", BASELINES, ids=lambda baseline: baseline.name)


def known(horizon: int, rows: int = 12, begins: int = 0, logarithmic: bool = False) -> KnownPrices:
    """Two windows whose prices are their rows' numbers, 1..rows and 101..; NaN before row ``begins``."""
    history = np.add.outer([0.0, 100.0], np.arange(1, rows + 1))
    history[:, :begins] = np.nan
    return KnownPrices(horizon, history, history[:, begins], np.full(2, rows - 1 - begins), logarithmic)


def around(series: dict[int, np.ndarray], horizon: int, window: int = 5) -> list[Prices]:
    """All windows of some symbols, in batches of 50."""
    lookback = longest_lookback(horizon)
    batches = []
    for symbol, prices in series.items():
        padded = np.concatenate([np.full(lookback, np.nan), prices])
        ends = np.arange(window - 1, len(prices) - horizon)
        for some in np.array_split(ends, -(-len(ends) // 50)):
            history = padded[some[:, None] + np.arange(lookback + 1)]
            batches.append(
                Prices(
                    np.full(len(some), symbol),
                    history,
                    prices[some + horizon],
                    some + horizon,
                    np.full(len(some), prices[0]),
                    some,
                    prices[some + horizon - 1],
                )
            )
    return batches


def momentum(seed: int, rows: int = 400) -> np.ndarray:
    """Prices whose log returns are an AR(2) series about a mean."""
    shocks = np.random.default_rng(seed).normal(0.001, 0.01, rows)
    for row in range(2, rows):
        shocks[row] += 0.4 * shocks[row - 1] - 0.2 * shocks[row - 2]
    return 50 * np.exp(np.cumsum(shocks))


@EACH
@pytest.mark.parametrize("horizon", [1, 4, 5, 6, 23])
@pytest.mark.parametrize("logarithmic", [False, True])
def test_a_baseline_needs_no_more_prices_than_it_says(
    baseline: Baseline, horizon: int, logarithmic: bool
) -> None:
    lookback = baseline.lookback(horizon)
    assert lookback >= 0
    whole = known(horizon, lookback + 10, logarithmic=logarithmic)
    least = KnownPrices(horizon, whole.history[:, -1 - lookback :], whole.first, whole.age, logarithmic)
    train = known(horizon, lookback + 1, logarithmic=logarithmic)
    sums = baseline.statistics(train, np.array([3.0, 5.0]))
    parameters = baseline.learn(sums)
    forecast = baseline.forecast(whole, parameters)
    assert forecast.shape == (2,)
    np.testing.assert_array_equal(forecast, baseline.forecast(least, parameters))
    young = known(horizon, lookback + 2, begins=lookback + 1, logarithmic=logarithmic)
    assert np.isfinite(baseline.forecast(young, parameters)).all()


@EACH
def test_documents_name_it(baseline: Baseline) -> None:
    assert f"| `{baseline.name}` |" in (REPOSITORY / "docs" / "metrics.md").read_text(encoding="utf-8")


def test_names_are_apart() -> None:
    assert len(set(METHODS)) == len(METHODS)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(2, 4), horizon=st.sampled_from([1, 3]))
def test_any_number_of_ranks_forecasts_as_one(seed: int, size: int, horizon: int) -> None:
    batches = around({number: momentum(seed + number, 200 + 30 * number) for number in range(3)}, horizon)

    def work(world: World) -> dict[str, np.ndarray]:
        mine = batches[
            len(batches) * world.rank // world.size : len(batches) * (world.rank + 1) // world.size
        ]
        fitted = fit_baselines(mine, 4, horizon, True, world)
        return fitted.forecasts(batches[2])

    alone = work(World())
    assert list(alone) == [baseline.name for baseline in BASELINES]
    for found in on_ranks(size, work):
        for name, forecast in alone.items():
            np.testing.assert_allclose(found[name], forecast, rtol=1e-9)


def test_a_symbol_without_train_windows_is_forecast_by_persistence() -> None:
    fitted = fit_baselines(around({0: momentum(1)}, 1), 2, 1, True, World())
    strange = around({1: momentum(2)}, 1)[0]
    found = fitted.forecasts(strange)
    for name in ("drift", "ar", "smoothing"):
        np.testing.assert_array_equal(found[name], strange.history[:, -1])


def test_what_each_says() -> None:
    assert Persistence().forecast(known(1), np.empty((2, 0))).tolist() == [12, 112]
    mean = Drift().learn(np.array([[4.0, 2.0], [3.0, -6.0], [0.0, 0.0]]))
    assert Drift().forecast(known(1), mean[[0, 1]]).tolist() == [12 + 0.5, 112 - 2]
    assert Drift().forecast(known(1), mean[[2, 2]]).tolist() == [12, 112]
    assert HistoricalMean().forecast(known(3, begins=2), np.empty((2, 0))) == pytest.approx([15, 115])
    grown = HistoricalMean().forecast(known(3, logarithmic=True), np.empty((2, 0)))
    assert grown == pytest.approx([12 * 12 ** (3 / 11), 112 * (112 / 101) ** (3 / 11)])


@pytest.mark.parametrize(("horizon", "row"), [(1, 8), (2, 9), (4, 11), (5, 12), (6, 8), (10, 12), (11, 8)])
def test_seasonal_naive_is_the_newest_price_whole_weeks_before_the_target(horizon: int, row: int) -> None:
    assert (12 + horizon - row) % 5 == 0
    assert SeasonalNaive().forecast(known(horizon), np.empty((2, 0))).tolist() == [row, 100 + row]


def test_seasonal_naive_is_persistence_where_the_symbol_begins_later() -> None:
    assert SeasonalNaive().forecast(known(1, begins=8), np.empty((2, 0))).tolist() == [12, 112]


@pytest.mark.parametrize("horizon", [1, 5])
def test_autoregression_is_the_least_squares_of_scikit_learn(horizon: int) -> None:
    from sklearn.linear_model import LinearRegression

    prices = momentum(3)
    returns = np.diff(np.log(prices))
    ends = np.arange(ORDER, len(prices) - horizon)  # rows with ORDER changes before them, and a target
    inputs = np.stack([returns[end - ORDER : end] for end in ends])
    moved = np.log(prices[ends + horizon] / prices[ends])
    expected = prices[ends] * np.exp(LinearRegression().fit(inputs, moved).predict(inputs))
    batches = around({0: prices}, horizon, window=ORDER + 1)
    fitted = fit_baselines(batches, 1, horizon, True, World())
    found = np.concatenate([fitted.forecasts(batch)["ar"] for batch in batches])
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_autoregression_of_constant_prices_is_persistence() -> None:
    batches = around({0: np.full(200, 7.0)}, 1)
    fitted = fit_baselines(batches, 1, 1, True, World())
    np.testing.assert_allclose(fitted.forecasts(batches[0])["ar"], 7.0, rtol=1e-12)


def test_autoregression_needs_enough_windows() -> None:
    batches = around({0: momentum(4, FEWEST_WINDOWS)}, 1)
    fitted = fit_baselines(batches, 1, 1, True, World())
    np.testing.assert_array_equal(fitted.forecasts(batches[0])["ar"], batches[0].history[:, -1])


@pytest.mark.parametrize("alpha", [0.3, 0.7, 1.0])
def test_smoothing_is_the_exponential_mean_of_pandas(alpha: float) -> None:
    prices = momentum(5, 200)
    (batch,) = around({0: prices}, 1, window=150)
    chosen = np.full((len(batch.symbol), 1), np.flatnonzero(alpha == ALPHAS)[0], float)
    found = ExponentialSmoothing().forecast(
        KnownPrices(1, batch.history, batch.first, batch.age, True), chosen
    )
    logs = pd.Series(np.log(prices))
    expected = [logs[end - ROWS + 1 : end + 1].ewm(alpha=alpha).mean().iloc[-1] for end in batch.age]
    np.testing.assert_allclose(found, np.exp(expected), rtol=1e-12)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_smoothing_is_that_of_statsmodels_from_its_own_level(alpha: float) -> None:
    from statsmodels.tsa.holtwinters import SimpleExpSmoothing

    # Weights that add up to 1 over ROWS rows are those of a smoothing that begins at the level at which it ends.
    prices = momentum(8, 200)
    batch = around({0: prices}, 1, window=150)[0]
    chosen = np.full((len(batch.symbol), 1), np.flatnonzero(alpha == ALPHAS)[0], float)
    found = ExponentialSmoothing().forecast(
        KnownPrices(1, batch.history, batch.first, batch.age, True), chosen
    )
    for end, forecast in zip(batch.age[::10], np.log(found[::10]), strict=True):
        model = SimpleExpSmoothing(
            np.log(prices[end - ROWS + 1 : end + 1]), initialization_method="known", initial_level=forecast
        )
        fitted = model.fit(smoothing_level=alpha, optimized=False)
        assert fitted.forecast(1)[0] == pytest.approx(forecast, rel=1e-12)


@pytest.mark.parametrize("noise", [0.005, 0.02, 0.1])
def test_smoothing_chooses_nearly_the_alpha_of_statsmodels(noise: float) -> None:
    from statsmodels.tsa.holtwinters import SimpleExpSmoothing

    # A random walk under noise, of which the best alpha depends on how loud the noise is.
    random = np.random.default_rng(9)
    logs = 3 + np.cumsum(random.normal(0, 0.01, 1500)) + random.normal(0, noise, 1500)
    fitted = fit_baselines(around({0: np.exp(logs)}, 1), 1, 1, True, World())
    found = ALPHAS[int(fitted.parameters["smoothing"][0, 0])]
    best = SimpleExpSmoothing(logs, initialization_method="estimated").fit().params["smoothing_level"]
    assert np.abs(ALPHAS - best).min() <= abs(found - best) <= 0.1


def test_smoothing_takes_the_alpha_of_the_smallest_error() -> None:
    # A level under noise: the mean of many prices beats the last one.
    noise = np.exp(np.random.default_rng(6).normal(0, 0.02, 600))
    walk = momentum(7, 600)
    fitted = fit_baselines([*around({0: 30 * noise}, 1), *around({1: walk}, 1)], 2, 1, True, World())
    alphas = ALPHAS[fitted.parameters["smoothing"][:, 0].astype(int)]
    assert alphas[0] <= 0.1
    assert alphas[1] == 1
