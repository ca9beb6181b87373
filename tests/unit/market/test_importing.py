"""Importing files of prices: layouts, rules against a plain reading of them, and one line for each error."""

from __future__ import annotations

import csv
import gzip
import os
import random
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from limited_files import files_limited

from hpc_lstm.errors import InputError, PriceFileError, StoreError
from hpc_lstm.market.import_summary import ImportSummary
from hpc_lstm.market.importing import import_prices
from hpc_lstm.market.layouts.header import COLUMNS
from hpc_lstm.market.options import ImportOptions
from hpc_lstm.market.store import MarketStore
from hpc_lstm.market.synthetic import synthesize

EXAMPLE = Path(__file__).parents[3] / "examples" / "data" / "us_stocks_2000_2013.csv.gz"
Table = dict[str, list[tuple[str, list[float]]]]  # symbol to (date, values)


def load(path: Path) -> tuple[list[str], Table]:
    with MarketStore(path) as store:
        table: Table = {}
        for number, name in enumerate(store.symbols):
            low, high = (int(offset) for offset in store.offsets[number : number + 2])
            dates = store.dates(low, high).astype(f"datetime64[{store.date_unit}]").astype(str)
            table[name] = list(zip(dates.tolist(), store.rows(low, high).tolist(), strict=True))
        return store.columns, table


def imported(folder: Path, *files: tuple[str, str | bytes]) -> tuple[ImportSummary, list[str], Table]:
    """Import files (name, content) of a folder."""
    paths = []
    for name, content in files:
        raw = content.encode() if isinstance(content, str) else content
        (folder / name).write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
        paths.append(str(folder / name))
    summary = import_prices(paths, str(folder / "market.h5"))
    return summary, *load(folder / "market.h5")


PLAIN: Table = {"B": [("2020-01-02", [2.0]), ("2020-01-03", [3.0])], "A": [("2020-01-02", [5.0])]}


@pytest.mark.parametrize(
    "files",
    [
        [("a.csv", "date,symbol,close\n2020-01-02,B,2\n2020-01-03,B,3\n2020-01-02,A,5\n")],
        [("a.csv.gz", "Close*;Ticker;Date\r\n2;B;20200102\r\n3;B;20200103\r\n\r\n5;A;20200102\r\n")],
        [
            (
                "a.csv",
                '\n"Timestamp","Name","Closing Price"\n2020/01/02,"B","2"\n2020/01/03,B,3\n2020/01/02,A,5',
            )
        ],
        [("B.csv", "Date,Close\n2020-01-02,2\n2020-01-03,3\n"), ("A.CSV", "close,DATE\n5,2020-01-02\n")],
        [("B.csv.gz", "Date,Close\n2020-01-02,2\n2020-01-03,3\n"), ("x.csv", "day,tic,last\n20200102,A,5\n")],
        [("w.csv", "Date,B,A\n2020-01-02,2,5\n2020-01-03,3,\n")],
        [("w.csv", "\ufeff,B,A\n2020-01-03,3,NaN\n2020-01-02,2,5\n")],
        [("u.csv", "date,symbol,close\n1/2/2020,A,5\n01/02/2020,B,2\n01/03/2020,B,3\n12/31/2019,A,0\n")],
    ],
)
def test_layouts_and_spellings(files: list[tuple[str, str]], tmp_path: Path) -> None:
    _, columns, table = imported(tmp_path, *files)
    assert columns == ["close"]
    assert table == PLAIN


def test_columns_in_the_stores_order_and_others_named(tmp_path: Path) -> None:
    summary, columns, table = imported(
        tmp_path,
        ("a.csv", "Adj. Close,Volume,Note,Close,Date,Symbol,Name\n9,100,x,10,2020-01-02,NA,National\n"),
        ("b.csv", "date,symbol,close,open\n2020-01-02,B,20,21\n"),
    )
    assert columns == ["open", "close", "volume", "adj_close"]
    assert table["NA"] == [("2020-01-02", [10, 10, 100, 9])]
    assert table["B"] == [("2020-01-02", [21, 20, 0, 20])]
    assert summary.ignored == ["Note", "Name"]
    assert "Note, Name" in summary.table()


