"""The parts of a fetch: how often to ask, whom, and what is kept meanwhile."""

from __future__ import annotations

import io
import os
import threading
import time as time_module
from contextlib import suppress
from datetime import date, datetime, time, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from limited_files import files_limited
from yahoo_server import Listing

from hpc_lstm.errors import InputError, StoreError
from hpc_lstm.market.events import Events, no_events
from hpc_lstm.market.fetching import journal as journal_module
from hpc_lstm.market.fetching.journal import open_journal
from hpc_lstm.market.fetching.passes import Outcome, Pace, fetch_all
from hpc_lstm.market.fetching.progress import FetchProgress
from hpc_lstm.market.fetching.replies import NoPrices, NotAnswered
from hpc_lstm.market.fetching.request import parse_request
from hpc_lstm.market.fetching.series import Series
from hpc_lstm.market.fetching.symbols import is_plausible, read_symbols, symbols_of
from hpc_lstm.market.fetching.token_bucket import TokenBucket
from hpc_lstm.market.fetching.update import Known, Update, bring_up_to_date, overlap_rows


class Clock:
    """A time that passes only by sleeping."""

    def __init__(self) -> None:
        self.time, self.slept = 0.0, []  # type: ignore[var-annotated]

    def __call__(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds


# Symbols.


def test_symbols_are_read_as_people_write_them(tmp_path: Path) -> None:
    file = tmp_path / "symbols.txt"
    file.write_bytes(
        "\ufeff# tech\r\naapl, MSFT\t^gspc\r\n\r\n  BRK-B  # a comment\r\n'AAPL';EURUSD=X\r\n".encode()
    )
    assert read_symbols(file) == ["AAPL", "MSFT", "^GSPC", "BRK-B", "EURUSD=X"]
    assert symbols_of(["7203.T", "7203.t,", "", " "]) == ["7203.T"]


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"# nothing\n\n", "has no symbol"), (b"PK\x03\x04\x00", "not a list of symbols"), (b"\xff\xfeA", "not a list of"),
     (None, "cannot be read: No such file")],
)  # fmt: skip
def test_files_without_symbols_are_refused(tmp_path: Path, content: bytes | None, says: str) -> None:
    if content is not None:
        (tmp_path / "s.txt").write_bytes(content)
    with pytest.raises(InputError, match=says):
        read_symbols(tmp_path / "s.txt")


def test_what_would_ask_for_another_address_is_no_symbol() -> None:
    assert all(is_plausible(name) for name in ("BRK-B", "^GSPC", "EURUSD=X", "0700.HK", "ES=F", "M&M.NS"[:1]))
    assert not any(is_plausible(name) for name in ("../X", "A/B", "A?B", "A#B", "A%2FB", "A\nB", "A" * 99))


# The rate.


@given(st.lists(st.floats(0, 5), max_size=60), st.floats(0.1, 50), st.floats(1, 20))
def test_never_more_than_the_rate(pauses: list[float], rate: float, burst: float) -> None:
    clock = Clock()
    bucket = TokenBucket(rate, burst, clock=clock, sleep=clock.sleep)
    taken = []
    for pause in pauses:
        clock.time += pause
        bucket.take()
        taken.append(clock.time)
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            assert last - first + 1 <= burst + (taken[last] - taken[first]) * rate + 1e-6


def test_too_many_requests_slow_it_down_for_a_while() -> None:
    clock = Clock()
    bucket = TokenBucket(8.0, 4.0, clock=clock, sleep=clock.sleep)
    for _ in range(10):
        bucket.slow_down()
    assert bucket.rate == 1.0
    before = clock.time
    bucket.take()
    assert clock.time - before == pytest.approx(1.0)
    for _ in range(30):
        bucket.speed_up()
    assert bucket.rate == 8.0


# Passes.


