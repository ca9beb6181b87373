"""Fetching from Yahoo, with a module in yfinance's place that gives frames of its shape."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from hpc_lstm.errors import InputError
from hpc_lstm.market.store import MarketStore
from hpc_lstm.market.yahoo import fetch_prices

DAYS = pd.DatetimeIndex(["2020-01-02", "2020-01-03", "2020-01-06"], name="Date").tz_localize(
    "America/New_York"
)


def frame(base: float) -> pd.DataFrame:
    close = base + np.arange(3.0)
    return pd.DataFrame(
        {"Open": close, "High": close + 1, "Low": close - 1, "Close": close, "Adj Close": close / 2,
         "Volume": np.array([10, 20, 30])},
        index=DAYS,
    )  # fmt: skip


class YFPricesMissingError(Exception):
    """Of the name that yfinance's has."""


class Yahoo:
    """What the fake module answers, and what it was asked."""

    def __init__(self) -> None:
        self.frames: dict[str, pd.DataFrame] = {"AAPL": frame(100), "BRK-B": frame(200)}
        self.asked: list[str] = []
        self.error: Exception | None = None


@pytest.fixture
def yahoo(monkeypatch: pytest.MonkeyPatch) -> Yahoo:
    answers = Yahoo()
    module = ModuleType("yfinance")

    class Ticker:
        def __init__(self, name: str) -> None:
            self.name = name

        def history(
            self, *, start: str, end: str, interval: str, auto_adjust: bool, actions: bool
        ) -> pd.DataFrame:
            assert (start, end, interval, auto_adjust, actions) == (
                "2020-01-01",
                "2020-02-01",
                "1d",
                False,
                False,
            )
            answers.asked.append(self.name)
            hidden = module.config.debug.hide_exceptions
            if answers.error is not None and len(answers.asked) > 1:
                if hidden:  # as the real one does
                    return pd.DataFrame()
                raise answers.error
            if self.name not in answers.frames and not hidden:
                raise YFPricesMissingError(self.name)
            return answers.frames.get(self.name, pd.DataFrame())

    module.Ticker = Ticker
    module.config = SimpleNamespace(debug=SimpleNamespace(hide_exceptions=True))
    monkeypatch.setitem(sys.modules, "yfinance", module)
    return answers


def get(path: Path, *symbols: str) -> str:
    return fetch_prices(list(symbols), "2020-01-01", "2020-02-01", path).table()


def test_prices_of_the_local_day_come_into_the_store(yahoo: Yahoo, tmp_path: Path) -> None:
    said = get(tmp_path / "market.h5", "AAPL", "BRK-B", "AAPL")
    assert yahoo.asked == ["AAPL", "BRK-B"]
    assert "BRK-B" in said
    with MarketStore(tmp_path / "market.h5") as store:
        assert store.symbols == ["AAPL", "BRK-B"]
        assert store.columns == ["open", "high", "low", "close", "volume", "adj_close"]
        expected = np.array(["2020-01-02", "2020-01-03", "2020-01-06"], "datetime64[D]").astype(int)
        assert store.dates(0, 3).tolist() == expected.tolist()
        assert store.rows(3, 4).tolist() == [[200, 201, 199, 200, 10, 100]]
    assert [p.name for p in tmp_path.iterdir()] == ["market.h5"]


def test_an_interrupted_call_is_resumed(yahoo: Yahoo, tmp_path: Path) -> None:
    yahoo.error = ConnectionError("secret proxy address")
    with pytest.raises(InputError, match="BRK-B: Yahoo cannot be reached") as caught:
        get(tmp_path / "market.h5", "AAPL", "BRK-B")
    assert "secret" not in str(caught.value)
    assert not (tmp_path / "market.h5").exists()
    yahoo.error = None
    said = get(tmp_path / "market.h5", "AAPL", "BRK-B")
    assert yahoo.asked == ["AAPL", "BRK-B", "BRK-B"]
    assert said.count("fetched earlier") == 1


def test_unknown_symbols_are_named_and_the_others_kept(yahoo: Yahoo, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no prices for NOPE, NADA from 2020-01-01"):
        get(tmp_path / "market.h5", "NOPE", "AAPL", "NADA")
    get(tmp_path / "market.h5", "AAPL")
    assert yahoo.asked == ["NOPE", "AAPL", "NADA"]


def test_gaps_and_repeated_days_are_cleaned(yahoo: Yahoo, tmp_path: Path) -> None:
    broken = pd.concat([frame(100), frame(300).iloc[[2]]])
    broken.iloc[0, broken.columns.get_loc("Close")] = np.nan
    yahoo.frames["AAPL"] = broken
    assert fetch_prices(["AAPL"], "2020-01-01", "2020-02-01", tmp_path / "m.h5").dropped == {"AAPL": 1}
    with MarketStore(tmp_path / "m.h5") as store:
        assert store.rows(0, 2)[:, 3].tolist() == [101, 302]


@pytest.mark.parametrize(
    ("start", "end", "says"),
    [("2020-13-01", None, "--start"), ("yesterday", None, "--start"), ("2020-01-01", "x", "--end"),
     ("2020-01-02", "2020-01-02", "must be before")],
)  # fmt: skip
def test_wrong_days_are_refused(yahoo: Yahoo, tmp_path: Path, start: str, end: str | None, says: str) -> None:
    with pytest.raises(InputError, match=says):
        fetch_prices(["AAPL"], start, end, tmp_path / "market.h5")
    assert list(tmp_path.iterdir()) == []


def test_missing_yfinance_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "yfinance", None)
    with pytest.raises(InputError, match=r'pip install "hpc-lstm\[yahoo\]"'):
        get(tmp_path / "market.h5", "AAPL")


def test_nothing_fetched_leaves_nothing(yahoo: Yahoo, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no prices for NOPE"):
        get(tmp_path / "market.h5", "NOPE")
    assert list(tmp_path.iterdir()) == []
