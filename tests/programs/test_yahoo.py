"""Fetching by the real yfinance from a Yahoo of our own (``yahoo_server``)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import h5py
import numpy as np
import pytest
from forked_programs import ForkedPrograms
from yahoo_server import Listing, YahooServer

from hpc_lstm import cli
from hpc_lstm.errors import InputError, StoreError
from hpc_lstm.market.events import StoredEvents
from hpc_lstm.market.fetching.passes import Pace
from hpc_lstm.market.fetching.summary import FetchSummary
from hpc_lstm.market.store import MarketStore
from hpc_lstm.market.store_writer import StoreWriter
from hpc_lstm.market.yahoo import fetch_prices

NOW = datetime(2024, 3, 1, 23, tzinfo=timezone.utc)  # a Friday, after the session in New York
AT_ONCE = Pace(
    rate=1e6, burst=1e6, first_pause=0, longest_pause=0, timeout=0.5, passes=3, sleep=lambda seconds: None
)
NEW_YORK = "America/New_York"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[YahooServer]:
    from curl_cffi.requests import Session
    from yfinance.data import YfData

    with YahooServer(tmp_path_factory.mktemp("yahoo"), NOW) as running, pytest.MonkeyPatch.context() as patch:
        for name, value in running.environment.items():
            patch.setenv(name, value)
        YfData(session=Session(impersonate="chrome"))  # one that trusts the server's certificate
        yield running


@pytest.fixture
def yahoo(server: YahooServer) -> YahooServer:
    server.reset(NOW)
    server.listings = {"AAPL": Listing(), "BRK-B": Listing(base=200)}
    return server


@pytest.fixture(scope="module")
def programs() -> Iterator[ForkedPrograms]:
    """Processes of the program that need not import yfinance anew."""
    with ForkedPrograms("hpc_lstm.market.yahoo", "yfinance") as running:
        yield running


def get(
    yahoo: YahooServer,
    path: Path,
    *symbols: str,
    start: str = "2024-01-01",
    end: str | None = None,
    **more: Any,
) -> FetchSummary:
    return fetch_prices(
        list(symbols), start, end, path, now=yahoo.now.timestamp(), **{"pace": AT_ONCE, **more}
    )


def prices(path: Path, symbol: str) -> tuple[np.ndarray, np.ndarray]:
    """A symbol's dates, datetime64, and values."""
    with MarketStore(path) as store:
        number = store.symbol(symbol)
        first, stop = store.offsets[number : number + 2]
        return store.dates(first, stop).astype(f"datetime64[{store.date_unit}]"), store.rows(first, stop)


def closes(path: Path, symbol: str) -> list[float]:
    return prices(path, symbol)[1][:, 3].tolist()


def events(path: Path, kind: str, symbol: str) -> list[tuple[str, float]]:
    with MarketStore(path) as store:
        found = StoredEvents(store).of(kind, store.symbol(symbol))
        days = found.dates.astype(f"datetime64[{store.date_unit}]").astype("datetime64[D]")
        return [(str(day), float(value)) for day, value in zip(days, found.values, strict=True)]


def business_days(first: str, stop: str) -> list[str]:
    days = np.arange(np.datetime64(first), np.datetime64(stop))
    return [str(day) for day in days[np.is_busday(days)]]


def next_day(yahoo: YahooServer, days: int = 3) -> None:
    yahoo.now += timedelta(days=days)
    yahoo.asked.clear()


# What comes into the store.


def test_prices_come_into_the_store(yahoo: YahooServer, tmp_path: Path) -> None:
    said = get(yahoo, tmp_path / "market.h5", " brk-b", "AAPL,", "BRK-B").table()
    assert "BRK-B" in said
    with MarketStore(tmp_path / "market.h5") as store:
        assert store.symbols == ["BRK-B", "AAPL"]
        assert store.columns == ["open", "high", "low", "close", "volume", "adj_close"]
        assert store.attributes["interval"] == "1d"
    dates, values = prices(tmp_path / "market.h5", "AAPL")
    expected = yahoo.listings["AAPL"].closes(NOW)
    assert dates.astype(str).tolist() == business_days("2024-01-01", "2024-03-01")
    assert values[:, 3].tolist() == pytest.approx([expected[day.item()][0] for day in dates], rel=1e-12)
    assert [path.name for path in tmp_path.iterdir()] == ["market.h5"]


@pytest.mark.parametrize(
    ("zone", "opens", "last"),
    [("Asia/Tokyo", time(9), "2024-03-01"), ("Australia/Sydney", time(10), "2024-03-01"),
     (NEW_YORK, time(9, 30), "2024-02-29"), ("Pacific/Auckland", time(10), "2024-03-01")],
)  # fmt: skip
def test_a_row_has_the_exchanges_date(
    yahoo: YahooServer, tmp_path: Path, zone: str, opens: time, last: str
) -> None:
    """Sydney opens on the UTC day before; with no --end, the exchange's own today is left out."""
    yahoo.listings = {"X": Listing(zone=zone, opens=opens)}
    get(yahoo, tmp_path / "m.h5", "X")
    dates = prices(tmp_path / "m.h5", "X")[0].astype(str).tolist()
    assert dates == business_days("2024-01-01", str(np.datetime64(last) + np.timedelta64(1, "D")))


