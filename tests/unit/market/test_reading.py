"""What the beginning of a file does not show is found in its whole, or refused; options settle what is left open."""

from __future__ import annotations

import gzip
import zipfile
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from test_price_forms import load

from hpc_lstm.errors import InputError, PriceFileError
from hpc_lstm.market.dates import DAY, NO_ZONE, BadDate, DateForm, parse_dates
from hpc_lstm.market.formats import csv, source
from hpc_lstm.market.import_summary import ImportSummary
from hpc_lstm.market.importing import check_prices, import_prices
from hpc_lstm.market.options import ImportOptions

DAYS = [str(date(2000, 1, 1) + timedelta(days)) for days in range(800)]


@pytest.fixture(autouse=True)
def short_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file's first 4,000 bytes stand for the first 256 KiB."""
    monkeypatch.setattr(source, "HEAD", 4000)


def read(
    folder: Path, text: str, name: str = "X.csv", **options: Any
) -> tuple[ImportSummary, dict[str, Any]]:
    raw = text.encode()
    (folder / name).write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    summary = import_prices([folder / name], folder / "m.h5", ImportOptions(**options))
    return summary, load(folder / "m.h5")


def many(close: str, header: str = "Date,Close\n") -> str:
    """A file of 800 days."""
    return header + "".join(f"{day}{header[4]}{close}\n" for day in DAYS)


@pytest.mark.parametrize("name", ["X.csv", "X.csv.gz"])
def test_late_thousands_and_footer(name: str, tmp_path: Path) -> None:
    text = many("714.5") + '2024-01-02,"1,042.75"\nDownloaded from somewhere as of today\n'
    summary, table = read(tmp_path, text, name)
    assert table["X"][-1] == ("2024-01-02", {"close": 1042.75})
    assert len(table["X"]) == 801
    assert summary.left_out == [f"1 line after the last row of {name}"]


def test_a_mark_that_comes_late_takes_the_meaning_that_other_columns_show(tmp_path: Path) -> None:
    text = "Date;Close;Volume\n" + "".join(f"{day};9,25;{number + 1}\n" for number, day in enumerate(DAYS))
    _, table = read(tmp_path, text + "2024-01-02;9,25;1.234\n")
    assert table["X"][-1][1] == {"close": 9.25, "volume": 1234}


def test_a_mark_that_comes_late_and_may_mean_both_is_refused(tmp_path: Path) -> None:
    text = many("998") + "2024-01-02,1.002\n"
    with pytest.raises(
        PriceFileError, match=r'line 802: found "1\.002", .* give --decimal \. or --decimal ,'
    ):
        read(tmp_path, text)
    assert read(tmp_path, text, decimal=".")[1]["X"][-1][1]["close"] == 1.002
    assert read(tmp_path, text, decimal=",")[1]["X"][-1][1]["close"] == 1002


@pytest.mark.parametrize(("last", "wanted"), [("12/31/2019", "2019-12-31"), ("31/12/2019", "2019-12-31")])
def test_the_order_of_day_and_month_is_shown_by_the_last_row(last: str, wanted: str, tmp_path: Path) -> None:
    rows = "".join(
        f"{month}/{day}/{year},5.5\n"
        for year in range(2000, 2006)
        for month in range(1, 13)
        for day in (1, 12)
    )
    _, table = read(tmp_path, "Date,Close\n" + rows + f"{last},7.5\n")
    assert table["X"][-1] == (wanted, {"close": 7.5})
    second = "2000-01-12" if last.startswith("12") else "2000-01-02"
    assert table["X"][1][0] == second


@pytest.mark.parametrize(
    ("written", "date_format"),
    [("%m/%d/%y", None), ("%d-%b-%y", None), ("%m/%d/%y", "%m/%d/%y"), ("%b-%y", "%b-%y")],
)
def test_years_of_two_digits_are_none_of_the_future(
    written: str, date_format: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv, "BLOCK", 500)  # no piece has all years
    days = [
        date(year, month, 1 if date_format == "%b-%y" else 15)
        for year in range(1962, 2013)
        for month in (1, 6)
    ]
    text = "Date,Close\n" + "".join(f"{day.strftime(written)},5.5\n" for day in days)
    _, table = read(tmp_path, text, date_format=date_format)
    assert [day for day, _ in table["X"]] == list(map(str, days))