def test_each_rule_is_applied_and_counted(tmp_path: Path) -> None:
    rows = """date,symbol,open,close,volume
2020-01-03,A,,11,
2020-01-02,A,9,10,5
2020-01-06,A,,12,-7
2020-01-06,A,8,,1
2020-01-07,A,0,13,1
2020-01-08,A,13,-1,1
2020-01-03,A,,11,
2020-01-02,B,,7,
2020-01-02,C,,,3
"""
    summary, columns, table = imported(tmp_path, ("a.csv", rows))
    assert columns == ["open", "close", "volume"]
    assert table == {
        "A": [
            ("2020-01-02", [9, 10, 5]),
            ("2020-01-03", [9, 11, 5]),
            ("2020-01-06", [9, 12, 5]),
            ("2020-01-07", [9, 13, 1]),
        ],
        "B": [("2020-01-02", [7, 7, 0])],
    }
    counts = summary.counts
    assert (counts.without_close, counts.bad_price, counts.bad_cells, counts.negative_volume) == (2, 1, 1, 1)
    assert (counts.unsorted, counts.duplicated) == (2, 1)
    assert (counts.filled_values, counts.leading_values) == (5, 2)
    assert (summary.rows_read, summary.rows, summary.symbols) == (9, 5, 2)
    assert (summary.without_rows, summary.other_calendar) == (1, 1)
    found = {line[2:38].strip(): line[40:45].strip() for line in summary.table().splitlines()}
    assert found["rows without close"] == "2"
    assert found["rows with a zero or negative close"] == "1"
    assert found["other prices zero or negative"] == "1"
    assert found["missing values"] == "5"
    assert found["symbols with different dates"] == "1"
    assert found["rows read"] == "9"
    assert "times that clocks showed twice" not in found, "what was not found is not listed"


def test_clean_rows_are_said_to_be_clean(tmp_path: Path) -> None:
    summary, _, _ = imported(tmp_path, ("Z.csv", "Date,Close\n2020-03-06,1\n2020-03-09,2\n"))
    assert summary.table().splitlines()[-1] == "  nothing to clean: every row was kept as it is"


def test_daily_rows_keep_their_local_date(tmp_path: Path) -> None:
    rows = "Date,Close\n2020-03-06 00:00:00-05:00,1\n2020-03-09 00:00:00-04:00,2\n2020-03-10,3\n"
    summary, _, table = imported(tmp_path, ("Z.csv", rows))
    assert [date for date, _ in table["Z"]] == ["2020-03-06", "2020-03-09", "2020-03-10"]
    assert (summary.date_unit, summary.with_zone, summary.without_zone) == ("D", 2, 0)


def test_times_become_utc(tmp_path: Path) -> None:
    rows = (
        "Datetime,Close\n2020-03-06T23:30:00.25-0500,1\n2020-03-07 05:00+01:00,0.5\n"
        "2020-03-07 05:00+00:00,2\n2020-03-07T05:00:01Z,3\n"
    )
    summary, _, table = imported(tmp_path, ("Z.csv", rows))
    assert table["Z"] == [
        ("2020-03-07T04:00:00.000000000", [0.5]),
        ("2020-03-07T04:30:00.250000000", [1]),
        ("2020-03-07T05:00:00.000000000", [2]),
        ("2020-03-07T05:00:01.000000000", [3]),
    ]
    assert (summary.date_unit, summary.with_zone, summary.without_zone) == ("ns", 4, 0)


def expected(rows: list[list[str]], columns: list[str], keep_last: bool) -> Table | None:
    """The rules, row by row; None if two rows of a symbol and day differ."""
    names = list(dict.fromkeys(row[1] for row in rows))
    result: Table = {}
    for name in names:
        days: dict[str, dict[str, float]] = {}
        for row in (row for row in rows if row[1] == name):
            cells = {c: float(text) for c, text in zip(columns, row[2:], strict=True) if text}
            found = {c: x for c, x in cells.items() if x > 0 or (c == "volume" and x == 0)}
            if "close" not in found:
                continue
            if found.get("high", 1e9) < found.get("low", 0):
                del found["high"], found["low"]
            before = {} if keep_last else days.get(row[0], {})
            if any(before.get(c, x) != x for c, x in found.items()):
                return None
            days[row[0]] = before | found
        known: dict[str, float] = {}
        for day in sorted(days):
            values = days[day]
            default = {c: 0.0 if c == "volume" else values["close"] for c in columns}
            known |= values
            result.setdefault(name, []).append((day, [(default | known)[c] for c in columns]))
    return result


