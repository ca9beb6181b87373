"""Model columns: how they are named and what they hold."""

from __future__ import annotations

import numpy as np
import pytest

from hpc_lstm.errors import ConfigError
from hpc_lstm.features.columns import compute_columns, find_columns

STORE = ("open", "close", "volume")


def test_names_numbers_and_lookback() -> None:
    columns = find_columns(
        ["open", "log-returns", "log-returns(volume)"], ["log-returns(open)"], [3], STORE, "m.h5"
    )
    assert [(c.numbers, c.feature.lookback) for c in columns.features] == [((0,), 0), ((1,), 1), ((2,), 1)]
    assert (columns.target.number, columns.target.lookback) == (0, 3)
    assert (columns.lookback, columns.longest_lookback) == (1, 3)
    assert columns.names == ["open", "log-returns", "log-returns(volume)", "log-returns(open)"]
    assert columns.numbers == [0, 1, 2]
    assert columns.positive == {0: "log-returns(open)", 1: "log-returns", 2: "log-returns(volume)"}
    assert find_columns(["close", "sma(open, 4)"], ["close"], [1], STORE, "m.h5").positive == {}
    assert find_columns(["close"], ["close"], [3], STORE, "m.h5").longest_lookback == 0


def test_adjusted_is_the_adjusted_close_where_there_is_one() -> None:
    for names, number in ((("close", "adj_close"), 1), (("open", "close"), 1), (("adjusted", "close"), 0)):
        columns = find_columns(["log-returns(adjusted)"], ["adjusted"], [1], names, "m.h5")
        assert (columns.features[0].numbers, columns.target.number) == ((number,), number)
        assert columns.names == ["log-returns(adjusted)", "adjusted"]
    with pytest.raises(ConfigError, match=r'm\.h5 has no column "adj_close" or "close"; it has x'):
        find_columns(["adjusted"], ["x"], [1], ("x",), "m.h5")


def test_log_returns_stay_inside_their_piece() -> None:
    columns = find_columns(["close", "log-returns"], ["log-returns(volume)"], [2], STORE, "m.h5")
    raw = np.random.default_rng(0).uniform(1, 2, (7, 3))
    found = compute_columns(raw, np.array([0, 4, 7]), columns)
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
        (["close", "adjusted"], "close", ["given twice"]),
        (["log-returns", "log-returns(close)"], "close", ["given twice"]),
        (["sma(close, 20)", "sma( close,20 )"], "close", ["data.features", "given twice"]),
        (["sma(clsoe, 20)"], "close", ["data.features", 'no column "clsoe"', 'did you mean "close"']),
        (["smaa(close, 20)"], "close", ['no feature "smaa"', 'did you mean "sma(NAME, length)"']),
        (["SMA(close, 20)"], "close", ['no feature "SMA"', 'did you mean "sma(NAME, length)"']),
        (["sma(close)"], "close", ["must be written sma(NAME, length)", '"sma(close, 20)"']),
        (["sma"], "close", ["must be written sma(NAME, length)"]),
        (["sma(20)"], "close", ["must be written sma(NAME, length)"]),
        (["sma(close, 2.5)"], "close", ["data.features", "length must be a whole number", '"2.5"']),
        (["ema(close, 0)"], "close", ["span must be a whole number", '"0"']),
        (["ema(close, -3)"], "close", ["span must be a whole number", '"-3"']),
        (["ema(close, 99999999999999)"], "close", ["span must be a whole number"]),
        (["sma(close, 20"], "close", ["data.features", 'no column "sma(close, 20"', "sma(NAME, length)"]),
        (["close"], "sma(close, 20)", ["data.target", "cannot be a target", "log-returns(NAME)"]),
    ],
)
def test_a_wrong_column_is_named(features: list[str], target: str, said: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        find_columns(features, [target], [1], STORE, "m.h5")
    assert all(text in str(caught.value) for text in said)


def test_spaces_do_not_matter_and_the_name_stays_as_given() -> None:
    columns = find_columns([" sma( close ,20 ) ", "ema(volume,5)"], ["close"], [1], STORE, "m.h5")
    assert [(c.numbers, c.feature.lookback) for c in columns.features] == [((1,), 19), ((2,), 19 * 5 - 1)]
    assert columns.names == [" sma( close ,20 ) ", "ema(volume,5)", "close"]


def test_a_column_may_have_commas_and_brackets_in_its_name() -> None:
    store = ("Close, adjusted", "Price (USD)")
    columns = find_columns(["Price (USD)", "sma(Close, adjusted, 3)"], ["Price (USD)"], [1], store, "m.h5")
    assert [c.numbers for c in columns.features] == [(1,), (0,)]


def test_each_piece_is_a_symbol_of_its_own() -> None:
    columns = find_columns(["sma(close, 3)", "ema(open, 2)"], ["close"], [1], STORE, "m.h5")
    raw = np.random.default_rng(0).uniform(1, 2, (12, 3))
    together = compute_columns(raw, np.array([0, 5, 12]), columns)
    for begin, end in ((0, 5), (5, 12)):
        alone = compute_columns(raw[begin:end], np.array([0, end - begin]), columns)
        np.testing.assert_array_equal(together[begin:end], alone)
