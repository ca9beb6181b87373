"""Every baseline of the registry, and what each says of known prices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hpc_lstm.evaluation.baselines.baseline import Baseline, KnownPrices
from hpc_lstm.evaluation.baselines.drift import Drift
from hpc_lstm.evaluation.baselines.persistence import Persistence
from hpc_lstm.evaluation.baselines.registry import BASELINES, METHODS
from hpc_lstm.evaluation.baselines.seasonal_naive import SeasonalNaive
from hpc_lstm.evaluation.train_changes import TrainChanges

REPOSITORY = Path(__file__).parents[3]
EACH = pytest.mark.parametrize("baseline", BASELINES, ids=lambda baseline: baseline.name)


def known(horizon: int, rows: int = 12, begins: int = 0) -> KnownPrices:
    """Two windows whose prices are their rows' numbers, 0..rows-1 and 100..; NaN before row ``begins``."""
    history = np.add.outer([0.0, 100.0], np.arange(rows))
    history[:, :begins] = np.nan
    return KnownPrices(horizon, np.array([1, 0]), history, TrainChanges(np.array([0.5, -2.0]), np.ones(2)))


@EACH
@pytest.mark.parametrize("horizon", [1, 4, 5, 6, 23])
def test_a_baseline_needs_no_more_prices_than_it_says(baseline: Baseline, horizon: int) -> None:
    lookback = baseline.lookback(horizon)
    assert lookback >= 0
    whole = known(horizon, rows=lookback + 10)
    least = KnownPrices(horizon, whole.symbol, whole.history[:, -1 - lookback :], whole.train)
    forecast = baseline.forecast(whole)
    assert forecast.shape == (2,)
    np.testing.assert_array_equal(forecast, baseline.forecast(least))
    assert np.isfinite(baseline.forecast(known(horizon, begins=11))).all()


@EACH
def test_documents_name_it(baseline: Baseline) -> None:
    assert f"| `{baseline.name}` |" in (REPOSITORY / "docs" / "metrics.md").read_text(encoding="utf-8")


def test_names_are_apart() -> None:
    assert len(set(METHODS)) == len(METHODS)


def test_what_each_says() -> None:
    assert Persistence().forecast(known(1)).tolist() == [11, 111]
    assert Drift().forecast(known(1)).tolist() == [11 - 2, 111 + 0.5]


@pytest.mark.parametrize(("horizon", "row"), [(1, 7), (2, 8), (4, 10), (5, 11), (6, 7), (10, 11), (11, 7)])
def test_seasonal_naive_is_the_newest_price_whole_weeks_before_the_target(horizon: int, row: int) -> None:
    assert (11 + horizon - row) % 5 == 0
    assert SeasonalNaive().forecast(known(horizon)).tolist() == [row, 100 + row]


def test_seasonal_naive_is_persistence_where_the_symbol_begins_later() -> None:
    assert SeasonalNaive().forecast(known(1, begins=8)).tolist() == [11, 111]
