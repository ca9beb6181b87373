"""What is said where prices are read from Python."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import hpc_lstm as hl


def test_symbols_and_rows_that_are_left_out_are_told() -> None:
    """But not the days before a symbol was traded first, of a table with a column for each symbol."""
    days = pd.date_range("2024-01-01", periods=4, name="Date")
    columns = pd.MultiIndex.from_product([["Close", "Volume"], ["AAA", "BAD"]], names=["Price", "Ticker"])
    table = pd.DataFrame(np.arange(1.0, 17).reshape(4, 4), index=days, columns=columns)
    table.loc[:, (slice(None), "BAD")] = np.nan
    said = r"prices left out: 1 symbol without any usable row \(first: BAD\)\."
    with pytest.warns(UserWarning, match=said) as warned:
        store = hl.read_prices(table)
    assert [one.filename for one in warned] == [__file__]
    one = pd.DataFrame({"Close": [1.0, np.nan, 3.0, 4.0]}, index=days)
    with pytest.warns(UserWarning, match=r"prices left out: 1 row without close\."):
        hl.read_prices({"ONE": one})
    assert store.symbols == ["AAA"]
    assert "symbols without a row left" in store.summary
    assert not hl.Store(store.path).summary