def run(work, items: list[int], clock: Clock, **pace: float) -> dict[int, Outcome[int, int]]:  # type: ignore[no-untyped-def]
    outcomes: list[Outcome[int, int]] = []
    fetch_all(work, items, Pace(sleep=clock.sleep, **pace), outcomes.append)  # type: ignore[arg-type]
    found = {one.item: one for one in outcomes}
    assert len(found) == len(outcomes) == len(items)
    return found


@given(st.lists(st.integers(0, 6), max_size=40), st.integers(1, 5))
def test_every_item_has_one_outcome(failures: list[int], threads: int) -> None:
    """Item i is not answered ``failures[i]`` times; 6: never, 5: Yahoo has none."""
    lock, asked = threading.Lock(), dict.fromkeys(range(len(failures)), 0)

    def work(item: int) -> int:
        with lock:
            asked[item] += 1
        if failures[item] == 5:
            raise NoPrices("none")
        if failures[item] == 6 or asked[item] <= failures[item]:
            raise NotAnswered("503")
        return item * 2

    found = run(work, list(range(len(failures))), Clock(), threads=threads, batch=1000, passes=5)
    for item, times in enumerate(failures):
        if times == 5:
            assert isinstance(found[item].error, NoPrices)
        elif times == 6:
            assert str(found[item].error) == "503"
        else:
            assert (found[item].result, asked[item]) == (item * 2, times + 1)


def test_pauses_double_and_end() -> None:
    clock = Clock()

    def work(item: int) -> int:
        raise NotAnswered("down")

    run(work, [1, 2, 3], clock, passes=6, first_pause=1, longest_pause=8)
    assert len(clock.slept) == 5
    for slept, at_least in zip(clock.slept, [1, 2, 4, 8, 8], strict=True):
        assert at_least <= slept <= at_least + 1


def test_where_nothing_is_answered_not_all_are_asked() -> None:
    asked: list[int] = []

    def work(item: int) -> int:
        asked.append(item)
        raise NotAnswered("down")

    found = run(work, list(range(1000)), Clock(), passes=4, batch=10)
    assert len(asked) == 40
    assert len(set(asked)) == 40  # each pass begins with those that were not asked
    assert {str(one.error) for one in found.values()} == {"down"}


def test_a_bug_is_not_taken_for_a_symbol_that_is_not_answered() -> None:
    def work(item: int) -> int:
        raise ZeroDivisionError

    assert isinstance(run(work, [1], Clock())[1].error, ZeroDivisionError)


def test_an_error_leaves_no_request_under_way() -> None:
    """A thread that is in libcurl while Python ends would crash the process."""
    at_work = [0]

    def work(item: int) -> int:
        at_work[0] += 1
        time_module.sleep(0.01 if item == 0 else 0.3)
        at_work[0] -= 1
        return item

    def full(outcome: Outcome[int, int]) -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        fetch_all(work, list(range(4)), Pace(threads=4), full)
    assert at_work == [0]


# The journal.


def series(first: int, rows: int, end: int = 20000) -> Series:
    dates = np.arange(first, first + rows)
    split = Events(dates[:1], np.array([2.0])) if rows else no_events()
    return Series(dates, np.arange(rows * 6.0).reshape(rows, 6), split, no_events(), "Asia/Tokyo", end, 3)


def read(path: Path, interval: str = "1d") -> dict[str, list[int]]:
    """Dates of the first record of each symbol, of a journal that stays."""
    with suppress(KeyboardInterrupt), open_journal(path, interval) as journal:
        found = {
            name: journal.read(journal.records(name)[0]).dates.tolist()
            for name in ("A", "B", "Ü")
            if journal.records(name)
        }
        raise KeyboardInterrupt
    return found


