"""The test of equal accuracy against its formulas written out, and against chance itself."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hpc_lstm.evaluation.significance import FEWEST_DATES, diebold_mariano


def newey_west_error(series: np.ndarray, lags: int) -> float:
    """Standard error of the mean of a series, written out."""
    n = len(series)
    centred = series - series.mean()
    autocovariance = [sum(centred[t] * centred[t - k] for t in range(k, n)) / n for k in range(lags + 1)]
    long_run = autocovariance[0] + 2 * sum(
        (1 - k / (lags + 1)) * autocovariance[k] for k in range(1, lags + 1)
    )
    return float(np.sqrt(long_run / n))


@pytest.mark.parametrize(("dates", "horizon", "lags"), [(40, 1, 3), (40, 9, 8), (150, 1, 4)])
def test_one_window_a_date_is_the_diebold_mariano_test(dates: int, horizon: int, lags: int) -> None:
    series = np.random.default_rng(dates).normal(0.1, 1, dates)
    found = diebold_mariano(series, np.ones(dates), horizon)
    assert found.difference == pytest.approx(series.mean())
    assert found.standard_error == pytest.approx(newey_west_error(series, lags), rel=1e-12)


def test_symbols_that_move_alike_count_once() -> None:
    series = np.random.default_rng(5).normal(-0.1, 1, 100)
    one = diebold_mariano(series, np.ones(100), 1)
    fifty_alike = diebold_mariano(50 * series, np.full(100, 50.0), 1)
    assert fifty_alike.standard_error == pytest.approx(one.standard_error)
    assert fifty_alike.p_value == pytest.approx(one.p_value)


def test_chance_is_called_so_about_as_often_as_it_says() -> None:
    # No difference in truth: p below 5% should come about 5% of the time.
    random = np.random.default_rng(7)
    p = [diebold_mariano(random.normal(0, 1, 250), np.ones(250), 1).p_value for _ in range(400)]
    assert 0.02 < np.mean(np.array(p) < 0.05) < 0.11


@pytest.mark.parametrize("horizon", [1, 2, 12])
def test_p_value_is_that_of_harvey_leybourne_and_newbold(horizon: int) -> None:
    from scipy.stats import t

    n = 120
    series = np.random.default_rng(8).normal(0.1, 1, n)
    found = diebold_mariano(series, np.ones(n), horizon)
    factor = math.sqrt((n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n)
    statistic = found.difference / found.standard_error * factor
    assert found.p_value == pytest.approx(2 * t.sf(statistic, n - 1))
    assert diebold_mariano(-series, np.ones(n), horizon).p_value == pytest.approx(found.p_value)


def test_p_value_needs_more_dates_than_the_horizon_has_rows() -> None:
    assert diebold_mariano(np.random.default_rng(1).normal(0, 1, 40), np.ones(40), 40).p_value is None


def test_no_p_value_where_there_is_none() -> None:
    few = np.full(FEWEST_DATES - 1, -1.0)
    assert diebold_mariano(few, np.ones_like(few), 1).p_value is None
    assert diebold_mariano(np.full(50, np.inf), np.ones(50), 1).p_value is None
    assert math.isnan(diebold_mariano(np.empty(0), np.empty(0), 1).difference)
