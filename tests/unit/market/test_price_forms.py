"""Files as people have them load with the right values, or are refused in one line that tells the way out."""

from __future__ import annotations

import functools
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from country_forms import COUNTRY_FORMS
from price_forms import FORMS, Rows, bars, closes
from vendor_forms import VENDOR_FORMS, VENDOR_REFUSALS, cotahist

from hpc_lstm.errors import PriceFileError
from hpc_lstm.market import importing
from hpc_lstm.market.importing import import_prices
from hpc_lstm.market.options import ImportOptions
from hpc_lstm.market.store import MarketStore

Table = dict[str, Rows]


def load(path: Path) -> Table:
    """A store's rows by symbol."""
    table: Table = {}
    with MarketStore(path) as store:
        for number, name in enumerate(store.symbols):
            low, high = (int(offset) for offset in store.offsets[number : number + 2])
            dates = store.dates(low, high).astype(f"datetime64[{store.date_unit}]").astype(str).tolist()
            rows = store.rows(low, high).tolist()
            table[name] = [
                (date, dict(zip(store.columns, row, strict=True)))
                for date, row in zip(dates, rows, strict=True)
            ]
    return table


class KeptRows:
    """Stands for the writer of a store: adds rows to a table as ``load`` gives them."""

    def __init__(self, table: Table, path: Path, columns: list[str], source: str, *, date_unit: str) -> None:
        self._table, self._columns, self._unit = table, columns, date_unit

    def __enter__(self) -> KeptRows:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def append(self, symbol: str, dates: np.ndarray, values: np.ndarray) -> None:
        days = dates.astype(f"datetime64[{self._unit}]").astype(str).tolist()
        rows = [dict(zip(self._columns, row, strict=True)) for row in values.tolist()]
        self._table[symbol] = list(zip(days, rows, strict=True))


def require(found: Table, wanted: Table) -> None:
    """The same symbols, dates, and the values that are told."""
    assert list(found) == list(wanted)
    for name, rows in wanted.items():
        assert [date for date, _ in found[name]] == [date for date, _ in rows]
        for (date, values), (_, told) in zip(found[name], rows, strict=True):
            for column, value in told.items():
                assert values[column] == pytest.approx(value, rel=1e-12), (name, date, column)


ALL_FORMS = {**FORMS, **VENDOR_FORMS, **COUNTRY_FORMS}