def test_a_journal_survives_a_kill_at_any_byte(tmp_path: Path) -> None:
    output = tmp_path / "m.h5"
    with suppress(KeyboardInterrupt), open_journal(output, "1d") as journal:
        for name, rows in (("A", 3), ("B", 0), ("Ü", 2)):
            journal.append(name, Update(series(100, rows), True, date(2020, 1, 1)))
        raise KeyboardInterrupt
    file = tmp_path / ".m.h5.journal"
    data = file.read_bytes()
    all_of_it = {"A": [100, 101, 102], "B": [], "Ü": [100, 101]}
    assert read(output) == all_of_it
    assert read(output, "1m") == {}
    sizes = set()
    for length in range(0, len(data), 7):
        file.write_bytes(data[:length])
        found = read(output)
        assert found == dict(list(all_of_it.items())[: len(found)])
        sizes.add(len(found))
    assert sizes == {0, 1, 2}
    file.write_bytes(data[:-3] + b"xyz")
    assert list(read(output)) == ["A", "B"]
    file.write_bytes(data.replace(b'"symbol": "A"', b'"symbol": "B"'))
    assert read(output) == {}, "what a record says is covered by its checksum, too"


@pytest.mark.parametrize("rows", [50, 1000])  # less and more than a file's buffer
def test_a_full_disk_names_the_journal(tmp_path: Path, rows: int) -> None:
    output = tmp_path / "m.h5"

    def fetch() -> None:
        with open_journal(output, "1d") as journal:
            journal.append("A", Update(series(100, 3), True, date(2020, 1, 1)))
            journal.append("B", Update(series(100, rows), True, date(2020, 1, 1)))

    told = r"\.m\.h5\.journal: cannot be written: File too large"
    with files_limited(3000), pytest.raises(StoreError, match=told):
        fetch()
    assert read(output) == {"A": [100, 101, 102]}


def test_a_journal_of_an_older_version_is_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "_VERSION", 1)
    with suppress(KeyboardInterrupt), open_journal(tmp_path / "m.h5", "1d") as journal:
        journal.append("A", Update(series(100, 3), True, date(2020, 1, 1)))
        raise KeyboardInterrupt
    monkeypatch.undo()
    assert read(tmp_path / "m.h5") == {"A": [100, 101, 102]}