@pytest.mark.parametrize(("first", "last"), [(1915, 1960), (1915, 2020), (2020, 2035)])
def test_years_of_two_digits_that_may_be_of_two_centuries_are_refused(
    first: int, last: int, tmp_path: Path
) -> None:
    text = "Date,Close\n" + "".join(f"01/15/{year % 100:02},5.5\n" for year in range(first, last + 1))
    said = (
        r"line \d+: found a year of two digits .* beside 20\d\d-01-15 \(line \d+\).*write all years with four"
    )
    with pytest.raises(PriceFileError, match=said):
        read(tmp_path, text)


@pytest.mark.parametrize(("last_year", "wanted"), [(2026, (2026, 1927, 1999)), (2031, (2026, 2027, 1999))])
def test_the_century_of_a_year_of_two_digits_is_that_of_the_last_year(
    last_year: int, wanted: tuple[int, ...]
) -> None:
    read = parse_dates(pa.array(["1 Jan 26", "1 Jan 27", "1 Jan 99"]), DateForm(last_year=last_year))
    assert [str(day)[:4] for day in (read.wall // DAY).astype("datetime64[D]")] == list(map(str, wanted))


@pytest.mark.parametrize("before", [0, 800])
@pytest.mark.parametrize("options", [{}, {"date_format": "day-first"}])
def test_days_that_a_spreadsheet_swapped_are_refused(
    before: int, options: dict[str, Any], tmp_path: Path
) -> None:
    rows = "".join(f"{day[8:]}/{day[5:7]}/{day[:4]},5.5\n" for day in DAYS[:before])
    text = f"Date,Close\n{rows}2024-10-01,5.5\n2024-11-01,5.5\n15/01/2024,5.5\n"
    ordered = 2 if before else 4
    said = rf"line {before + 2}: found the date 2024-10-01 beside others written day/month/year \(line {ordered}\)"
    with pytest.raises(PriceFileError, match=said):
        read(tmp_path, text, **options)
    _, table = read(tmp_path, text + "2024-10-13,5.5\n", **options)  # a day behind the month
    assert table["X"][-2][0] == "2024-10-13"


def test_a_date_that_is_not_as_the_option_says_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(PriceFileError, match=r'line 2: found the date "2024-01-02", expected %d/%m/%Y'):
        read(tmp_path, "Date,Close\n2024-01-02,1\n", date_format="%d/%m/%Y")


def test_a_live_row_after_many_days(tmp_path: Path) -> None:
    summary, table = read(tmp_path, many("5.5") + "2024-01-02 13:05:00-05:00,6.5\n")
    assert (summary.date_unit, table["X"][-1][0]) == ("D", "2024-01-02")


def test_a_live_row_beside_the_same_day_is_asked_about(tmp_path: Path) -> None:
    text = many("5.5") + f"{DAYS[-1]} 13:05:00-05:00,6.5\n"
    with pytest.raises(PriceFileError, match=rf'lines 801 and 802 are both "X" at {DAYS[-1]} but differ'):
        read(tmp_path, text)
    assert read(tmp_path, text, keep_last=True)[1]["X"][-1] == (DAYS[-1], {"close": 6.5})


def test_thousands_of_columns(tmp_path: Path) -> None:
    names = [f"S{number:04}" for number in range(2000)]
    text = (
        "Date,"
        + ",".join(names)
        + "\n"
        + "".join(f"{day}," + ",".join(["5.5"] * 2000) + "\n" for day in DAYS[:4])
    )
    assert len(read(tmp_path, text)[1]) == 2000


@pytest.mark.parametrize("apart", [False, True])
def test_a_column_of_words_that_changes_late_is_asked_about(apart: bool, tmp_path: Path) -> None:
    later = DAYS[400:] if apart else DAYS[:400]
    rows = "".join(f"Acme,{day},5.5\n" for day in DAYS[:400]) + "".join(f"Bolt,{day},7.5\n" for day in later)
    with pytest.raises(PriceFileError, match=r'"Firm" has several values .*--symbol-column "Firm"'):
        read(tmp_path, "Firm,Date,Close\n" + rows)
    _, table = read(tmp_path, "Firm,Date,Close\n" + rows, symbol_column="Firm")
    assert {name: len(rows) for name, rows in table.items()} == {"Acme": 400, "Bolt": 400}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("2024-01-02,abc", 'line 802: found "abc" in column 2'),
        ("2024-01-02", "line 802: found 1 columns, expected 2"),
        ("2024-13-02,5", 'line 802: found the date "2024-13-02"'),
        (",5", "line 802: found no date"),
    ],
)
def test_a_late_bad_row_is_named(line: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(PriceFileError, match=said):
        read(tmp_path, many("5.5") + f"{line}\n2024-01-03,6.5\n")


@pytest.mark.parametrize("before", [1, 800])
@pytest.mark.parametrize("volume", ["10", "1,200"])
@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("Date,Open,Close,Volume", "repeated header"),
        ("# downloaded anew", "comment"),
        ("# a,comment,with,commas", "comment"),
        ("Total,,,30", "totals"),
        ("Average,1.5,2.5,30", "totals"),
    ],
)
def test_lines_among_the_rows_that_are_no_rows(
    tmp_path: Path, before: int, volume: str, line: str, kind: str
) -> None:
    rows = "".join(f'{day},1.5,2.5,"{volume}"\n' for day in DAYS[:before])
    end = f'{line}\n2024-01-02,3.5,4.5,"{volume}"\n{line}\n'
    summary, table = read(tmp_path, "Date,Open,Close,Volume\n" + rows + end)
    assert len(table["X"]) == before + 1
    last = {"open": 3.5, "close": 4.5, "volume": float(volume.replace(",", ""))}
    assert table["X"][-1] == ("2024-01-02", last)
    if kind != "comment" or "," in line:  # notes at the very end are told as such
        assert summary.left_out == [f"lines among the rows ({kind}): 2 of X.csv"]
    assert f"lines among the rows ({kind})" in summary.table()