def test_the_session_in_progress_is_left_out(yahoo: YahooServer, tmp_path: Path) -> None:
    yahoo.now = datetime(2024, 2, 29, 17, tzinfo=timezone.utc)
    get(yahoo, tmp_path / "m.h5", "AAPL", end="2024-03-05")
    assert str(prices(tmp_path / "m.h5", "AAPL")[0][-1]) == "2024-02-28"
    yahoo.now = datetime(2024, 2, 29, 23, tzinfo=timezone.utc)
    get(yahoo, tmp_path / "m.h5", "AAPL", end="2024-03-05")
    assert str(prices(tmp_path / "m.h5", "AAPL")[0][-1]) == "2024-02-29"


def test_splits_and_dividends_are_kept_beside_the_prices(yahoo: YahooServer, tmp_path: Path) -> None:
    yahoo.listings["AAPL"].splits = {date(2024, 2, 1): 4.0}
    yahoo.listings["AAPL"].dividends = {date(2024, 1, 16): 0.8, date(2024, 2, 15): 0.25}
    get(yahoo, tmp_path / "m.h5", "AAPL", "BRK-B")
    assert events(tmp_path / "m.h5", "splits", "AAPL") == [("2024-02-01", 4.0)]
    assert [day for day, _ in events(tmp_path / "m.h5", "dividends", "AAPL")] == ["2024-01-16", "2024-02-15"]
    assert events(tmp_path / "m.h5", "splits", "BRK-B") == []
    values = prices(tmp_path / "m.h5", "AAPL")[1]
    assert values[0, 3] == pytest.approx(100 * (1 + 1023 % 37 / 50) / 4, rel=0.5)
    assert values[0, 5] < values[0, 3]


def test_one_bad_value_costs_no_good_close(yahoo: YahooServer, tmp_path: Path) -> None:
    day = date(2024, 1, 3)
    yahoo.listings["AAPL"].edits = {
        ("open", day): 0.0,
        ("adj_close", date(2024, 1, 4)): -1.0,
        ("volume", date(2024, 1, 5)): None,
        ("close", date(2024, 1, 8)): None,
        ("close", date(2024, 1, 9)): 0.0,
    }
    summary = get(yahoo, tmp_path / "m.h5", "AAPL")
    dates, values = prices(tmp_path / "m.h5", "AAPL")
    shown = dates.astype(str).tolist()
    assert shown[:6] == ["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04", "2024-01-05", "2024-01-10"]
    assert summary.dropped == {"AAPL": 2}
    assert values[2, 0] == values[1, 0]  # the last known open
    assert values[3, 5] == values[2, 5]
    assert values[4, 4] == 0


def test_a_bad_column_costs_no_good_close(yahoo: YahooServer, tmp_path: Path) -> None:
    """As reported: opens of zero for the first months, adjusted closes below zero, no volume at all."""
    days = [date.fromisoformat(day) for day in business_days("2024-01-01", "2024-03-02")]
    yahoo.listings = {
        "ZERO": Listing(edits={("open", day): 0.0 for day in days[:25]}),
        "MINUS": Listing(edits={("adj_close", day): -1 + number / 20 for number, day in enumerate(days)}),
        "NONE": Listing(edits={("volume", day): None for day in days}),
    }
    summary = get(yahoo, tmp_path / "m.h5", *yahoo.listings)
    assert set(summary.dropped.values()) == {0}
    for name in yahoo.listings:
        dates, values = prices(tmp_path / "m.h5", name)
        assert dates.astype(str).tolist() == business_days("2024-01-01", "2024-03-01")
        assert (values[:, [0, 1, 2, 3, 5]] > 0).all()
    opens = prices(tmp_path / "m.h5", "ZERO")[1]
    assert (opens[:25, 0] == opens[:25, 3]).all()
    assert not prices(tmp_path / "m.h5", "NONE")[1][:, 4].any()


