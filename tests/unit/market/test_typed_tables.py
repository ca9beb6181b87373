"""Workbooks, Parquet, Feather, ZIP files and tables of pandas: the same rules, dates and numbers as they are."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from price_forms import Rows, closes
from pyarrow import feather, parquet
from test_price_forms import load, require

from hpc_lstm.errors import PriceFileError
from hpc_lstm.market.importing import import_prices

DAYS = pd.DatetimeIndex(["2024-01-02", "2024-01-03"], name="Date")
ONE = pd.DataFrame({"Open": [1.0, 2.0], "Close": [1.5, 2.5], "Volume": [10, 20]}, index=DAYS)
LEVELS = pd.MultiIndex.from_product([["Close", "Open"], ["AAPL", "MSFT"]], names=["Price", "Ticker"])
TWO = pd.DataFrame([[1.5, 3.5, 1.0, 3.0], [2.5, 4.5, 2.0, 4.0]], index=DAYS, columns=LEVELS)
WIDE = pd.DataFrame({"AAPL": [1.5, 2.5], "MSFT": [3.5, 4.5]}, index=DAYS)
LONG = TWO.stack(level=1, future_stack=True).reset_index()
AAPL = closes(("2024-01-02", 1.5), ("2024-01-03", 2.5))
BOTH = {"AAPL": AAPL, "MSFT": closes(("2024-01-02", 3.5), ("2024-01-03", 4.5))}
TABLES: dict[str, tuple[pd.DataFrame, dict[str, Rows]]] = {
    "one": (ONE, {"AAPL": AAPL}),
    "index without name": (ONE.rename_axis(None), {"AAPL": AAPL}),
    "columns": (ONE.reset_index(), {"AAPL": AAPL}),
    "days of New York": (ONE.tz_localize("America/New_York"), {"AAPL": AAPL}),
    "days of Tokyo": (ONE.tz_localize("Asia/Tokyo"), {"AAPL": AAPL}),
    "texts": (
        ONE.reset_index().assign(Date=["02-Jan-2024", "03-Jan-2024"], Close=["$1.5", "$2.5"]),
        {"AAPL": AAPL},
    ),
    "levels": (TWO, BOTH),
    "levels by ticker": (TWO.swaplevel(axis=1).sort_index(axis=1), BOTH),
    "levels, index reset": (TWO.reset_index(), BOTH),
    "long": (LONG, BOTH),
    "long, symbols as categories": (LONG.assign(Ticker=LONG["Ticker"].astype("category")), BOTH),
    "wide": (WIDE, BOTH),
    "year, month and day": (
        ONE.reset_index(drop=True).assign(Year=2024, Month=1, Day=[2, 3]),
        {"AAPL": AAPL},
    ),
    "year, month and day, as floats": (
        ONE.reset_index(drop=True).assign(Year=2024.0, Month=1.0, Day=[2.0, 3.0]),
        {"AAPL": AAPL},
    ),
}


@pytest.mark.parametrize("case", TABLES)
@pytest.mark.parametrize("form", ["pandas", "parquet", "feather", "xlsx"])
def test_table(case: str, form: str, tmp_path: Path) -> None:
    frame, wanted = TABLES[case]
    path = tmp_path / f"AAPL.{form}"
    if form == "pandas":
        import_prices({"AAPL": frame}, tmp_path / "m.h5")
    else:
        if form == "parquet":
            frame.to_parquet(path)
        elif form == "feather":
            flat = frame.reset_index() if isinstance(frame.index, pd.DatetimeIndex) else frame.copy()
            flat.columns = [str(name) if isinstance(name, tuple) else name for name in flat.columns]
            flat.to_feather(path)
        else:
            local = frame.tz_localize(None) if isinstance(frame.index, pd.DatetimeIndex) else frame
            local.to_excel(path)
        import_prices([path], tmp_path / "m.h5")
    require(load(tmp_path / "m.h5"), wanted)


def in_levels(symbols: list[str], fields: list[str], names: list[str] | None) -> pd.DataFrame:
    levels = pd.MultiIndex.from_product([fields, symbols], names=names)
    return pd.DataFrame([[50.0 + n for n in range(len(levels))]] * 2, index=DAYS, columns=levels)


@pytest.mark.parametrize(
    "symbols", [["C", "V", "MSFT"], ["C", "V"], ["OPEN", "LOW", "X"], ["SON", "MO", "LOW"]]
)
@pytest.mark.parametrize("fields", [["Close"], ["Low", "Open", "Close", "High", "Volume"]])
@pytest.mark.parametrize("names", [["Price", "Ticker"], None])
def test_symbols_that_are_words_for_prices(
    symbols: list[str], fields: list[str], names: list[str] | None, tmp_path: Path
) -> None:
    frame = in_levels(symbols, fields, names)
    wanted = {symbol: closes((str(DAYS[0].date()), frame["Close", symbol].iloc[0])) for symbol in symbols}
    for number, table in enumerate((frame, frame.swaplevel(axis=1))):
        path = tmp_path / f"{number}.parquet"
        table.to_parquet(path)
        text = path.with_suffix(".csv")
        table.to_csv(text)
        for source in (table, [path], *([[text]] if names else [])):
            import_prices(source, tmp_path / "m.h5")
            require({name: rows[:1] for name, rows in load(tmp_path / "m.h5").items()}, wanted)


def test_a_single_column_in_named_levels_says_its_symbol(tmp_path: Path) -> None:
    frame = in_levels(["C"], ["Close"], ["Price", "Ticker"])
    frame.to_csv(tmp_path / "p.csv")
    for source in (frame, [tmp_path / "p.csv"]):
        import_prices(source, tmp_path / "m.h5")
        assert list(load(tmp_path / "m.h5")) == ["C"]


def test_levels_that_may_both_be_symbols_are_told_apart_by_their_names(tmp_path: Path) -> None:
    symbols, fields = ["Close", "Volume"], ["Open", "Close", "Volume"]
    with pytest.raises(PriceFileError, match=r'may be the symbol; in pandas name the levels: .*"Ticker"'):
        import_prices(in_levels(symbols, fields, None), tmp_path / "m.h5")
    for names in (
        ["Price", "Ticker"],
        ["Attributes", "Symbols"],
        [None, "symbol"],
    ):  # the last one as of pivot
        import_prices(in_levels(symbols, fields, names).swaplevel(axis=1), tmp_path / "m.h5")
        assert list(load(tmp_path / "m.h5")) == symbols


@pytest.mark.parametrize("suffix", ["xls", "XLSX", "xlsm"])
def test_a_workbook_names_the_symbol_under_any_suffix(suffix: str, tmp_path: Path) -> None:
    """Also one whose sheets are years."""
    for sheets in (1, 2):
        with pd.ExcelWriter(tmp_path / "book.xlsx") as book:
            for sheet in range(sheets):
                ONE[sheet : sheet + 3 - sheets].to_excel(book, sheet_name=str(2023 + sheet))
        path = (tmp_path / "book.xlsx").rename(tmp_path / f"AAPL.{suffix}")
        import_prices([path], tmp_path / "m.h5")
        require(load(tmp_path / "m.h5"), {"AAPL": AAPL})


def test_a_workbook_with_sheets_of_symbols_and_notes(tmp_path: Path) -> None:
    with pd.ExcelWriter(tmp_path / "all.xlsx") as book:
        pd.DataFrame({"Notes": ["made by hand", "in a hurry"]}).to_excel(
            book, sheet_name="README", index=False
        )
        ONE.to_excel(book, sheet_name="AAPL")
        (ONE + 2).to_excel(book, sheet_name="MSFT")
    summary = import_prices([tmp_path / "all.xlsx"], tmp_path / "m.h5")
    require(load(tmp_path / "m.h5"), BOTH)
    assert summary.left_out == ['sheet "README" of AAPL']


def test_a_zip_with_many_files(tmp_path: Path) -> None:
    book = io.BytesIO()
    (ONE + 2).to_excel(book)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("prices/AAPL.csv", ONE.to_csv())
        archive.writestr("__MACOSX/prices/._AAPL.csv", b"\0\1\2")
        archive.writestr("prices/MSFT.xlsx", book.getvalue())
        archive.writestr("README.txt", "Prices of two shares, as of today.\n")
        archive.writestr("prices/.DS_Store", b"\0\0\0\1Bud1")
        archive.writestr("prices/GOOG.csv", "")
    summary = import_prices([tmp_path / "all.zip"], tmp_path / "m.h5")
    require(load(tmp_path / "m.h5"), BOTH)
    others = "__MACOSX/prices/._AAPL.csv, README.txt, prices/.DS_Store, prices/GOOG.csv (empty)"
    assert summary.left_out == [f"{others} in all.zip"]
    assert f"{others} in all.zip" in summary.table()


def test_a_damaged_table_in_a_zip_is_not_left_out(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("AAPL.csv", ONE.to_csv())
        archive.writestr("MSFT.csv", b"\0\1\2\0")
    with pytest.raises(PriceFileError, match=r"all\.zip/MSFT\.csv: holds binary data"):
        import_prices([tmp_path / "all.zip"], tmp_path / "m.h5")


def test_a_zip_without_tables_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("README.md", "# Prices\n")
        archive.writestr("AAPL.csv", "")
    with pytest.raises(
        PriceFileError, match=r"all\.zip: holds no table, only README\.md, AAPL\.csv \(empty\);"
    ):
        import_prices([tmp_path / "all.zip"], tmp_path / "m.h5")


def test_tables_side_by_side_in_a_sheet(tmp_path: Path) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    for row in (
        ["AAPL US Equity", None, None, "MSFT US Equity", None],
        ["Date", "PX_LAST", None, "Date", "PX_LAST"],
        [DAYS[0].to_pydatetime(), 1.5, None, DAYS[0].to_pydatetime(), 3.5],
        [DAYS[1].to_pydatetime(), 2.5, None, DAYS[1].to_pydatetime(), 4.5],
    ):
        book.active.append(row)
    book.create_sheet("Notes").append(["made by hand"])
    book.save(tmp_path / "prices.xlsx")
    summary = import_prices([tmp_path / "prices.xlsx"], tmp_path / "m.h5")
    require(load(tmp_path / "m.h5"), {"AAPL US Equity": BOTH["AAPL"], "MSFT US Equity": BOTH["MSFT"]})
    assert any('sheet "Notes"' in text for text in summary.left_out)


def test_days_that_excel_swapped_in_a_workbook_are_refused(tmp_path: Path) -> None:
    """It takes 10/01/2024 for the first of October, and leaves 15/01/2024 as a text."""
    import openpyxl

    book = openpyxl.Workbook()
    for row in (["Date", "Close"], [pd.Timestamp("2024-10-01").to_pydatetime(), 1.5], ["15/01/2024", 2.5]):
        book.active.append(row)
    book.save(tmp_path / "x.xlsx")
    with pytest.raises(PriceFileError, match=r"row 2: found the date 2024-10-01 beside .* \(row 3\)"):
        import_prices([tmp_path / "x.xlsx"], tmp_path / "m.h5")


@pytest.mark.parametrize("name", ["a.xlsx", "a.parquet", "a.feather", "a.zip"])
def test_a_file_cut_short_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name.endswith("zip"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("AAPL.csv", ONE.to_csv())
    else:
        {"a.xlsx": ONE.to_excel, "a.parquet": ONE.to_parquet, "a.feather": ONE.reset_index().to_feather}[
            name
        ](path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(PriceFileError, match=r"the file is damaged or cut short") as caught:
        import_prices([path], tmp_path / "m.h5")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    "cells",
    [
        [[1], [2, 3]],
        [{"x": 1}, {"y": 2}],
        [b"\xff", b"\xfe"],
        pd.interval_range(0, 2),
        pd.Categorical(pd.interval_range(0, 2)),
        [1j, 2 + 1j],
        pd.Series([pd.NA, {"x": 1}], index=DAYS),
    ],
    ids=str,
)
def test_columns_of_no_numbers_are_left_out(cells: Any, tmp_path: Path) -> None:
    frame = ONE.assign(other=cells)
    summary = import_prices({"AAPL": frame}, tmp_path / "m.h5")
    require(load(tmp_path / "m.h5"), {"AAPL": AAPL})
    assert summary.ignored == ["other"]
    with pytest.raises(PriceFileError, match=r'AAPL: row \d: found ".*, expected a finite number'):
        import_prices({"AAPL": ONE.assign(Close=cells)}, tmp_path / "m.h5")


def test_columns_of_lists_in_a_parquet_file_are_left_out(tmp_path: Path) -> None:
    ONE.assign(other=[[1], [2, 3]], more=pd.interval_range(0, 2)).to_parquet(tmp_path / "AAPL.parquet")
    summary = import_prices([tmp_path / "AAPL.parquet"], tmp_path / "m.h5")
    require(load(tmp_path / "m.h5"), {"AAPL": AAPL})
    assert summary.ignored == ["other", "more"]


def test_missing_cells_among_texts_and_numbers(tmp_path: Path) -> None:
    days = [*DAYS, pd.Timestamp("2024-01-04")]
    frame = pd.DataFrame({"Date": days, "Close": pd.Series(["1.5", 2.5, pd.NA], dtype=object)})
    import_prices({"AAPL": frame}, tmp_path / "m.h5")
    require(load(tmp_path / "m.h5"), {"AAPL": AAPL})


def test_periods_count_by_their_beginnings(tmp_path: Path) -> None:
    frame = ONE.set_axis(pd.period_range("2024-01", periods=2, freq="M", name="Date"))
    for table in (frame, frame.reset_index(), frame.assign(Symbol="AAPL").set_index("Symbol", append=True)):
        import_prices({"AAPL": table}, tmp_path / "m.h5")
        require(load(tmp_path / "m.h5"), {"AAPL": closes(("2024-01-01", 1.5), ("2024-02-01", 2.5))})


def test_other_sources_are_refused(tmp_path: Path) -> None:
    for sources, kind in (
        (None, "NoneType"),
        ([ONE, ONE], "list of DataFrame"),
        (ONE["Close"], "Series of float"),
    ):
        with pytest.raises(PriceFileError, match=rf'tables by symbol, as \{{"AAPL": table\}}; got {kind}'):
            import_prices(sources, tmp_path / "m.h5")
    with pytest.raises(
        PriceFileError, match=r'AAPL: is not a pandas table but a Series; .*to_frame\("close"\)'
    ):
        import_prices({"AAPL": ONE["Close"]}, tmp_path / "m.h5")


def test_numbers_name_symbols(tmp_path: Path) -> None:
    import_prices({10107: ONE}, tmp_path / "m.h5")
    require(load(tmp_path / "m.h5"), {"10107": AAPL})


def test_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PriceFileError, match="AAPL: is not a pandas table but a int"):
        import_prices({"AAPL": 3}, tmp_path / "m.h5")


def test_a_bad_cell_of_a_table_is_named(tmp_path: Path) -> None:
    frame = ONE.reset_index().assign(Close=["1.5", "abc"])
    with pytest.raises(PriceFileError, match='AAPL: row 2: found "abc" in column 3'):
        import_prices({"AAPL": frame}, tmp_path / "m.h5")


def test_a_table_without_a_name_must_say_its_symbols(tmp_path: Path) -> None:
    import_prices(TWO, tmp_path / "m.h5")
    require(load(tmp_path / "m.h5"), BOTH)
    with pytest.raises(PriceFileError, match=r"the table names no symbol; name it"):
        import_prices(ONE, tmp_path / "m.h5")


def test_a_damaged_file_in_a_zip_is_refused(tmp_path: Path) -> None:
    text = "Date,Symbol,Close\n" + "".join(f"2024-01-{day:02},A,{day}.25\n" for day in range(1, 29))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("p.csv", text)
    (tmp_path / "p.zip").write_bytes(packed.getvalue().replace(b",7.25", b",9.25"))
    with pytest.raises(PriceFileError, match=r"p\.csv: cannot be read: Bad CRC-32.*copy it again"):
        import_prices([tmp_path / "p.zip"], tmp_path / "m.h5")
    whole = packed.getvalue()
    version = whole.index(b"PK\1\2") + 6
    (tmp_path / "p.zip").write_bytes(whole[:version] + b"\xff" + whole[version + 1 :])
    with pytest.raises(PriceFileError, match=r"p\.zip: cannot be read: zip file version"):
        import_prices([tmp_path / "p.zip"], tmp_path / "m.h5")


def test_a_damaged_feather_file_reads_nothing_beyond_its_texts(tmp_path: Path) -> None:
    """Its offsets of texts lead far beyond them; pyarrow itself does not look."""
    table = pa.table({"Date": ["2024-01-02", "2024-01-03"], "Close": ["1.5", "2.5"]})
    feather.write_feather(table, tmp_path / "p.feather", compression="uncompressed")
    data = (tmp_path / "p.feather").read_bytes()
    offsets = struct.pack("<3i", 0, 10, 20)
    assert data.count(offsets) == 1
    (tmp_path / "p.feather").write_bytes(data.replace(offsets, struct.pack("<3i", 0, 10, 2**30)))
    with pytest.raises(PriceFileError, match=r"p\.feather: cannot be read: .*damaged"):
        import_prices([tmp_path / "p.feather"], tmp_path / "m.h5")


def test_dates_that_nanoseconds_cannot_hold_are_refused(tmp_path: Path) -> None:
    days = pa.array([19_000, 10_000_000], pa.int32()).cast(pa.date32())
    parquet.write_table(pa.table({"Date": days, "Close": [1.5, 2.5]}), tmp_path / "p.parquet")
    with pytest.raises(PriceFileError, match=r'row 2: found the date "29349-01-26".*between 1678 and 2261'):
        import_prices([tmp_path / "p.parquet"], tmp_path / "m.h5")
    for zone in (None, "UTC"):
        times = pd.DatetimeIndex(pd.array(["2024-01-02", "1500-01-03"], "datetime64[s]"), tz=zone)
        with pytest.raises(PriceFileError, match=r'row 2: found the date "1500-01-03.*between 1678 and 2261'):
            import_prices({"AAPL": ONE.set_axis(times)}, tmp_path / "m.h5")