def test_a_journal_is_no_way_to_another_file(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("data")
    journal = tmp_path / ".m.h5.journal"
    journal.symlink_to("precious")
    with (
        pytest.raises(InputError, match=r"\.m\.h5\.journal: is a symbolic link"),
        open_journal(tmp_path / "m.h5", "1d"),
    ):
        pass
    assert (tmp_path / "precious").read_text() == "data"
    journal.unlink()
    os.mkfifo(journal)
    with pytest.raises(InputError, match="is not a regular file"), open_journal(tmp_path / "m.h5", "1d"):
        pass


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = series(50, 4)
    with open_journal(tmp_path / "m.h5", "1d") as journal:
        journal.append("A", Update(written, False, date(2020, 1, 1), after=49))
        (record,) = journal.records("A")
        found = journal.read(record)
        assert (record.whole, record.after, record.last, record.end) == (False, 49, 53, 20000)
        assert (found.values == written.values).all()
        assert (found.splits.dates.tolist(), found.splits.values.tolist()) == ([50], [2.0])
        assert (found.zone, found.end, found.dropped) == ("Asia/Tokyo", 20000, 3)
    assert list(tmp_path.iterdir()) == []


# Updates.


class Yahoo:
    """Gives slices of one history."""

    def __init__(self, history: Series) -> None:
        self.history = history
        self.asked: list[date] = []

    def series(self, symbol: str, first: date, end: date | None, zone: str = "") -> Series:
        self.asked.append(first)
        return self.history.after((first - date(1970, 1, 1)).days - 1)


def test_a_gap_is_never_left() -> None:
    """Where none of the last known rows comes any more, newer ones are not simply added."""
    request = parse_request("1d", "1970-01-01", "2024-01-01", 1.7e9)
    known = Known(date(1970, 1, 1), series(100, 5, 105), 5, True)
    yahoo = Yahoo(series(200, 5))
    update = bring_up_to_date(yahoo, "A", known, request)
    assert update.whole
    assert "none of its rows since 1970-04-11" in update.reason


class Exchange:
    """A listing as Yahoo tells of it on a day."""

    def __init__(self, listing: Listing) -> None:
        self.listing = listing
        self.today = date(2024, 1, 1)

    def series(self, symbol: str, first: date, end: date | None, zone: str = "") -> Series:
        known = self.listing.closes(datetime.combine(self.today, time(0), timezone.utc))
        days = [day for day in known if day >= first]
        if not days:
            raise NoPrices("none")
        numbers = [(day - date(1970, 1, 1)).days for day in days]
        values = np.ones((len(days), 6))
        values[:, 3], values[:, 5] = zip(*(known[day] for day in days), strict=True)

        def found(events: dict[date, float]) -> Events:
            kept = sorted(day for day in events if day in known and day >= days[0])
            at = [(day - date(1970, 1, 1)).days for day in kept]
            return Events(np.array(at, np.int64), np.array([events[day] for day in kept]))

        splits, dividends = found(self.listing.splits), found(self.listing.dividends)
        end_day = (self.today - date(1970, 1, 1)).days
        return Series(np.array(numbers), values, splits, dividends, self.listing.zone, end_day)


days_of_a_year = st.dates(date(2024, 1, 3), date(2024, 6, 28))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=12),
    st.dictionaries(days_of_a_year, st.sampled_from([2.0, 0.5, 10.0]), max_size=3),
    st.dictionaries(days_of_a_year, st.floats(0.001, 5), max_size=5),
)
def test_updates_in_any_steps_give_what_a_fresh_fetch_gives(
    steps: list[int], splits: dict[date, float], dividends: dict[date, float]
) -> None:
    listing = Listing(first=date(2023, 12, 1), base=100.0)
    listing.splits = {day: ratio for day, ratio in splits.items() if day.weekday() < 5}
    listing.dividends = {day: money for day, money in dividends.items() if day.weekday() < 5}
    exchange = Exchange(listing)
    kept: Series | None = None
    for step in steps:
        exchange.today += timedelta(days=step)
        now = datetime.combine(exchange.today, time(0), timezone.utc).timestamp()
        request = parse_request("1d", "2023-12-01", None, now)
        tail = kept.tail(overlap_rows(len(kept))) if kept else None
        known = Known(request.start, tail, len(kept), True) if kept and tail else None
        update = bring_up_to_date(exchange, "A", known, request)
        kept = update.series if update.whole or not kept else kept.joined(update.series)
        fresh = exchange.series("A", request.start, None)
        assert kept.dates.tolist() == fresh.dates.tolist()
        assert kept.values == pytest.approx(fresh.values, rel=1e-9)
        for ours, theirs in ((kept.splits, fresh.splits), (kept.dividends, fresh.dividends)):
            assert ours.dates.tolist() == theirs.dates.tolist()
            assert ours.values.tolist() == theirs.values.tolist()


# Progress.


class Terminal(io.StringIO):
    """Says that it is one."""

    def isatty(self) -> bool:
        return True


def test_a_log_has_a_line_every_so_often() -> None:
    clock, stream = Clock(), io.StringIO()
    with FetchProgress(5000, stream, every_s=30, clock=clock) as progress:
        for number in range(70):
            clock.time += 1
            progress.done(came=number % 10 != 0)
        clock.time += 30
        progress.waiting(12)
    assert stream.getvalue().splitlines() == [
        "fetch: 30 of 5,000 symbols, 3 without prices, 30 s",
        "fetch: 60 of 5,000 symbols, 6 without prices, 60 s",
        "fetch: 70 of 5,000 symbols, 7 without prices, 12 to be asked for again, 100 s",
    ]


def test_a_terminal_has_a_bar_that_goes() -> None:
    stream = Terminal()
    with FetchProgress(3, stream) as progress:
        for _ in range(3):
            progress.done(came=True)
    assert "symbols" in stream.getvalue()