def test_negative_prices_are_kept_on_request(yahoo: YahooServer, tmp_path: Path) -> None:
    """As of yields and of oil in April 2020; a store does not mix rows with and rows without them."""
    day, zero = date(2024, 1, 3), date(2024, 1, 4)
    names = ("open", "high", "low", "close", "adj_close")
    yahoo.listings = {"CL=F": Listing(edits={(name, day): -37.5 for name in names} | {("close", zero): 0.0})}
    summary = get(yahoo, tmp_path / "m.h5", "CL=F", allow_negative=True)
    dates, values = prices(tmp_path / "m.h5", "CL=F")
    assert dates.astype(str).tolist() == business_days("2024-01-01", "2024-03-01")
    assert values[2, [0, 1, 2, 3, 5]].tolist() == [-37.5] * 5
    assert values[3, 3] == 0
    assert summary.dropped == {"CL=F": 0}
    with pytest.raises(
        StoreError, match="was fetched with --allow-negative; do so again, or fetch into another"
    ):
        get(yahoo, tmp_path / "m.h5", "CL=F")
    next_day(yahoo)
    get(yahoo, tmp_path / "m.h5", "CL=F", allow_negative=True)
    assert prices(tmp_path / "m.h5", "CL=F")[1][: len(values)].tolist() == values.tolist()

    get(yahoo, tmp_path / "positive.h5", "CL=F")
    assert (prices(tmp_path / "positive.h5", "CL=F")[1][:, :4] > 0).all()
    with pytest.raises(StoreError, match="was fetched without --allow-negative"):
        get(yahoo, tmp_path / "positive.h5", "CL=F", allow_negative=True)


@pytest.mark.parametrize("key", ["currency", "instrumentType", "currentTradingPeriod"])
def test_a_reply_without_what_is_not_needed_is_read(yahoo: YahooServer, tmp_path: Path, key: str) -> None:
    yahoo.listings["AAPL"].leave_out = (key,)
    get(yahoo, tmp_path / "m.h5", "AAPL")
    assert len(prices(tmp_path / "m.h5", "AAPL")[0]) == len(business_days("2024-01-01", "2024-03-01"))


def test_minutes_are_kept_in_utc_and_asked_for_in_parts(yahoo: YahooServer, tmp_path: Path) -> None:
    get(yahoo, tmp_path / "m.h5", "AAPL", start="2024-02-12", interval="1m")
    dates, values = prices(tmp_path / "m.h5", "AAPL")
    assert str(dates[0]) == "2024-02-12T14:30:00.000000000"
    assert len(dates) == 14 * 360
    assert (np.diff(dates) > np.timedelta64(0, "ns")).all()
    assert len(yahoo.asked) == 3
    assert all(stop - first <= 7 * 86400 for _, first, stop, _ in yahoo.asked)
    next_day(yahoo)
    get(yahoo, tmp_path / "m.h5", "AAPL", start="2024-02-12", interval="1m")
    assert len(prices(tmp_path / "m.h5", "AAPL")[0]) == 15 * 360
    assert len(yahoo.asked) == 1
    assert (prices(tmp_path / "m.h5", "AAPL")[1][: len(values)] == values).all()