@pytest.mark.parametrize("before", [1, 800])
def test_totals_before_a_note_are_counted_with_it(tmp_path: Path, before: int) -> None:
    rows = "".join(f"{day},1.5,10\n" for day in DAYS[:before])
    summary, table = read(tmp_path, f"Date,Close,Volume\n{rows}Total,,10\nSource: the exchange of today\n")
    assert len(table["X"]) == before
    assert summary.left_out == ["2 lines after the last row of X.csv"]


@pytest.mark.parametrize("before", [1, 800])
@pytest.mark.parametrize("names", ["Date,Close", "Date,Open,Close"])
@pytest.mark.parametrize("price", ["1.5", '"1,500.5"'])
@pytest.mark.parametrize("note", ["Source: Acme, Inc", "Acme, Inc\nCopyright: Acme, 2024, all of it"])
def test_notes_with_commas_after_the_rows_are_left_out(
    tmp_path: Path, before: int, names: str, price: str, note: str
) -> None:
    rows = "".join(f"{day}{f',{price}' * names.count(',')}\n" for day in DAYS[:before])
    summary, table = read(tmp_path, f"{names}\n{rows}{note}\n")
    assert len(table["X"]) == before
    assert summary.left_out[0].endswith("after the last row of X.csv")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Date,Open,Close\n2024-01-02,1,2\nx,y,3\n", 'line 3: found "y" in column 2'),
        ("Date,Open,Close\n2024-01-02,1,2\n2024-O1-03,l,x\n", 'line 3: found "l" in column 2'),
        ("Symbol,Venue,Date,Close\nA,B,2024-01-02,1\nA,B\n", "line 3: found 2 columns, expected 4"),
        ("Date,Open,Close\n2024-01-02,1,2\nAcme, Inc\n2024-01-03,1,2\n", "line 3: found 2 columns"),
    ],
)
def test_a_damaged_last_row_is_no_note(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(PriceFileError, match=said):
        read(tmp_path, text)


@pytest.mark.parametrize("before", [1, 800])
def test_a_bad_row_among_lines_that_are_no_rows_is_named(tmp_path: Path, before: int) -> None:
    rows = "".join(f"{day},1.5\n" for day in DAYS[:before])
    with pytest.raises(PriceFileError, match=rf'line {before + 3}: found "abc" in column 2'):
        read(tmp_path, f"Date,Close\n{rows}Date,Close\n2024-01-02,abc\n2024-01-03,1\n")


def test_symbols_that_look_like_comments_and_totals_are_kept(tmp_path: Path) -> None:
    text = "Symbol,Date,Close\n#AAPL,2024-01-02,1\nMAX,2024-01-02,2\nSUM,2024-01-02,3\n"
    summary, table = read(tmp_path, text)
    assert list(table) == ["#AAPL", "MAX", "SUM"]
    assert not summary.left_out


@pytest.mark.parametrize("before", [0, 800])
@pytest.mark.parametrize("packed", [False, True])
def test_western_names_under_an_ascii_header(tmp_path: Path, before: int, packed: bool) -> None:
    head = "Date,Company,Close\n" + "".join(
        f"{day},BNP,{number + 1}\n" for number, day in enumerate(DAYS[:before])
    )
    raw = (head + "2024-01-02,Société Générale,24.5\n2024-01-02,Münchener Rück,390\n").encode("cp1252")
    path = tmp_path / "X.csv"
    path.write_bytes(raw)
    if packed:
        path = tmp_path / "X.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("X.csv", raw)
    summary = import_prices([path], tmp_path / "m.h5")
    table = load(tmp_path / "m.h5")
    assert table["Société Générale"] == [("2024-01-02", {"close": 24.5})]
    assert table["Münchener Rück"] == [("2024-01-02", {"close": 390})]
    assert len(table.get("BNP", [])) == before
    assert "text in cp1252" in summary.table()


@pytest.mark.parametrize(
    "name",
    [
        "Газпром".encode("cp1251"),
        "平安银行".encode("gb18030"),
        "Société ".encode() + "Générale".encode("cp1252"),
    ],
)
@pytest.mark.parametrize("before", [0, 800])
def test_other_encodings_under_an_ascii_header_are_refused(tmp_path: Path, name: bytes, before: int) -> None:
    head = "Date,Company,Close\n" + "2000-01-03,BNP,1\n" * before
    (tmp_path / "X.csv").write_bytes(head.encode() + b"2024-01-02," + name + b",1\n")
    with pytest.raises(PriceFileError, match=rf"line {before + 2}: found bytes that are not UTF-8"):
        import_prices([tmp_path / "X.csv"], tmp_path / "m.h5")


def test_encodings_from_before_utf_8(tmp_path: Path) -> None:
    for encoding, text in {
        "cp1252": "Datum;Eröffnung;Hoch;Tief;Schluß\n2024-01-15;1,5;2,5;1,25;2,75\n",
        "gb18030": "日期,股票代码,收盘价\n2024-01-15,X,2.75\n",
        "cp932": "日付,終値,始値\n2024/1/15,2.75,2.5\n",
        "cp1251": "Дата;Цена;Откр.\n15.01.2024;2,75;2,5\n",
        "big5": "日期,開盤價,收盤價\n113/01/15,2.5,2.75\n",
    }.items():
        (tmp_path / "X.csv").write_bytes(text.encode(encoding))
        import_prices([tmp_path / "X.csv"], tmp_path / "m.h5")
        ((day, values),) = load(tmp_path / "m.h5")["X"]
        assert (day, values["close"]) == ("2024-01-15", 2.75), encoding


def test_negative_prices_are_dropped_unless_they_are_allowed(tmp_path: Path) -> None:
    text = "Date,Close\n2020-04-17,18.27\n2020-04-20,-37.63\n2020-04-21,10.01\n"
    summary, table = read(tmp_path, text, "CL.csv")
    assert (len(table["CL"]), summary.counts.bad_price) == (2, 1)
    assert "--allow-negative" in summary.table()
    summary, table = read(tmp_path, text, "CL.csv", allow_negative=True)
    assert [row["close"] for _, row in table["CL"]] == [18.27, -37.63, 10.01]


AMBIGUOUS = "Date,Close\n01/02/2024,1.5\n03/02/2024,2.5\n"


@pytest.mark.parametrize(
    ("text", "said", "options", "first"),
    [
        (
            AMBIGUOUS,
            "give --date-format month-first or day-first",
            {"date_format": "day-first"},
            "2024-02-01",
        ),
        (AMBIGUOUS, "--date-format", {"date_format": "month-first"}, "2024-01-02"),
        (AMBIGUOUS, "--date-format", {"date_format": "%d/%m/%Y"}, "2024-02-01"),
        (
            "Date,Close\n24-01-02,1.5\n24-01-23,2\n",
            "--date-format %y",
            {"date_format": "%y-%m-%d"},
            "2024-01-02",
        ),
        (
            "Date,Close\nJan-24,1.5\nFeb-24,2.5\n",
            "--date-format %b-%y",
            {"date_format": "%b-%y"},
            "2024-01-01",
        ),
        ("Date,Close\nJan 24,1.5\nFeb 24,2.5\n", "'%b %y'", {"date_format": "%b %y"}, "2024-01-01"),
        ("Date,Close\n200111,1.5\n200112,2.5\n", "--date-format %Y%m", {"date_format": "%Y%m"}, "2001-11-01"),
        ("Date,Close\n200111,1.5\n200112,2.5\n", "%y%m%d if a day", {"date_format": "%y%m%d"}, "2020-01-11"),
        ("Date,Close\n45293,1.5\n45294,2.5\n", "--date-format excel", {"date_format": "excel"}, "2024-01-02"),
        (
            "Datetime,Close\n2024-01-09 15:00:00+00:00,1\n2024-01-10 15:00:00+00:00,2\n",
            "stand at 15:00 UTC.*--timezone",
            {"timezone": "Asia/Tokyo"},
            "2024-01-10",
        ),
        (
            "Date,AAPL,OPEN,LOW\n2024-01-02,1,2,3\n",
            "no close column.*--layout wide",
            {"layout": "wide"},
            "2024-01-02",
        ),
        (
            "When,Closing time,Close\n2024-01-02,2024-01-02,1.5\n",
            "no date column.*--date-column",
            {"date_column": "When"},
            "2024-01-02",
        ),
        (
            "Date,Close\n2024-01-02,1\n2024-01-02,2\n",
            'lines 2 and 3 are both "X" at 2024-01-02 but differ .close 1 and 2.*--keep-last',
            {"keep_last": True},
            "2024-01-02",
        ),
        (
            "Date,Mood,Close\n2024-01-02,good,1\n2024-01-03,bad,2\n",
            '"Mood" has several values.*--symbol-column none',
            {"symbol_column": "none"},
            "2024-01-02",
        ),
        (
            "Date,A,B,C,D\n2024-01-02,10,11,9.5,10.5\n2024-01-03,10.5,11.5,10,11\n",
            "look like open, high, low and close of one symbol.*--layout wide",
            {"layout": "wide"},
            "2024-01-02",
        ),
    ],
)
def test_a_refusal_names_the_option_that_settles_it(
    text: str, said: str, options: dict[str, Any], first: str, tmp_path: Path
) -> None:
    with pytest.raises(PriceFileError, match=said) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)
    _, table = read(tmp_path, text, **options)
    assert next(iter(table.values()))[0][0] == first


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layout": "tall"}, "--layout: must be one of long, single, wide, multi"),
        ({"decimal": ";"}, '--decimal: must be "." or ","'),
        ({"timezone": "Mars/Olympus"}, 'there is no time zone "Mars/Olympus"'),
        ({"date_format": "%d"}, "--date-format: must be day-first"),
        ({"date_column": "Moment"}, '--date-column: no column is called "Moment"'),
        ({"symbol_column": "Moment"}, '--symbol-column: no column is called "Moment"'),
    ],
)
def test_a_wrong_option_is_refused(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        read(tmp_path, "Date,Close\n2024-01-02,1\n", **options)


BARS_OF_ONE = "Date,Open,High,Low,Close\n2024-01-02,1,3,0.5,2\n2024-01-03,1,3,0.5,2\n"


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("Date,Close\n2024-01-02,£99.5\n2024-01-03,GBX 9970\n", {}, 'found "GBX 9970" in the column "Close"'),
        ("Date,Close\n2024-01-02,02.01.2024\n", {}, 'found "02.01.2024" in the column "Close"'),
        (BARS_OF_ONE, {"date_column": "Close"}, '--date-column: "Close" is the column of the close'),
        (BARS_OF_ONE, {"layout": "multi"}, "--layout multi: no column is called by a symbol and a field"),
        (BARS_OF_ONE, {"layout": "long"}, "no symbol column .* --symbol-column, or give --layout single"),
        (
            "Date,Firm,Close\n2024-01-02,A,1\n2024-01-03,B,2\n",
            {"layout": "long"},
            'no symbol column .* --symbol-column "Firm", or',
        ),
    ],
)
def test_a_missing_column_is_refused_for_what_is_wrong(
    text: str, options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(PriceFileError, match=said):
        read(tmp_path, text, **options)


def test_times_of_a_zone_become_utc(tmp_path: Path) -> None:
    text = "Time,Close\n2024-03-08 09:30,1\n2024-03-08 09:31,2\n2024-03-11 09:30,3\n"
    _, table = read(tmp_path, text, timezone="America/New_York")
    assert [day for day, _ in table["X"]][::2] == [
        "2024-03-08T14:30:00.000000000",
        "2024-03-11T13:30:00.000000000",
    ]


def test_two_columns_joined_to_a_symbol(tmp_path: Path) -> None:
    text = "Date,Symbol,Venue X,Close\n2024-01-02,A,NYSE,1\n2024-01-02,A,LSE,2\n"
    with pytest.raises(PriceFileError, match=r'if "Venue X" tells .* --symbol-column "Symbol,Venue X"'):
        read(tmp_path, text)
    assert set(read(tmp_path, text, symbol_column="Symbol,Venue X")[1]) == {"A NYSE", "A LSE"}


def test_files_that_contradict_each_other(tmp_path: Path) -> None:
    (tmp_path / "A.csv").write_text("Date,Close\n2024-01-02,1\n2024-01-03,2\n")
    (tmp_path / "b.csv").write_text("Date,Symbol,Close\n2024-01-03,A,5\n")
    files = [tmp_path / "A.csv", tmp_path / "b.csv"]
    with pytest.raises(PriceFileError, match=r'A\.csv line 3 and .*b\.csv line 2 are both "A" at 2024-01-03'):
        import_prices(files, tmp_path / "m.h5")
    import_prices(files, tmp_path / "m.h5", ImportOptions(keep_last=True))
    assert [row["close"] for _, row in load(tmp_path / "m.h5")["A"]] == [1, 5]


def test_the_same_file_name_over_the_years_is_one_symbol(tmp_path: Path) -> None:
    for year in ("2023", "2024"):
        (tmp_path / year).mkdir()
        (tmp_path / year / "AAPL.csv").write_text(f"Date,Close\n{year}-01-03,{year}\n")
    import_prices([tmp_path / year / "AAPL.csv" for year in ("2023", "2024")], tmp_path / "m.h5")
    assert [row["close"] for _, row in load(tmp_path / "m.h5")["AAPL"]] == [2023, 2024]


def test_check_says_what_is_understood_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "k.csv").write_text("ts_code,trade_date,close\nA,20240102,9.5\nA,20240103,9.75\n")
    found = check_prices([tmp_path / "k.csv"])
    assert found.output is None, "null in JSON"
    shown = found.table()
    for text in (
        "nothing written (--check)",
        "long",
        'symbol from column "ts_code"',
        "YYYYMMDD",
        "1234.5",
        "A 2024-01-02: 9.5",
        "A 2024-01-03: 9.75",
    ):
        assert text in shown
    assert [path.name for path in tmp_path.iterdir()] == ["k.csv"]
    (tmp_path / "k.csv").write_text("date,close\n2024-01-02,0\n")
    with pytest.raises(PriceFileError, match="the files: no row is left of 1 read"):
        check_prices([tmp_path / "k.csv"])


