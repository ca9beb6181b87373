"""What would silently be wrong is refused in one line, and the option that it names gives the right values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from price_forms import Rows, closes
from test_price_forms import load, require

from hpc_lstm.errors import PriceFileError
from hpc_lstm.market.importing import import_prices
from hpc_lstm.market.options import ImportOptions

# The files; what is said; options that settle it, and the right rows then. None: only other files do.
Case = tuple[dict[str, str], str, dict[str, Any] | None, dict[str, Rows]]

VENUES = (
    "Symbol,Exchange,Date,Close\nABC,NYSE,2024-01-02,10\nABC,NYSE,2024-01-03,11\nABC,TSX,2024-01-04,200\n"
)
MELTED = "Date,AAPL,{}\n2024-01-02,10,0.5\n2024-01-03,11,0.6\n"
SPRING = "Datetime,Close\n2024-03-10 01:30:00,1\n2024-03-10 02:30:00,2\n2024-03-10 03:30:00,3\n"
AUTUMN = "Datetime,Close\n2024-11-03 00:30:00,1\n2024-11-03 01:30:00,2\n2024-11-03 01:30:00,3\n"

CASES: dict[str, Case] = {
    "one ticker at two exchanges": (
        {"x.csv": VENUES},
        r'rows of "ABC" have different values of "Exchange" \("NYSE", "TSX"\).*--symbol-column "Symbol,Exchange"',
        {"symbol_column": "Symbol,Exchange"},
        {"ABC NYSE": closes(("2024-01-02", 10), ("2024-01-03", 11)), "ABC TSX": closes(("2024-01-04", 200))},
    ),
    "one company that changed its exchange": (
        {"x.csv": VENUES},
        'or --symbol-column "Symbol" if they are one',
        {"symbol_column": "Symbol"},
        {"ABC": closes(("2024-01-02", 10), ("2024-01-03", 11), ("2024-01-04", 200))},
    ),
    "exchanges in two files": (
        {
            "a.csv": "Symbol,Market,Date,Close\nABC,NYSE,2024-01-02,10\n",
            "b.csv": "Symbol,Market,Date,Close\nABC,TSX,2024-01-03,200\n",
        },
        r'b\.csv: rows of "ABC" have different values of "Market"',
        {"symbol_column": "Symbol,Market"},
        {"ABC NYSE": closes(("2024-01-02", 10)), "ABC TSX": closes(("2024-01-03", 200))},
    ),
    "boards": (
        {"x.csv": "BOARDID;TRADEDATE;SECID;CLOSE\nSMAL;2024-01-03;SBER;300\nTQBR;2024-01-04;SBER;274\n"},
        '--symbol-column "SECID,BOARDID"',
        {"symbol_column": "SECID,BOARDID"},
        {"SBER SMAL": closes(("2024-01-03", 300)), "SBER TQBR": closes(("2024-01-04", 274))},
    ),
    "expiries": (
        {"x.csv": "Symbol,Expiry,Date,Settle\nCL,2024-02-20,2024-01-02,70\nCL,2024-03-20,2024-01-04,90\n"},
        '--symbol-column "Symbol,Expiry"',
        {"symbol_column": "Symbol,Expiry"},
        {"CL 2024-02-20": closes(("2024-01-02", 70)), "CL 2024-03-20": closes(("2024-01-04", 90))},
    ),
    "a ticker used again": (
        {"x.csv": "PERMNO,date,TICKER,PRC\n10001,2001-01-02,META,5\n13407,2022-06-09,META,184\n"},
        '--symbol-column "PERMNO"',
        {"symbol_column": "PERMNO"},
        {"10001": closes(("2001-01-02", 5)), "13407": closes(("2022-06-09", 184))},
    ),
    "a ticker with another issuer": (
        {
            "x.csv": "Date,Symbol,ISIN,Close\n2001-01-02,META,US59134N1046,5\n2001-01-03,META,US59134N1046,6\n"
            "2022-06-09,META,US30303M1027,184\n"
        },
        '--symbol-column "ISIN"',
        {"symbol_column": "ISIN"},
        {
            "US59134N1046": closes(("2001-01-02", 5), ("2001-01-03", 6)),
            "US30303M1027": closes(("2022-06-09", 184)),
        },
    ),
    "a currency that changes late in a file of one symbol": (
        {
            "x.csv": "Date,Close,Currency\n"
            + "".join(
                f"{2000 + n // 336}-{n // 28 % 12 + 1:02}-{n % 28 + 1:02},10,{'USD' if n < 4000 else 'EUR'}\n"
                for n in range(5000)
            )
        },
        '"Currency" has several values',
        None,
        {},
    ),
    "symbols that differ in case": (
        {"AAPL.csv": "Date,Close\n2023-01-03,1\n", "aapl.csv": "Date,Close\n2024-01-03,7\n"},
        '"AAPL" and "aapl" differ only in case; give --symbol-case upper',
        {"symbol_case": "upper"},
        {"AAPL": closes(("2023-01-03", 1), ("2024-01-03", 7))},
    ),
    "symbols that differ in case, in a column": (
        {"x.csv": "Date,Symbol,Close\n2023-01-03,BACpL,1\n2024-01-03,BACPL,7\n"},
        "--symbol-case keep",
        {"symbol_case": "keep"},
        {"BACpL": closes(("2023-01-03", 1)), "BACPL": closes(("2024-01-03", 7))},
    ),
    "a time without an offset": (
        {"x.csv": "Datetime,Close\n2024-01-02 10:00:00-05:00,1\n2024-01-02 11:00:00,2\n"},
        "line 3: found a time without an offset from UTC among times that have one",
        {"timezone": "America/New_York"},
        {"x": closes(("2024-01-02T15:00:00.000000000", 1), ("2024-01-02T16:00:00.000000000", 2))},
    ),
    "a time that clocks skipped": ({"x.csv": SPRING}, "x", None, {}),
    "a zone's time that clocks skipped": (
        {"x.csv": "Datetime,Close\n2024-03-10 01:30:00 US/Eastern,1\n2024-03-10 02:30:00 US/Eastern,2\n"},
        "line 3: .*expected a time that exists in US/Eastern",
        None,
        {},
    ),
    "thousands or decimals, in one column": (
        {"x.csv": "Datum;Schluss\n2024-01-15;2,5\n2024-01-16;2.135\n"},
        r'line 3: found "2\.135", expected a number of the size of the others.*--decimal',
        None,
        {},
    ),
    "thousands or decimals, beside another column": (
        {"x.csv": "Datum;Open;Schluss\n2024-01-15;2,5;2.125\n2024-01-16;2,6;2.135\n"},
        r'line 2: found "2\.125", expected a number of the size of the others',
        None,
        {},
    ),
    "thousands or decimals, in English": (
        {"x.csv": 'Date,Close\n2024-01-15,2.5\n2024-01-16,"2,125"\n'},
        r'line 3: found "2,125", expected a number of the size of the others',
        {"decimal": "."},
        {"x": closes(("2024-01-15", 2.5), ("2024-01-16", 2125))},
    ),
    "swapped columns": (
        {"x.csv": "Date,Open,High,Low,Close\n2024-01-02,97,94,98,96\n2024-01-03,94,93,96,94\n"},
        "the high is below the low in 2 of 2 rows: the two columns are swapped",
        None,
        {},
    ),
    "orders": (
        {"x.csv": "Date,Symbol,Side,Qty,Price\n2024-01-02,AAPL,BUY,10,95.6\n2024-01-03,AAPL,SELL,10,94.3\n"},
        'looks like a list of orders, as "Side" says BUY, SELL; .*--layout long',
        {"layout": "long"},
        {"AAPL": closes(("2024-01-02", 95.6), ("2024-01-03", 94.3))},
    ),
    "returns by name": (
        {"x.csv": "Date,AAPL_ret,MSFT_ret\n2024-01-02,0.01,0.02\n2024-01-03,0.01,0.02\n"},
        'the column "AAPL_ret" seems to hold no prices, by its name',
        {"layout": "wide"},
        {
            "AAPL_ret": closes(("2024-01-02", 0.01), ("2024-01-03", 0.01)),
            "MSFT_ret": closes(("2024-01-02", 0.02), ("2024-01-03", 0.02)),
        },
    ),
    "returns by value": (
        {"x.csv": "Date,AAPL,MSFT\n2024-01-02,0.01,-0.02\n2024-01-03,-0.01,0.02\n"},
        '"AAPL" seems to hold no prices, as many of its values are negative; .*--allow-negative',
        {"allow_negative": True},
        {
            "AAPL": closes(("2024-01-02", 0.01), ("2024-01-03", -0.01)),
            "MSFT": closes(("2024-01-02", -0.02), ("2024-01-03", 0.02)),
        },
    ),
    **{
        name: (
            {"x.csv": MELTED.format(name)},
            f'the column "{name}" seems to hold no prices',
            {"layout": "wide"},
            {
                "AAPL": closes(("2024-01-02", 10), ("2024-01-03", 11)),
                name: closes(("2024-01-02", 0.5), ("2024-01-03", 0.6)),
            },
        )
        for name in ("Sentiment", "Temperature", "Weekday", "Niederschlag", "Total", "MSFT change %")
    },
}


@pytest.mark.parametrize("case", CASES)
def test_refused_and_settled(case: str, tmp_path: Path) -> None:
    files, said, options, wanted = CASES[case]
    paths = []
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        paths.append(tmp_path / name)
    if case == "a time that clocks skipped":
        said, refused = (
            "line 3: 2024-03-10T02:30:00 does not exist in America/New_York",
            ImportOptions(timezone="America/New_York"),
        )
    else:
        refused = ImportOptions()
    with pytest.raises(PriceFileError, match=said) as caught:
        import_prices(paths, tmp_path / "m.h5", refused)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(files)
    if options is not None:
        import_prices(paths, tmp_path / "m.h5", ImportOptions(**options))
        require(load(tmp_path / "m.h5"), wanted)


def test_times_that_clocks_showed_twice(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(AUTUMN)
    zone = ImportOptions(timezone="America/New_York")
    with pytest.raises(PriceFileError, match=r"lines 3 and 4 are both .* this time occurs twice, as clocks"):
        import_prices([tmp_path / "x.csv"], tmp_path / "m.h5", zone)
    (tmp_path / "x.csv").write_text(AUTUMN[: AUTUMN.rindex("2024")])
    summary = import_prices([tmp_path / "x.csv"], tmp_path / "m.h5", zone)
    assert summary.doubled_times == 1
    assert load(tmp_path / "m.h5")["x"][1][0] == "2024-11-03T05:30:00.000000000"


def test_midnights_that_clocks_skipped_are_days(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("Date,Close\n2018-11-03,1\n2018-11-04,2\n2018-11-05,3\n")
    import_prices([tmp_path / "x.csv"], tmp_path / "m.h5", ImportOptions(timezone="America/Sao_Paulo"))
    assert load(tmp_path / "m.h5")["x"] == closes(("2018-11-03", 1), ("2018-11-04", 2), ("2018-11-05", 3))


def test_a_lone_row_with_the_high_below_the_low(tmp_path: Path) -> None:
    rows = "2024-01-02,97,98,94,96\n2024-01-03,94,93,96,94\n2024-01-04,94,96,93,95\n"
    (tmp_path / "x.csv").write_text("Date,Open,High,Low,Close\n" + rows)
    summary = import_prices([tmp_path / "x.csv"], tmp_path / "m.h5")
    assert summary.counts.inverted == 1
    assert load(tmp_path / "m.h5")["x"][1] == ("2024-01-03", {"open": 94, "high": 98, "low": 94, "close": 94})


def test_a_split_that_changes_an_isin_is_no_other_instrument(tmp_path: Path) -> None:
    rows = "2024-01-02,RELI,INE002A01018,100\n2024-01-03,RELI,INE002A01026,50\n"
    (tmp_path / "x.csv").write_text("Date,Symbol,ISIN,Close\n" + rows)
    import_prices([tmp_path / "x.csv"], tmp_path / "m.h5")
    require(load(tmp_path / "m.h5"), {"RELI": closes(("2024-01-02", 100), ("2024-01-03", 50))})
