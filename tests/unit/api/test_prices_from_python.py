"""What Python passes to the calls on prices, and the shell cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

import hpc_lstm as hl

TABLE = pd.DataFrame(
    {
        "date": pd.date_range("2024-01-01 09:30", periods=3, freq="min"),
        "symbol": "A",
        "close": [1.5, 2.5, 3.5],
    }
)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"columns": ["date", "close"]}, "--columns: must be one text with the names, separated by commas"),
        ({"symbol_column": ["symbol"]}, "--symbol-column: must be one text with the names"),
        ({"date_column": 0}, "--date-column: must be a text, got 0"),
        ({"date_format": 5}, "--date-format: must be a text, got 5"),
        ({"timezone": 5}, "--timezone: must be a text"),
        ({"keep_last": "no"}, "--keep-last: must be true or false, got 'no'"),
    ],
)
def test_options_of_another_kind_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(hl.InputError, match=said):
        hl.read_prices(TABLE, **options)


def test_a_zone_of_python_is_taken_by_its_name() -> None:
    store = hl.read_prices(TABLE, timezone=ZoneInfo("America/New_York"))
    assert store.first == "2024-01-01T14:30:00"


def test_a_store_is_used_as_it_is(tmp_path: Path) -> None:
    store = hl.synthesize(symbols=1, days=30)
    assert hl.read_prices(store) is store
    for prices in (store, store.path, [store.path]):
        with pytest.raises(hl.InputError, match=r"is an HDF5 file, as market stores are, .*copy the file"):
            hl.read_prices(prices, tmp_path / "m.h5")


def test_symbols_are_named_by_any_sequence() -> None:
    store = hl.read_prices({name: TABLE.drop(columns="symbol") for name in (10107, 14593)})
    for names in (["10107"], np.array(["10107"]), pd.Index(["10107"]), pd.Series(["10107"]), [10107]):
        assert store.to_pandas(names).index.names == ["symbol", "date"]
    pd.testing.assert_frame_equal(store.to_pandas(10107), store.to_pandas("10107"))
    with pytest.raises(hl.InputError, match='no symbol "7"'):
        store.to_pandas([7])