FIELDS = [
    ("open", "high", "low", "close", "volume"),
    ("Opening", "Highest", "Lowest", "Last", "Vol"),
    ("eröffnung", "hoch", "tief", "schluss", "volumen"),
    ("ouverture", "haut", "bas", "clôture", "volume"),
    ("apertura", "máximo", "mínimo", "cierre", "volumen"),
    ("o", "h", "l", "c", "v"),
    ("始値", "高値", "安値", "終値", "出来高"),
]
SPELT = [
    "{}",
    "<{}>",
    "{} (EUR)",
    "AAPL.{}",
    "{}_AAPL",
    "AAPL {}",
    "('{}', 'AAPL')",
    "('AAPL', '{}')",
    "{}*",
    "1. {}",
]
SPELT += [
    "{} price",
    "stock_{}",
    "price.{}",
    "{}Price",
    "{}USD",
    "{}1",
    "my{}",
    "{}.{}",
    "mid_{}",
    "{}/AAPL",
    "day {}",
]


BARS = "".join(
    f"{day},{100 + n % 50},{102 + n % 50},{98 + n % 50},{101 + n % 50},500\n" for n, day in enumerate(DAYS)
)
NAMES = "Date,Open,High,Low,Close,Volume\n"
PAIRS = "AAPL,,MSFT,\nDate,Close,Date,Close\n" + "".join(f"{day},5.5,{day},700\n" for day in DAYS)