def are_swapped(rows: list[list[str]], columns: list[str]) -> bool:
    """Whether most highs are below their lows."""
    if not {"high", "low"} <= set(columns):
        return False
    pairs = [[float(row[2 + columns.index(name)] or 0) for name in ("high", "low")] for row in rows]
    pairs = [pair for pair in pairs if min(pair) > 0]
    return 2 * sum(high < low for high, low in pairs) > len(pairs)


@settings(deadline=None, max_examples=60)
@given(
    size=st.integers(1, 60),
    symbols=st.integers(1, 6),
    days=st.integers(1, 28),
    seed=st.integers(0, 10_000),
    extra=st.sets(st.sampled_from(["open", "high", "low", "volume", "adj_close"])),
    at_once=st.sampled_from([1, 3, 1000]),
    tidy=st.booleans(),
    keep_last=st.booleans(),
)
def test_any_rows_follow_the_rules(
    size: int,
    symbols: int,
    days: int,
    seed: int,
    extra: set[str],
    at_once: int,
    tidy: bool,
    keep_last: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    rng = random.Random(seed)
    columns = [name for name in COLUMNS if name in extra | {"close"}]
    texts = ["", "0", "-1", "2.5", "3", "4e2", "5.125"]
    weights = [2, 1, 1, 5, 5, 5, 5]
    rows = [
        [
            f"2021-05-{rng.randint(1, days):02}",
            f"S{rng.randint(1, symbols)}",
            *rng.choices(texts, weights, k=len(columns)),
        ]
        for _ in range(size)
    ]
    if tidy:
        rows.sort(key=lambda row: row[1])
    wanted = expected(rows, columns, keep_last)
    options = ImportOptions(keep_last=keep_last)
    folder = tmp_path_factory.mktemp("rules")
    lines = [",".join(row) for row in [["date", "symbol", *columns], *rows]]
    (folder / "a.csv").write_text("\n".join(lines) + "\n")
    if are_swapped(rows, columns):
        with pytest.raises(PriceFileError, match="the high is below the low in"):
            import_prices([str(folder / "a.csv")], str(folder / "m.h5"), options, rows_at_once=at_once)
    elif wanted:
        import_prices([str(folder / "a.csv")], str(folder / "m.h5"), options, rows_at_once=at_once)
        assert load(folder / "m.h5") == (columns, wanted)
        assert list(load(folder / "m.h5")[1]) == list(wanted)
    else:
        said = (
            r"no row is left"
            if wanted is not None
            else r'lines \d+ and \d+ are both "S\d" at 2021-05-\d\d but differ'
        )
        with pytest.raises(PriceFileError, match=said):
            import_prices([str(folder / "a.csv")], str(folder / "m.h5"), options, rows_at_once=at_once)
    assert {file.name for file in folder.iterdir()} <= {"a.csv", "m.h5"}


def test_example(tmp_path: Path) -> None:
    summary = import_prices([str(EXAMPLE)], str(tmp_path / "m.h5"))
    columns, table = load(tmp_path / "m.h5")
    assert columns == list(COLUMNS)
    with gzip.open(EXAMPLE, "rt") as file:
        rows = list(csv.DictReader(file))
    headers = ["Open", "High", "Low", "Close", "Volume", "Adj Close"]
    wanted: Table = {}
    for row in rows:
        wanted.setdefault(row["Ticker"], []).append((row["Date"], [float(row[c]) for c in headers]))
    assert table == wanted
    assert sorted(table) == ["AAPL", "FB", "GOOG", "IBM", "MSFT"]
    assert set(vars(summary.counts).values()) == {0}
    assert summary.other_calendar == 2  # FB and GOOG came later
    assert (summary.first, summary.last) == ("2000-03-01", "2013-03-01")


LONG = "date,symbol,close\n2020-01-02,A,1\n"
TROUBLES: dict[str, tuple[str, str | bytes, str]] = {
    "text": (
        "a.csv",
        LONG + "2020-01-03,A,abc\n",
        r'line 3: found "abc" in column 3, expected a finite number',
    ),
    "after odd good ones": (
        "a.csv",
        LONG + " 2020-01-03 ,A, +5. \n2020-01-04,A, NaN \n2020-01-05,A,.5E1\n2020-01-06,A,5 apples\n",
        'line 6: found "5 apples"',
    ),
    "other digits": ("a.csv", LONG + "2020-01-03,A,\u0661\n", "line 3: found"),
    "line break": ("a.csv", LONG + '2020-01-03,A,"4\n"\n', "line 4: found"),
    "blank number": ("a.csv", LONG + '2020-01-03,A," "\n', 'line 3: found " "'),
    "infinite": ("a.csv", LONG + "\n2020-01-03,A,inf\n", r'line 4: found "inf"'),
    "fields": ("a.csv", LONG + "2020-01-03,A\n", "line 3: found 2 columns, expected 3"),
    "date": ("a.csv", LONG + "2020-02-30,A,1\n", r'line 3: found the date "2020-02-30", expected YYYY-MM-DD'),
    "word as date": ("a.csv", LONG + "today,A,1\n", r'line 3: found the date "today"'),
    "epoch": ("a.csv", LONG + "1577923200,A,1\n", r'line 3: found the date "1577923200"'),
    "no date": ("a.csv", LONG + ",A,1\n", "line 3: found no date"),
    "no symbol": ("a.csv", LONG + "2020-01-03,,1\n", "line 3: found no symbol"),
    "ambiguous": (
        "a.csv",
        LONG + "01/02/2020,A,1\n",
        r'line 3: found the date "01/02/2020".*no date of the file',
    ),
    "day and month first": (
        "a.csv",
        LONG + "31/12/2020,A,1\n12/31/2020,A,2\n",
        r'line 4: found the date "12/31/2020", expected day/month/year as in "31/12/2020"',
    ),
    "far date": ("a.csv", LONG + "9999-12-31,A,1\n", "line 3: found the date"),
    # Beyond the first block that is parsed; few rows, for each takes its time.
    "late row": ("a.csv.gz", LONG + f"2020-01-03,A,1.{'0' * 90}\n" * 60_000 + "x,A,1\n", 'line 60003: .*"x"'),
    "not utf-8": ("a.csv", LONG.encode() + b"2020-01-03,\xff,1\n", "line 3: .*not UTF-8"),
    "no close": ("a.csv", "date,symbol,open\n", r"no close column \(accepted names: close, .*price\)"),
    "no date column": ("a.csv", "when,symbol,close\n", r"no date column \(accepted names: date, datetime"),
    "neither": ("a.csv", "hello\nworld\n", "no date column .* and no close column"),
    "open only": ("a.csv", "date,open,high\n", "no close column"),
    "two closes": ("a.csv", "date,Close,close\n", 'two columns are called "Close"'),
    "twice in wide": ("a.csv", "date,A,A\n", 'two columns are called "A"'),
    "empty": ("a.csv", "", "is empty"),
    "blank": ("a.csv", "\n\n", "is empty"),
    "header only": ("a.csv", "date,close\n", "has a header but no rows"),
    "binary": ("a.csv", bytes(range(256)), "binary data"),
    "not text": ("a.csv", b"\xff\xfe\xfd", "line 1: is not UTF-8 text"),
    "nothing left": (
        "a.csv",
        "date,close\n2020-01-02,0\n2020-01-03,\n",
        r"no row is left of 2 read \(1 without a close, 1 with a zero or negative close\)",
    ),
    "wide text": ("a.csv", "date,A,B\n2020-01-02,1,x\n", 'line 2: found "x" in column 3'),
}


@pytest.mark.parametrize("case", TROUBLES)
def test_trouble_is_one_line(case: str, tmp_path: Path) -> None:
    name, content, said = TROUBLES[case]
    with pytest.raises(PriceFileError, match=said) as caught:
        imported(tmp_path, (name, content))
    assert "\n" not in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_gz_that_is_none_or_cut_short(tmp_path: Path) -> None:
    path, output = tmp_path / "a.csv.gz", str(tmp_path / "m.h5")
    path.write_text(LONG)
    with pytest.raises(PriceFileError, match=r"is named \.gz but is not gzipped"):
        import_prices([str(path)], output)
    chance = random.Random(0)
    rows = "".join(f"2020-01-03,S{chance.random()},1\n" for _ in range(300_000))
    whole = gzip.compress((LONG + rows).encode(), 1)
    for damaged in (whole[: len(whole) * 3 // 4], whole[:30], whole[:-8] + bytes(8)):
        path.write_bytes(damaged)
        with pytest.raises(PriceFileError, match="damaged or cut short") as caught:
            import_prices([str(path)], output)
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [path]
    path.write_bytes(gzip.compress(LONG.encode()) + gzip.compress(b"2020-01-03,A,2\n"))  # two members
    assert import_prices([str(path)], output).rows == 2


def test_missing_file_folder_and_unreadable(tmp_path: Path) -> None:
    output = str(tmp_path / "m.h5")
    with pytest.raises(PriceFileError, match=r"none\.csv: no such file"):
        import_prices([str(tmp_path / "none.csv")], output)
    with pytest.raises(PriceFileError, match="is a folder"):
        import_prices([str(tmp_path)], output)
    (tmp_path / "a.csv").write_text(LONG)
    with pytest.raises(InputError, match="the folder cannot be made"):
        import_prices([str(tmp_path / "a.csv")], str(tmp_path / "a.csv" / "m.h5"))
    with pytest.raises(PriceFileError, match=r"none\.csv: no such file"):
        import_prices([str(tmp_path / "none.csv")], str(tmp_path / "new" / "m.h5"))
    assert not (tmp_path / "new").exists()
    import_prices([str(tmp_path / "a.csv")], str(tmp_path / "new" / "folder" / "m.h5"))
    assert (tmp_path / "new" / "folder" / "m.h5").exists()
    if os.geteuid():
        (tmp_path / "a.csv").chmod(0)
        with pytest.raises(PriceFileError, match="no permission"):
            import_prices([str(tmp_path / "a.csv")], output)


def test_daily_and_intraday_do_not_mix(tmp_path: Path) -> None:
    files = [("a.csv", "date,close\n2020-01-02,1\n"), ("b.csv", "date,close\n2020-01-02T10:00,1\n")]
    with pytest.raises(PriceFileError, match=r"b\.csv: has times of day but .*a\.csv has none"):
        imported(tmp_path, *files)


@pytest.mark.parametrize("limit", [100_000, 959_000])
def test_a_full_disk_leaves_nothing(limit: int, tmp_path: Path) -> None:
    """A limit on files' size stands for the disk: the scratch file takes 960 kB."""
    days = np.datetime_as_string(np.arange(40_000).astype("datetime64[D]"))
    (tmp_path / "A.csv").write_text("date,close\n" + "".join(f"{day},1\n" for day in days))
    (tmp_path / "old.csv").write_text("date,close\n2020-01-02,1\n2020-01-03,2\n")
    import_prices([str(tmp_path / "old.csv")], str(tmp_path / "m.h5"))
    (tmp_path / "old.csv").unlink()
    older = (tmp_path / "m.h5").read_bytes()
    with files_limited(limit), pytest.raises(InputError, match="cannot be written") as caught:
        import_prices([str(tmp_path / "A.csv")], str(tmp_path / "m.h5"))
    assert "\n" not in str(caught.value)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["A.csv", "m.h5"]
    assert (tmp_path / "m.h5").read_bytes() == older


def test_only_a_market_store_is_replaced_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    prices, other, damaged = tmp_path / "A.csv", tmp_path / "weights.h5", tmp_path / "damaged.h5"
    prices.write_text("Date,Close\n2024-01-02,1\n2024-01-03,2\n")
    with h5py.File(other, "w") as file:
        file["weights"] = [1.0]
    before = prices.read_bytes(), other.read_bytes()
    for output in (prices, "~/A.csv", other):
        with pytest.raises(StoreError, match="is not a market store, and would be replaced by one"):
            import_prices([prices], output)
        with pytest.raises(StoreError, match="is not a market store, and would be replaced by one"):
            synthesize(output, symbols=1, days=2, seed=0)
    assert (prices.read_bytes(), other.read_bytes()) == before
    import_prices([prices], damaged)
    damaged.write_bytes(damaged.read_bytes()[:3000])
    for _ in range(2):
        import_prices([prices], damaged)
        MarketStore(damaged).close()


@pytest.mark.parametrize("number", ["112'16", "1 12,50", "112_1"])
def test_marks_that_separate_no_thousands_are_no_numbers(tmp_path: Path, number: str) -> None:
    path = tmp_path / "A.csv"
    path.write_text(f'Date,Close\n2024-01-02,"{number}"\n2024-01-03,"{number}"\n')
    with pytest.raises(PriceFileError):
        import_prices([path], tmp_path / "m.h5")


@pytest.mark.parametrize(
    ("name", "values"),
    [("Currency", ["USD", "USD", "EUR"]), ("Market", ["NYSE", "LSE", "LSE"]), ("gvkey", [1, 1, 2])],
)
def test_a_column_that_differs_between_instruments_is_asked_about(
    tmp_path: Path, name: str, values: list[Any]
) -> None:
    path = tmp_path / "x.csv"
    rows = [f"2024-01-0{day},{10 + day},{value}" for day, value in enumerate(values, 2)]
    path.write_text("\n".join([f"Date,Close,{name}", *rows]) + "\n")
    with pytest.raises(PriceFileError, match=f'"{name}" has several values'):
        import_prices([path], tmp_path / "m.h5")


def test_sides_of_a_market_are_no_symbols(tmp_path: Path) -> None:
    header = "Gmt time,BidOpen,BidHigh,BidLow,BidClose,AskOpen,AskHigh,AskLow,AskClose\n"
    for symbol, price in (("EURUSD", 1.1), ("USDJPY", 141.0)):
        rows = (f"2024-01-0{day}," + ",".join([str(price)] * 4 + [str(price + 0.5)] * 4) for day in (2, 3))
        (tmp_path / f"{symbol}.csv").write_text(header + "\n".join(rows) + "\n")
    summary = import_prices([tmp_path / "EURUSD.csv", tmp_path / "USDJPY.csv"], tmp_path / "m.h5")
    assert summary.symbols == 4
    with MarketStore(tmp_path / "m.h5") as store:
        assert list(store.symbols) == ["EURUSD Bid", "EURUSD Ask", "USDJPY Bid", "USDJPY Ask"]
    (tmp_path / "gold.csv").write_text("Date,Buy,Sell\n2024-01-02,10,11\n2024-01-03,10,11\n")
    with pytest.raises(PriceFileError, match="sides of one market"):
        import_prices([tmp_path / "gold.csv"], tmp_path / "n.h5")


def test_names_of_fields_in_a_column_are_no_symbols(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    rows = ["2024-01-02,Close,95.6", "2024-01-03,Close,94.3", "2024-01-02,Open,97", "2024-01-03,Open,95"]
    path.write_text("\n".join(["Date,Metric,Value", *rows]) + "\n")
    with pytest.raises(PriceFileError, match="pivot"):
        import_prices([path], tmp_path / "m.h5")


def test_sheets_that_are_years_are_one_symbol(tmp_path: Path) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    book.remove(book.active)
    for year in ("2023", "2024"):
        sheet = book.create_sheet(year)
        for row in (("Date", "Close"), (f"{year}-01-03", 1.0), (f"{year}-01-04", 2.0)):
            sheet.append(row)
    book.save(tmp_path / "AAPL.xlsx")
    import_prices([tmp_path / "AAPL.xlsx"], tmp_path / "m.h5")
    with MarketStore(tmp_path / "m.h5") as store:
        assert list(store.symbols) == ["AAPL"]