@pytest.mark.parametrize("case", ALL_FORMS)
def test_form(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, text, wanted = ALL_FORMS[case]
    plain, encoded, packed = (tmp_path / folder / name for folder in ("plain", "utf-16", "zip"))
    for path in (plain, encoded, packed):
        path.parent.mkdir()
        path.write_text(text, encoding="utf-16" if path is encoded else "utf-8", newline="")
    with zipfile.ZipFile(packed.with_name("all.zip"), "w") as archive:
        archive.write(packed, name)
    import_prices([plain], tmp_path / "m.h5", ImportOptions())
    require(load(tmp_path / "m.h5"), wanted)
    # However the text lies in the file, what is read is written alike: no need to wait for the store again.
    found: Table = {}
    monkeypatch.setattr(importing, "StoreWriter", functools.partial(KeptRows, found))
    for path in (encoded, packed.with_name("all.zip")):
        found.clear()
        import_prices([path], tmp_path / "none.h5", ImportOptions())
        require(found, wanted)
    assert not (tmp_path / "none.h5").exists()


@pytest.mark.parametrize("case", VENDOR_REFUSALS)
def test_what_cannot_be_decided_is_refused_and_settled(case: str, tmp_path: Path) -> None:
    text, said, settled = VENDOR_REFUSALS[case]
    path = tmp_path / "x.csv"
    path.write_text(text, encoding="utf-8", newline="")
    with pytest.raises(PriceFileError, match=said) as caught:
        import_prices([path], tmp_path / "m.h5")
    assert "\n" not in str(caught.value)
    if settled is None:
        return
    way, wanted = settled
    if isinstance(way, str):  # a command of the shell, in which the message says FILE and NEW
        assert way in str(caught.value)
        subprocess.run(
            way.replace("FILE", "x.csv").replace("NEW", "y.csv"), shell=True, cwd=tmp_path, check=True
        )
        (tmp_path / "y.csv").replace(path)
    import_prices([path], tmp_path / "m.h5", ImportOptions(**(way if isinstance(way, dict) else {})))
    require(load(tmp_path / "m.h5"), wanted)


@pytest.mark.parametrize("packed", ["plain", "zip"])
def test_cotahist_is_read_at_its_places(packed: str, tmp_path: Path) -> None:
    path = tmp_path / "COTAHIST_A2024.TXT"
    path.write_text(cotahist(), encoding="latin-1", newline="")
    if packed == "zip":
        with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
            archive.write(path, path.name)
        path = tmp_path / "all.zip"
    summary = import_prices([path], tmp_path / "m.h5")
    require(
        load(tmp_path / "m.h5"),
        {
            "PETR4": bars(
                ("2024-01-02", 37.35, 37.92, 37.29, 37.78, 24043200),
                ("2024-01-03", 37.81, 39.28, 37.5, 38.56, 61000000),
            ),
            "TELB4": bars(("1998-01-02", 128, 130, 127, 129, 5)),  # quoted by the thousand
        },
    )
    assert summary.left_out == ["1 records of other markets than cash of COTAHIST_A2024.TXT"]


def test_a_cut_record_of_cotahist_is_named(tmp_path: Path) -> None:
    path = tmp_path / "COTAHIST_A2024.TXT"
    path.write_text(cotahist()[: 245 * 2 + 100], encoding="latin-1", newline="")
    with pytest.raises(PriceFileError, match="line 3: is not a complete record of 245 characters"):
        import_prices([path], tmp_path / "m.h5")


DATA = Path(__file__).parents[2] / "data" / "prices"
# The shipped files, and by symbol their rows; None: refused, with what is said.
FILES: dict[str, Table | str] = {
    "gap_date_and_time.csv": {
        "gap_date_and_time": closes(
            ("2024-01-02T09:30:00.000000000", 97.2), ("2024-01-02T09:31:00.000000000", 187.1)
        )
    },
    "gap_epoch_ms.csv": {
        "gap_epoch_ms": closes(
            ("2024-01-01T00:00:00.000000000", 2310.75), ("2024-01-01T01:00:00.000000000", 2307.25)
        )
    },
    "gap_footer_barchart.csv": {"gap_footer_barchart": closes(("2024-01-02", 95.6), ("2024-01-03", 94.3))},
    "gap_fred_dot.csv": {"SP500": closes(("2024-01-12", 4512.11), ("2024-01-16", 4498.02))},
    "gap_german.csv": {"gap_german": closes(("2024-01-02", 140.75), ("2024-01-15", 141.3))},
    "gap_investing.csv": {
        "gap_investing": bars(
            ("2024-01-15", 8201, 8219.95, 8160.05, 8187.4, 45100),
            ("2024-01-16", 8190.1, 8230.6, 8171.25, 8214.35, 12750000),
        )
    },
    "gap_month_names.csv": {
        "gap_month_names": bars(
            ("2024-01-16", 138.9, 138.9, 138.5, 138.9, 900), ("2024-01-17", 139, 140.1, 138.2, 139.5, 1000)
        )
    },
    "gap_nasdaq_dollar.csv": {
        "gap_nasdaq_dollar": bars(
            ("2024-01-12", 70.1, 71.05, 69.87, 70.56, 4077120),
            ("2024-01-16", 70.9, 71.88, 70.42, 71.34, 5210480),
        )
    },
    "gap_stooq_bulk.txt": {"AAPL.US": closes(("2024-01-02", 55.64), ("2024-01-03", 54.25))},
    "gap_thousands_google_train.csv": {
        "gap_thousands_google_train": bars(
            ("2012-01-13", 411.5, 418.2, 409.9, 714.25, 6120300),
            ("2012-01-17", 518.4, 524.1, 515.75, 1042.75, 4903100),
        )
    },
    "gap_wide_ticker_SYM.csv": {
        "AAPL": closes(("2024-01-02", 95.6), ("2024-01-03", 94.3)),
        "SYM": closes(("2024-01-02", 50.9), ("2024-01-03", 48.2)),
        "LOW": closes(("2024-01-02", 219.1), ("2024-01-03", 214.6)),
    },
    "gap_yf_group_by_ticker.csv": {
        "AAPL": bars(
            ("2024-01-02", 97.2, 98.4, 93.9, 95.6, 7248870), ("2024-01-03", 94.2, 95.9, 93.4, 94.3, 5241450)
        ),
        "MSFT": closes(("2024-01-02", 270.6), ("2024-01-03", 270.3)),
    },
    "gap_yf_multi_3rows.csv": {
        "AAPL": bars(
            ("2024-01-02", 97.2, 98.4, 93.9, 95.6, 7248870), ("2024-01-03", 94.2, 95.9, 93.4, 94.3, 5241450)
        ),
        "MSFT": bars(
            ("2024-01-02", 273.6, 275.6, 266.5, 270.6, 2125860),
            ("2024-01-03", 268.7, 273, 268.2, 270.3, 2308350),
        ),
    },
    "gap_yf_reset_index.csv": {"AAPL": closes(("2024-01-02", 95.6), ("2024-01-03", 94.3))},
    "gap_yf_single_3rows.csv": {
        "MSFT": bars(
            ("2024-01-02", 273.6, 275.6, 266.5, 270.6, 2125860),
            ("2024-01-03", 268.7, 273, 268.2, 270.3, 2308350),
        )
    },
    "live_last_row.csv": {"GOOG": closes(("2024-01-02", 39.6), ("2024-01-03", 40.4), ("2024-01-04", 38.2))},
    "lost_negative_adj_close.csv": {
        "lost_negative_adj_close": bars(
            ("2024-01-02", 2.1, 2.2, 2.0, 2.15, 1000),
            ("2024-01-03", 2.15, 2.3, 2.1, 2.2, 1100),
            ("2024-01-04", 2.2, 2.4, 2.1, 2.3, 1200, 0.05),
        )
    },
    "lost_zero_open.csv": {
        "lost_zero_open": bars(
            ("1985-01-02", 12.3, 12.5, 12.1, 12.3, 1000, 2.1),
            ("1985-01-03", 12.4, 12.6, 12.2, 12.4, 1100, 2.11),
            ("1985-01-04", 12.4, 12.7, 12.3, 12.5, 1200, 2.13),
        )
    },
    "wrong_dot_thousands.csv": r'line 2: found "9\.100", .* give --decimal \. or --decimal ,',
    "wrong_nse_series.csv": {"SHAREIND": closes(("2024-01-02", 1805), ("2024-01-03", 1811))},
    "wrong_symbol_column_company.csv": {
        "Alpha Ltd": closes(("2024-01-02", 815), ("2024-01-03", 820)),
        "Beta Ltd": closes(("2024-01-02", 93), ("2024-01-04", 95)),
    },
    "wrong_symbol_column_index.csv": {
        "NYA": closes(("2024-01-02", 10.5), ("2024-01-03", 10.8)),
        "HSI": closes(("2024-01-02", 505), ("2024-01-03", 512)),
    },
    "wrong_symbol_column_ts_code.csv": {
        "000001.SZ": closes(("2024-01-02", 9.2), ("2024-01-03", 9.3)),
        "600519.SH": closes(("2024-01-02", 1690), ("2024-01-03", 1700)),
    },
    "wrong_wide_alphavantage_numbered.csv": {
        "wrong_wide_alphavantage_numbered": bars(
            ("2024-01-02", 97.2, 98.4, 93.9, 95.6, 7248800), ("2024-01-03", 94.2, 95.9, 93.4, 94.3, 5241400)
        )
    },
    "wrong_wide_bloomberg_px.csv": {
        "wrong_wide_bloomberg_px": closes(("2024-01-02", 95.6), ("2024-01-03", 94.3))
    },
    "wrong_wide_french.csv": {"wrong_wide_french": closes(("2024-01-02", 61.9), ("2024-01-03", 60.4))},
    "wrong_wide_quandl_ice.csv": {
        "wrong_wide_quandl_ice": closes(("2024-01-02", 21.3), ("2024-01-03", 21.45))
    },
    "wrong_wide_quantmod.csv": {
        "AAPL": bars(
            ("2024-01-02", 97.2, 98.4, 93.9, 95.6, 7248800, 94.8),
            ("2024-01-03", 94.2, 95.9, 93.4, 94.3, 5241400, 93.7),
        )
    },
    "wrong_wide_yf_flat_tuples.csv": {
        "TSLA": bars(
            ("2024-01-02", 50.1, 51.2, 44.4, 48.4, 10465400), ("2024-01-03", 45, 45.7, 36.3, 38.5, 12108200)
        )
    },
}


def test_every_shipped_file_is_told() -> None:
    assert set(FILES) == {path.name for path in DATA.iterdir() if path.is_file()}


@pytest.mark.parametrize("name", FILES)
def test_shipped_file(name: str, tmp_path: Path) -> None:
    wanted = FILES[name]
    if isinstance(wanted, str):
        with pytest.raises(PriceFileError, match=wanted):
            import_prices([DATA / name], tmp_path / "m.h5")
        assert not list(tmp_path.iterdir())
    else:
        import_prices([DATA / name], tmp_path / "m.h5")
        require(load(tmp_path / "m.h5"), wanted)


def test_the_refused_file_loads_once_the_mark_is_said(tmp_path: Path) -> None:
    import_prices([DATA / "wrong_dot_thousands.csv"], tmp_path / "m.h5", ImportOptions(decimal=","))
    assert [row["volume"] for _, row in load(tmp_path / "m.h5")["wrong_dot_thousands"]] == [
        120500,
        98750,
        131000,
    ]
    import_prices([DATA / "wrong_dot_thousands.csv"], tmp_path / "m.h5", ImportOptions(decimal="."))
    assert load(tmp_path / "m.h5")["wrong_dot_thousands"][0][1]["close"] == 9.2


def test_one_name_in_two_folders_is_two_symbols(tmp_path: Path) -> None:
    folder = DATA / "wrong_same_name_two_folders"
    import_prices([folder / "AAPL" / "daily.csv", folder / "MSFT" / "daily.csv"], tmp_path / "m.h5")
    require(
        load(tmp_path / "m.h5"),
        {
            "AAPL": closes(("2024-01-02", 185.5), ("2024-01-03", 94.2)),
            "MSFT": closes(("2024-01-02", 370.1), ("2024-01-03", 371.4)),
        },
    )
