"""Walk-forward folds over days."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from hpc_lstm.config import DataConfig
from hpc_lstm.errors import InputError
from hpc_lstm.preprocess.folds import make_folds


@given(
    days=st.lists(st.integers(0, 3000), min_size=6, max_size=300, unique=True).map(sorted),
    count=st.integers(1, 8),
    validation=st.floats(0, 0.5),
    embargo=st.integers(0, 5),
    rolling=st.integers(0, 100),
)
@settings(suppress_health_check=[HealthCheck.filter_too_much])  # many draws have too few days
def test_folds_follow_each_other_and_know_nothing_of_later(
    days: list[int], count: int, validation: float, embargo: int, rolling: int
) -> None:
    dates = np.array(days, "datetime64[D]")
    try:
        folds = make_folds(dates, count, validation, embargo=embargo, rolling=rolling)
    except InputError:
        assume(False)
    assert [fold.number for fold in folds] == list(range(1, count + 1))
    tested = []
    for fold in folds:
        start, stop = np.datetime64(fold.test_from), np.datetime64(fold.until)
        tested += dates[(dates >= start) & (dates <= stop)].tolist()
        held = np.datetime64(fold.validation_from)
        assert held < start
        train = dates[dates < held][: -embargo or None]
        assert len(train)
        if fold.train_from:
            assert rolling
            assert (train >= np.datetime64(fold.train_from)).sum() == rolling
        elif rolling:
            assert len(train) <= rolling
    assert tested == dates[len(dates) // (count + 1) :].tolist(), "every later day once, in order"


def test_test_blocks_are_those_of_scikit_learn_where_they_are_equal() -> None:
    from sklearn.model_selection import TimeSeriesSplit

    dates = np.arange(60).astype("datetime64[D]")
    folds = make_folds(dates, 4, 0.2, embargo=0, rolling=0)
    for fold, (_, test) in zip(folds, TimeSeriesSplit(4).split(dates), strict=True):
        assert [fold.test_from, fold.until] == [str(dates[test[0]]), str(dates[test[-1]])]


def test_a_fold_is_settings_of_a_run() -> None:
    (fold,) = make_folds(np.arange(40).astype("datetime64[D]"), 1, 0.2, embargo=1, rolling=10)
    data = fold.applied_to(DataConfig(store="m.h5", split_by="symbol", window=5), 1)
    assert data.split == ["1970-01-17", "1970-01-21"]
    assert (data.split_by, data.embargo, data.window) == ("date", 1, 5)
    assert (data.train_from, data.until) == ("1970-01-06", "1970-02-09")


@pytest.mark.parametrize(("count", "block"), [(9, 2), (10**23, 0)])
def test_too_many_folds_are_refused(count: int, block: int) -> None:
    with pytest.raises(
        InputError,
        match=rf"--walk-forward {count}: 20 days with a target make blocks of {block}, too short",
    ):
        make_folds(np.arange(20).astype("datetime64[D]"), count, 0.2, embargo=2, rolling=0)