@pytest.mark.parametrize(
    ("text", "left_out", "last"),
    [
        (
            NAMES + BARS + "Date,Volume,Close,Low,High,Open\n2024-01-03,7,4,1,5,2\n",
            "repeated header",
            "2024-01-03",
        ),
        (
            NAMES + BARS + "2024-01-02" + 5 * ",0.24 Dividend" + "\n2024-01-03,2,5,1,4,7\n",
            "dividend or split",
            "2024-01-03",
        ),
        (NAMES + BARS + " \n2024-01-03,2,5,1,4,7\n", "blank", "2024-01-03"),
        ("history\n\n" + NAMES + BARS + "\nhistory.cursor\n\nINDEX,TOTAL\n0,2\n", "another table", DAYS[-1]),
    ],
)
def test_lines_that_are_no_rows_show_late(tmp_path: Path, text: str, left_out: str, last: str) -> None:
    summary, table = read(tmp_path, text)
    (said,) = summary.left_out
    assert f"({left_out})" in said
    assert table["X"][-1][0] == last
    if last == "2024-01-03":
        assert table["X"][-1][1] == {"open": 2, "high": 5, "low": 1, "close": 4, "volume": 7}
        assert len(table["X"]) == 801


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (NAMES + BARS + "Microsoft Corp\n2024-01-03,2,5,1,4,7\n", 'line 802: "Microsoft Corp" stands alone'),
        (
            NAMES + BARS + "Date,Volume,Close\n2024-01-03,7,4\n",
            "line 802: found another header, with 3 columns",
        ),
        (PAIRS + ",,2024-01-03,x7\n", 'X.csv/MSFT: line 803: found "x7"'),
        (
            PAIRS + "2024-01-03,5.5,2024-01-03,700,2024-01-03,9\n",
            "line 803: found a cell to the right of the 2 tables",
        ),
    ],
)
def test_what_shows_late_and_cannot_be_read_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(PriceFileError, match=said):
        read(tmp_path, text)