@pytest.mark.parametrize(
    ("interval", "zone", "opens", "bars", "first"),
    [("30m", NEW_YORK, time(9, 30), 12, "2024-02-26T14:30"),
     ("60m", "Europe/London", time(8), 6, "2024-02-26T08:00"),
     ("5m", "Australia/Sydney", time(10), 72, "2024-02-25T23:00"),
     ("1h", "Asia/Tokyo", time(9), 6, "2024-02-26T00:00")],
)  # fmt: skip
def test_intraday_sessions_are_whole_days_of_the_exchange(
    yahoo: YahooServer, tmp_path: Path, interval: str, zone: str, opens: time, bars: int, first: str
) -> None:
    """Also through the change of summer time in New York on 10 March, London on 31 March, Sydney on 7 April."""
    yahoo.listings = {"X": Listing(zone=zone, opens=opens, first=date(2024, 2, 1))}
    path, sessions = tmp_path / "m.h5", []
    for day in (date(2024, 2, 29), date(2024, 3, 8), date(2024, 3, 12), date(2024, 4, 2), date(2024, 4, 9)):
        yahoo.now = datetime.combine(day, time(12), timezone.utc)
        get(yahoo, path, "X", start="2024-02-26", interval=interval)
        sessions = business_days("2024-02-26", str(day))
        dates = prices(path, "X")[0]
        assert len(dates) == len(sessions) * bars
    assert str(dates[0]).startswith(first)
    expected = [
        (
            datetime.combine(date.fromisoformat(day), opens, ZoneInfo(zone))
            + number * timedelta(hours=6) / bars
        )
        for day in sessions
        for number in range(bars)
    ]
    assert (dates.astype("int64") // 10**9).tolist() == [int(at.timestamp()) for at in expected]


@pytest.mark.parametrize(
    ("interval", "start", "first", "before", "after"),
    [
        ("1wk", "2024-01-03", "2024-01-08", "2024-02-19", "2024-03-04"),
        ("1mo", "2023-11-15", "2023-12-01", "2024-01-01", "2024-02-01"),
    ],
)
def test_weeks_and_months_are_whole(
    yahoo: YahooServer, tmp_path: Path, interval: str, start: str, first: str, before: str, after: str
) -> None:
    """Those in progress are left out, and come with the same command when they are over."""
    path, listing = tmp_path / "m.h5", yahoo.listings["AAPL"]
    listing.dividends = {date(2024, 1, 16): 0.8}
    yahoo.now = datetime(2024, 2, 28, 17, tzinfo=timezone.utc)
    for now, last in ((yahoo.now, before), (datetime(2024, 3, 11, 14, tzinfo=timezone.utc), after)):
        yahoo.now = now
        yahoo.asked.clear()
        get(yahoo, path, "AAPL", start=start, interval=interval)
        dates, values = prices(path, "AAPL")
        assert [str(dates[0]), str(dates[-1])] == [first, last]
        closes_of = listing.closes(now)
        for at, row in zip(dates.astype(object), values, strict=True):
            days = [
                day
                for day in closes_of
                if (day - timedelta(days=day.weekday()) if interval == "1wk" else day.replace(day=1)) == at
            ]
            assert row[3] == pytest.approx(closes_of[days[-1]][0], rel=1e-12)
            assert row[5] == pytest.approx(closes_of[days[-1]][1], rel=1e-12)
    assert len(yahoo.asked) == 1
    yahoo.asked.clear()
    get(yahoo, path, "AAPL", start=start, interval=interval)
    assert not yahoo.asked
    with MarketStore(path) as store:
        assert (store.date_unit, store.attributes["interval"]) == ("D", interval)
    with pytest.raises(StoreError, match=f"has prices of every {interval}, not of --interval 1d"):
        get(yahoo, path, "AAPL", start=start)


# Symbols that do not come.


def test_symbols_without_prices_are_listed_and_the_others_written(
    yahoo: YahooServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    yahoo.listings["GONE"] = Listing(last=date(2023, 6, 1))
    summary = get(yahoo, tmp_path / "m.h5", "NOPE", "AAPL", "GONE", "A/B", "BRK.B")
    assert summary.missing == {
        "NOPE": "unknown or delisted",
        "GONE": "no prices since 2024-01-01",
        "A/B": "not a symbol of Yahoo's",
        "BRK.B": "unknown or delisted; Yahoo writes BRK-B",
    }
    assert "unknown or delisted: NOPE" in summary.table()
    assert summary.warning() == "no prices for NOPE, GONE, A/B, BRK.B"
    with MarketStore(tmp_path / "m.h5") as store:
        assert store.symbols == ["AAPL"]
    assert capfd.readouterr() == ("", "")


def test_strict_refuses_and_keeps_what_came(yahoo: YahooServer, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"no prices for NOPE from 2024-01-01 to today .*the other symbols are"
    ):
        get(yahoo, tmp_path / "m.h5", "NOPE", "AAPL", strict=True)
    assert not (tmp_path / "m.h5").exists()
    yahoo.asked.clear()
    get(yahoo, tmp_path / "m.h5", "AAPL", strict=True)
    assert yahoo.asked == []


def test_nothing_fetched_leaves_nothing(yahoo: YahooServer, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no prices for NOPE"):
        get(yahoo, tmp_path / "m.h5", "NOPE")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("fault", "says"),
    [("429", "too many requests"), ("502", "HTTP 502"), ("500", "HTTP 500"), ("401", "HTTP 401"),
     ("html", "HTML page"), ("half", "non-JSON"), ("hang", "timed out"), ("drip", "timed out"),
     ("cut", "no connection")],
)  # fmt: skip
def test_what_is_not_answered_is_asked_again(
    yahoo: YahooServer, tmp_path: Path, fault: str, says: str
) -> None:
    """Once in this call, if Yahoo recovers; else by the next one, which asks only for that symbol."""
    yahoo.faults = {"AAPL": (fault, 2), "BRK-B": (fault, 1e9)}
    yahoo.listings["MSFT"] = Listing()
    summary = get(yahoo, tmp_path / "m.h5", "AAPL", "BRK-B", "MSFT")
    assert list(summary.failed) == ["BRK-B"]
    assert says in summary.failed["BRK-B"]
    assert "asks for them again" in (summary.warning() or "")
    assert list(summary.rows) == ["AAPL", "MSFT"]
    yahoo.faults = {}
    yahoo.asked.clear()
    summary = get(yahoo, tmp_path / "m.h5", "AAPL", "BRK-B", "MSFT")
    assert [symbol for symbol, *_ in yahoo.asked] == ["BRK-B"]
    assert (summary.failed, summary.warning()) == ({}, None)
    with MarketStore(tmp_path / "m.h5") as store:
        assert store.symbols == ["AAPL", "MSFT", "BRK-B"]


def test_no_network_is_said_in_one_line(
    yahoo: YahooServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"not fetched: .*no connection .*repeat the command later"):
        get(yahoo, tmp_path / "m.h5", *(f"S{number}" for number in range(100)))
    assert list(tmp_path.iterdir()) == []


def test_a_broken_cache_of_yfinances_is_not_used(
    yahoo: YahooServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / "py-yfinance").mkdir(parents=True)
    for name in ("tkr-tz.db", "cookies.db"):
        (home / "py-yfinance" / name).write_bytes(b"no database")
    script = (
        "import sys; from hpc_lstm.cli import main; main(sys.argv[1:])"  # a process that has not used it yet
    )
    result = subprocess.run(
        [sys.executable, "-c", script, "fetch", "AAPL", "--start", "2024-01-01", "--end", "2024-02-01",
         "-o", str(tmp_path / "m.h5")],
        env={**os.environ, "XDG_CACHE_HOME": str(home), "HOME": str(home)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert result.stderr == ""
    assert len(closes(tmp_path / "m.h5", "AAPL")) == len(business_days("2024-01-01", "2024-02-01"))
    assert sorted(path.name for path in (home / "py-yfinance").iterdir()) == ["cookies.db", "tkr-tz.db"]


def test_caches_of_killed_processes_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hpc_lstm.market.fetching import cache_folder

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    host = os.uname().nodename
    dead = tmp_path / f"hpc-lstm-yfinance-{host}-{gone.pid}-x"
    kept = [tmp_path / f"hpc-lstm-yfinance-{name}" for name in (f"{host}-{os.getppid()}-y", "other-1-z")]
    for folder in (dead, *kept):
        folder.mkdir()
    made = cache_folder._new_folder()
    assert made is not None
    assert {made, *kept} == set(tmp_path.iterdir())


def test_a_cache_that_breaks_is_replaced(yahoo: YahooServer, tmp_path: Path) -> None:
    import yfinance

    get(yahoo, tmp_path / "m.h5", "AAPL")
    folder = Path(yfinance.cache._TzDBManager.get_location())
    assert folder.name.startswith("hpc-lstm-yfinance-")
    for file in folder.iterdir():
        file.write_bytes(b"no database" * 1000)
    assert get(yahoo, tmp_path / "m.h5", "BRK-B").failed == {}
    assert Path(yfinance.cache._TzDBManager.get_location()) != folder


# The same command later.


def test_the_next_day_only_what_is_new_is_asked_for(yahoo: YahooServer, tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    get(yahoo, path, "AAPL", "BRK-B", start="2023-01-02")
    before = prices(path, "AAPL")
    yahoo.listings["AAPL"].edits = {("volume", date(2024, 2, 29)): 7.0}  # revised: what is stored stays
    next_day(yahoo)
    yahoo.requests.clear()
    summary = get(yahoo, path, "AAPL", "BRK-B", "BRK-B", start="2023-01-02")
    assert summary.added == {"AAPL": 1, "BRK-B": 1}
    assert all(first > datetime(2024, 1, 1).timestamp() for _, first, _, _ in yahoo.asked)
    assert yahoo.requests["query2.finance.yahoo.com"] == 3  # one a symbol, and one to see that it answers
    after = prices(path, "AAPL")
    assert str(after[0][-1]) == "2024-03-01"
    assert (after[1][:-1] == before[1]).all()


def test_the_same_day_nothing_is_asked_for_and_nothing_written(yahoo: YahooServer, tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    get(yahoo, path, "AAPL")
    before = path.read_bytes()
    yahoo.asked.clear()
    summary = get(yahoo, path, "AAPL")
    assert (yahoo.asked, summary.unchanged, path.read_bytes()) == ([], ["AAPL"], before)
    assert "up to date" in summary.table()


def test_new_symbols_are_added_and_others_stay(yahoo: YahooServer, tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    get(yahoo, path, "AAPL", end="2024-02-01")
    before = closes(path, "AAPL")
    summary = get(yahoo, path, "BRK-B", end="2024-02-01")
    assert summary.others == 1
    with MarketStore(path) as store:
        assert store.symbols == ["AAPL", "BRK-B"]
    assert closes(path, "AAPL") == before


@pytest.mark.parametrize("kind", ["split", "dividend"])
def test_a_changed_history_is_fetched_anew(yahoo: YahooServer, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "m.h5"
    apple = yahoo.listings["AAPL"]
    apple.dividends = {date(2024, 1, 10): 0.5}
    get(yahoo, path, "AAPL", "BRK-B", start="2023-06-01")
    old = closes(path, "AAPL")
    next_day(yahoo)
    if kind == "split":
        apple.splits[date(2024, 3, 1)] = 4.0
    else:
        apple.dividends[date(2024, 3, 1)] = 1.0
    summary = get(yahoo, path, "AAPL", "BRK-B", start="2023-06-01")
    assert list(summary.anew) == ["AAPL"]
    assert "2024-0" in summary.anew["AAPL"]
    fresh = tmp_path / "fresh.h5"
    get(yahoo, fresh, "AAPL", "BRK-B", start="2023-06-01")
    for symbol in ("AAPL", "BRK-B"):
        ours, theirs = prices(path, symbol), prices(fresh, symbol)
        assert ours[0].tolist() == theirs[0].tolist()
        assert ours[1][:, [0, 1, 2, 3, 5]] == pytest.approx(theirs[1][:, [0, 1, 2, 3, 5]], rel=1e-12)
        for events_of in ("splits", "dividends"):
            assert events(path, events_of, symbol) == events(fresh, events_of, symbol)
    if kind == "split":
        assert closes(path, "AAPL")[0] == pytest.approx(old[0] / 4)


def test_an_earlier_start_fetches_the_symbol_anew(yahoo: YahooServer, tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    get(yahoo, path, "AAPL", end="2024-02-01")
    get(yahoo, path, "AAPL", start="2023-12-01", end="2024-01-15")
    dates = prices(path, "AAPL")[0].astype(str)
    assert dates.tolist() == business_days("2023-12-01", "2024-02-01")


def test_a_symbol_that_left_the_exchange_keeps_its_rows(yahoo: YahooServer, tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    get(yahoo, path, "AAPL", "BRK-B")
    before = closes(path, "AAPL")
    next_day(yahoo)
    del yahoo.listings["AAPL"]
    summary = get(yahoo, path, "AAPL", "BRK-B")
    assert summary.missing == {"AAPL": "unknown or delisted; its rows are kept"}
    assert closes(path, "AAPL") == before


def test_rows_that_were_imported_are_never_replaced(yahoo: YahooServer, tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    get(yahoo, path, "AAPL", end="2024-02-01")
    dates, values = prices(path, "AAPL")
    columns = ["open", "high", "low", "close", "volume", "adj_close"]
    with StoreWriter(path, columns, "CSV") as writer:
        writer.append("BRK-B", dates.astype(np.int64), values * 3)
        writer.append("AAPL", dates.astype(np.int64), values)
    summary = get(yahoo, path, "BRK-B", "AAPL")
    assert "close of 2024-01-2" in summary.failed["BRK-B"]
    assert "stay as they are" in summary.failed["BRK-B"]
    assert closes(path, "BRK-B") == (values[:, 3] * 3).tolist()
    assert len(closes(path, "AAPL")) == len(business_days("2024-01-01", "2024-03-01"))
    with MarketStore(path) as store:
        assert store.extra("fetched/ends").tolist() == [-1, -1]
        assert (
            store.extra("fetched/starts").astype("datetime64[D]").astype(str).tolist() == ["2024-01-01"] * 2
        )
    yahoo.listings["AAPL"].splits = {date(2024, 3, 1): 2.0}  # what continued them does not allow it, either
    next_day(yahoo)
    before = closes(path, "AAPL")
    yahoo.listings["MSFT"] = Listing()
    assert "split 2:1 on 2024-03-01" in get(yahoo, path, "AAPL", "MSFT").failed["AAPL"]
    assert closes(path, "AAPL") == before


def test_a_day_that_had_no_close_comes_later(yahoo: YahooServer, tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    yahoo.listings["AAPL"].edits = {("close", date(2024, 2, 28)): None}
    get(yahoo, path, "AAPL")
    assert "2024-02-28" not in prices(path, "AAPL")[0].astype(str)
    next_day(yahoo)
    yahoo.listings["AAPL"].edits = {}
    summary = get(yahoo, path, "AAPL")
    assert summary.anew == {"AAPL": "2024-02-28 has prices now"}
    assert prices(path, "AAPL")[0].astype(str).tolist() == business_days("2024-01-01", "2024-03-02")


def test_a_store_of_an_older_version_is_brought_up_to_date(yahoo: YahooServer, tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    get(yahoo, path, "AAPL", end="2024-02-01")
    with h5py.File(path, "r+") as file:
        for name in ("fetched", "splits", "dividends", "symbols"):
            del file[name]
        file.create_dataset("symbols", data=["aapl"], dtype=h5py.string_dtype())  # as the user wrote it
        del file.attrs["interval"]
    yahoo.asked.clear()
    get(yahoo, path, "AAPL", end="2024-02-01")
    assert yahoo.asked == []
    get(yahoo, path, "AAPL")
    assert prices(path, "aapl")[0].astype(str).tolist() == business_days("2024-01-01", "2024-03-01")


def test_stores_of_other_prices_are_refused(yahoo: YahooServer, tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    get(yahoo, path, "AAPL")
    with pytest.raises(StoreError, match=r"has daily prices, not of --interval 5m; fetch into another store"):
        get(yahoo, path, "AAPL", start="2024-02-20", interval="5m")
    with StoreWriter(tmp_path / "c.h5", ["close"], "CSV") as writer:
        writer.append("A", np.arange(3), np.ones((3, 1)))
    with pytest.raises(StoreError, match=r"has the columns close, .*; fetch into another store"):
        get(yahoo, tmp_path / "c.h5", "AAPL")
    (tmp_path / "text.h5").write_text("mine")
    with pytest.raises(StoreError, match=r"choose another output"):
        get(yahoo, tmp_path / "text.h5", "AAPL")
    assert (tmp_path / "text.h5").read_text() == "mine"


def test_minutes_whose_history_changed_stay_where_yahoo_has_no_more(
    yahoo: YahooServer, tmp_path: Path
) -> None:
    path = tmp_path / "m.h5"
    get(yahoo, path, "AAPL", start="2024-02-12", interval="1m")
    before = closes(path, "AAPL")
    next_day(yahoo, 14)
    yahoo.listings["AAPL"].splits = {date(2024, 3, 5): 2.0}
    with pytest.raises(InputError, match=r"keeps its prices of every 1m for 30 days only.*another store"):
        get(yahoo, path, "AAPL", start="2024-02-12", interval="1m")
    assert closes(path, "AAPL") == before


# Interrupted.


def test_150_symbols_with_faults_of_every_kind_killed_and_repeated(
    yahoo: YahooServer, programs: ForkedPrograms, tmp_path: Path
) -> None:
    faults = ["429", "502", "500", "401", "html", "half", "cut"]
    names = [f"S{number}" for number in range(150)]
    yahoo.listings = {
        name: Listing(first=date(2024, 1, 22), base=50 + number)
        for number, name in enumerate(names)
        if number % 15
    }
    yahoo.faults = {name: (faults[number % 7], 1) for number, name in enumerate(names) if number % 20 == 7}
    (tmp_path / "symbols.txt").write_text(
        "# my symbols\n\n" + "\n".join(f" {name.lower()} " for name in names)
    )
    path = tmp_path / "m.h5"
    command = [
        *("fetch", "--symbols-file", str(tmp_path / "symbols.txt")),
        *("--start", "2024-02-01", "--end", "2024-02-10", "--rate", "1000", "-o", str(path)),
    ]
    yahoo.stall_after = 80
    with programs.started(*command) as fetching:
        assert yahoo.stalled.wait(120)
        os.kill(fetching.process, signal.SIGKILL)
        assert fetching.end().returncode == -signal.SIGKILL
    assert not path.exists()
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == [".m.h5.journal"]
    yahoo.stall_after = None
    yahoo.go_on.set()
    yahoo.asked.clear()
    result = programs.run(*command)
    assert result.returncode == 0
    asked = {symbol for symbol, *_ in yahoo.asked}
    assert 60 <= len(asked) <= 150 - 10 - 40
    progress = "fetch: "  # a line every 30 s, where a machine is slow
    assert [line for line in result.stderr.splitlines() if not line.startswith(progress)] == [
        "hpc-lstm: warning: no prices for S0, S15, S30, S45, S60, S75, S90, S105 and 2 more"
    ]
    assert "fetched by an earlier call" in result.stdout
    with MarketStore(path) as store:
        assert store.symbols == [name for name in names if name in yahoo.listings]
        assert set(np.diff(store.offsets).tolist()) == {7}
    days = business_days("2024-02-01", "2024-02-10")
    for name in ("S1", "S7", "S27", "S149"):
        expected = yahoo.listings[name].closes(NOW)
        assert closes(path, name) == pytest.approx([expected[date.fromisoformat(day)][0] for day in days])
    assert not list(tmp_path.glob(".*"))


def test_a_journal_goes_on_the_next_day(yahoo: YahooServer, tmp_path: Path) -> None:
    yahoo.faults = {"BRK-B": ("502", 1e9)}
    with pytest.raises(InputError):
        get(yahoo, tmp_path / "m.h5", "AAPL", "BRK-B", strict=True)
    next_day(yahoo)
    yahoo.faults = {}
    get(yahoo, tmp_path / "m.h5", "AAPL", "BRK-B", strict=True)
    first_asked = {symbol: first for symbol, first, _, _ in yahoo.asked}
    assert first_asked["AAPL"] > first_asked["BRK-B"]
    for name in ("AAPL", "BRK-B"):
        assert prices(tmp_path / "m.h5", name)[0].astype(str).tolist() == business_days(
            "2024-01-01", "2024-03-02"
        )


def test_a_journal_that_a_kill_left_behind_does_no_harm(yahoo: YahooServer, tmp_path: Path) -> None:
    """As after a kill between writing the store and removing the journal."""
    path, journal = tmp_path / "m.h5", tmp_path / ".m.h5.journal"
    get(yahoo, path, "AAPL", end="2024-02-01")
    yahoo.faults = {"BRK-B": ("502", 1e9)}
    with pytest.raises(InputError):
        get(yahoo, path, "AAPL", "BRK-B", strict=True)
    left = journal.read_bytes()
    yahoo.faults = {}
    get(yahoo, path, "AAPL", "BRK-B")
    before = path.read_bytes()
    journal.write_bytes(left)
    yahoo.asked.clear()
    get(yahoo, path, "AAPL", "BRK-B")
    assert (yahoo.asked, path.read_bytes()) == ([], before)
    journal.write_bytes(left)
    next_day(yahoo)
    get(yahoo, path, "AAPL", "BRK-B")
    assert prices(path, "AAPL")[0].astype(str).tolist() == business_days("2024-01-01", "2024-03-02")
    assert list(tmp_path.iterdir()) == [path]


def test_ctrl_c_leaves_one_line_and_the_journal(yahoo: YahooServer, tmp_path: Path) -> None:
    yahoo.listings = {f"S{number}": Listing() for number in range(30)}
    yahoo.stall_after = 10
    command = [
        *(sys.executable, "-m", "hpc_lstm", "fetch", *yahoo.listings, "--start", "2024-02-20"),
        *("--end", "2024-02-25", "--rate", "1000", "-o", str(tmp_path / "m.h5")),
    ]
    # As from a terminal: what a shell starts in the background ignores Ctrl-C, and hands that on.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        assert yahoo.stalled.wait(60)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=10)
    assert (out, process.returncode) == ("", 130)
    assert error.splitlines() == ["hpc-lstm: interrupted; run the same command again to continue"]
    assert [file.name for file in tmp_path.iterdir()] == [".m.h5.journal"]


@pytest.mark.parametrize("limit", [4096, 33_000])
def test_a_full_disk_leaves_one_line_and_what_came(
    yahoo: YahooServer, programs: ForkedPrograms, tmp_path: Path, limit: int
) -> None:
    """Also where other requests are under way."""
    yahoo.listings = {f"S{number}": Listing(first=date(2023, 9, 1)) for number in range(6)}
    command = ["fetch", *yahoo.listings, "--start", "2023-09-01", "--end", "2024-02-25", "--rate", "1000"]
    command += ["-o", str(tmp_path / "m.h5")]
    done = programs.run(*command, limit=limit)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        f"hpc-lstm: error: {tmp_path}/.m.h5.journal: cannot be written: File too large; make room or choose a folder "
        "that you may write to"
    ]
    kept = [".m.h5.journal"] if limit > 4096 else []
    assert [file.name for file in tmp_path.iterdir()] == kept
    yahoo.asked.clear()
    assert programs.run(*command).returncode == 0
    assert len({symbol for symbol, *_ in yahoo.asked}) == (2 if kept else 6)
    assert [file.name for file in tmp_path.iterdir()] == ["m.h5"]


def test_two_fetches_into_one_store_are_refused(yahoo: YahooServer, tmp_path: Path) -> None:
    with (
        subprocess.Popen(
            [sys.executable, "-c", "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, 2);"
             "print(1, flush=True); input()", str(tmp_path / ".m.h5.journal")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as other,
    ):  # fmt: skip
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(InputError, match="another process is fetching into it"):
            get(yahoo, tmp_path / "m.h5", "AAPL")
        other.communicate("\n")


# What is wrong in the command.


@pytest.mark.parametrize(
    ("start", "end", "interval", "says"),
    [("2020-13-01", None, "1d", "--start"), ("yesterday", None, "1d", "--start"),
     ("2020-01-01", "x", "1d", "--end"), ("2020-01-02", "2020-01-02", "1d", "must be before"),
     ("2024-03-05", None, "1d", "must be before"), ("2024-01-01", None, "3m", "--interval: must be one of 1d, "),
     ("2024-02-27", None, "1wk", "--interval 1wk: no whole week lies between 2024-02-27 and today"),
     ("2024-02-02", "2024-02-29", "1mo", "no whole month lies between 2024-02-02 and 2024-02-29"),
     ("2024-01-31", None, "1m", r"keeps prices of every 1m for 30 days only; use --start 2024-02-01 or later"),
     ("2023-01-01", None, "5m", "for 60 days"), ("2021-01-01", None, "1h", "for 730 days")],
)  # fmt: skip
def test_wrong_days_are_refused(
    yahoo: YahooServer, tmp_path: Path, start: str, end: str | None, interval: str, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        get(yahoo, tmp_path / "m.h5", "AAPL", start=start, end=end, interval=interval)
    assert list(tmp_path.iterdir()) == []


def test_no_symbol_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["fetch", "--start", "2024-01-01", "-o", str(tmp_path / "m.h5")])
    assert ended.value.code == 2
    assert "no symbol is given" in capfd.readouterr().err


def test_missing_yfinance_is_said(
    yahoo: YahooServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "yfinance", None)
    with pytest.raises(InputError, match=r'pip install "hpc-lstm\[yahoo\]"'):
        get(yahoo, tmp_path / "market.h5", "AAPL")


def test_the_summary_of_many_symbols_is_short() -> None:
    names = [f"S{number}" for number in range(5000)]
    summary = FetchSummary(Path("m.h5"), rows=dict.fromkeys(names, 10), written=True)
    assert len(summary.table().splitlines()) < 10


def test_a_process_with_tensorflow_is_told_to_fetch_elsewhere() -> None:
    program = """
import sys, types
sys.modules["tensorflow"] = types.ModuleType("tensorflow")
from hpc_lstm.market.fetching.client import quiet_yfinance
from hpc_lstm.errors import InputError
try:
    with quiet_yfinance(): pass
except InputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "TensorFlow is loaded" in done.stdout, done.stderr
    assert "`hpc-lstm fetch`" in done.stdout
