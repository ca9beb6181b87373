"""Model columns: how they are named and what they hold."""

from __future__ import annotations

import numpy as np
import pytest

from hpc_lstm.errors import ConfigError
from hpc_lstm.features.columns import compute, find

STORE = ("open", "close", "volume")


def test_names_lags_and_lookback() -> None:
    columns = find(["open", "log-returns", "log-returns(volume)"], "log-returns(open)", 3, STORE, "m.h5")
    assert [(c.number, c.lag) for c in (*columns.features, columns.target)] == [
        (0, 0),
        (1, 1),
        (2, 1),
        (0, 3),
    ]
    assert (columns.lookback, columns.longest_lag) == (1, 3)
    assert columns.names == ["open", "log-returns", "log-returns(volume)", "log-returns(open)"]
    assert (columns.numbers, columns.logarithmic) == ([0, 1, 2], [0, 1, 2])
    assert find(["close"], "close", 3, STORE, "m.h5").longest_lag == 0


def test_log_returns_stay_inside_their_piece() -> None:
    columns = find(["close", "log-returns"], "log-returns(volume)", 2, STORE, "m.h5")
    raw = np.random.default_rng(0).uniform(1, 2, (7, 3))
    found = compute(raw, np.array([0, 4, 7]), columns)
    np.testing.assert_array_equal(found[:, 0], raw[:, 1])
    close, volume = np.log(raw[:, 1]), np.log(raw[:, 2])
    for row in range(7):
        inside = row if row < 4 else row - 4
        assert found[row, 1] == pytest.approx(close[row] - close[row - 1] if inside >= 1 else 0)
        assert found[row, 2] == pytest.approx(
            volume[row] - volume[row - 2] if inside >= 2 else np.nan, nan_ok=True
        )


@pytest.mark.parametrize(
    ("features", "target", "said"),
    [
        (["clsoe"], "close", ["data.features", '"clsoe"', 'did you mean "close"', "m.h5"]),
        (["close"], "log-return", ["data.target", 'did you mean "log-returns"']),
        (["log-returns(price)"], "close", ['"price"', "open, close, volume"]),
        (["close", "close"], "close", ["given twice"]),
        (["log-returns", "log-returns(close)"], "close", ["given twice"]),
    ],
)
def test_a_wrong_column_is_named(features: list[str], target: str, said: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        find(features, target, 1, STORE, "m.h5")
    assert all(text in str(caught.value) for text in said)