def test_days_alone_are_read_as_days_among_others() -> None:
    """Columns of YYYY-MM-DD take another path, with the same dates and the same refusals."""
    days = np.datetime_as_string(np.arange("1678-01-01", "2261-12-30", 97, dtype="datetime64[D]"))
    alone = parse_dates(pa.array(days))
    mixed = parse_dates(pa.array([*days, "2 Jan 2024"]))
    assert (alone.wall == mixed.wall[:-1]).all()
    assert (alone.zone == NO_ZONE).all()
    for bad in ("2023-02-29", "2024-13-01", "1677-12-31", "2262-01-01", "2024-00-10", "0000-01-01"):
        with pytest.raises(BadDate) as caught:
            parse_dates(pa.array(["2024-01-02", bad]))
        assert caught.value.text == bad


@pytest.mark.parametrize("spelt", SPELT)
def test_names_of_prices_in_any_spelling_are_no_symbols(spelt: str, tmp_path: Path) -> None:
    loaded = 0
    for fields in FIELDS:
        names = ",".join(f'"{spelt.format(field, field)}"' for field in fields)
        rows = "2024-01-02,97.2,98.4,93.9,95.6,7200\n2024-01-03,94.2,95.9,93.4,94.3,5200\n"
        try:
            _, table = read(tmp_path, f"Date,{names}\n{rows}")
        except PriceFileError:
            continue
        (found,) = table.values()
        assert [row["close"] for _, row in found] == [95.6, 94.3]
        loaded += 1
    assert loaded or spelt in ("{}1", "my{}")


@pytest.mark.parametrize("name", ["", "."])
def test_a_file_without_a_name_in_a_zip_is_left_out(name: str, tmp_path: Path) -> None:
    path = tmp_path / "X.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("A.csv", "date,close\n2024-01-02,1\n2024-01-03,2\n")
        info = zipfile.ZipInfo("x")
        info.filename = name
        archive.writestr(info, "date,close\n2024-01-02,3\n")
    import_prices([path], tmp_path / "m.h5")
    assert list(load(tmp_path / "m.h5")) == ["A"]


def test_names_in_a_zip_that_are_not_in_the_encoding_that_they_say_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "X.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("\xe9.csv", "date,close\n2024-01-02,1\n2024-01-03,2\n")
    # A flag says that names are UTF-8.
    path.write_bytes(path.read_bytes().replace("\xe9".encode(), b"\xff\xfe"))
    with pytest.raises(PriceFileError, match=r"X\.zip"):
        import_prices([path], tmp_path / "m.h5")


def test_a_refusal_may_quote_bytes_that_are_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "X.csv"
    path.write_bytes(
        b"Price,Close,Close,High,High,Low,Low,Open,Open,Volume,Volume\nTicker,AAPL,MSFT,AAPL,MSFT,AAPL,MSFT,AAPL,MSFT,"
        b"AAPL,MSFT\n2024-01-eY\xb9\xbe\xd1y\\qbq\xcb\xe3$\xdbOV\xf7J\xf3\x05\xa5n\ns\xb6\x8b\x14\x06\xd3\xf9\xda\x8f"
        b"\xffA\x0f\xa4\x18(\xde\xfaf\xeb\x82{Aw\xb4;\t\xec\xac\x1d\xe2\xba\x08<1\x10\x91\x1d\x9d\n\xef\x83024-01,03,"
        b"94.3,270.3,95.9,273.0,93.4,268.2,94.2,268.7,5241450,2308350"
    )
    with pytest.raises(PriceFileError, match=r"X\.csv: line .* stands alone"):
        import_prices([path], tmp_path / "m.h5")
