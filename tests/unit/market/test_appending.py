"""Adding newer rows and new symbols to a store."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_lstm import cli
from hpc_lstm.errors import InputError, PriceFileError, StoreError
from hpc_lstm.market.appending import AppendSummary, append_prices
from hpc_lstm.market.import_summary import ImportSummary
from hpc_lstm.market.importing import import_prices
from hpc_lstm.market.store import MarketStore

ROWS = {
    "A": [
        ("2024-01-02", 10.0, 5),
        ("2024-01-03", 11.0, 6),
        ("2024-01-04", 12.25, 7),
        ("2024-01-05", 13.0, 8),
    ],
    "B": [("2024-01-03", 1 / 3, 1), ("2024-01-05", 2 / 3, 2)],
    "C": [("2024-01-05", 7.0, 3)],
}


def csv(
    path: Path, rows: dict[str, list[tuple[str, float, int]]], header: str = "date,symbol,close,volume"
) -> str:
    lines = [
        f"{day},{name},{close!r},{volume}"
        for name, all_rows in rows.items()
        for day, close, volume in all_rows
    ]
    path.write_text("\n".join([header, *lines]) + "\n")
    return str(path)


def until(day: str, *symbols: str) -> dict[str, list[tuple[str, float, int]]]:
    return {name: [row for row in ROWS[name] if row[0] <= day] for name in symbols}


def append(store: Path, *files: str) -> ImportSummary | AppendSummary:
    return append_prices(str(store), list(files))


def content(path: Path) -> dict[str, list[tuple[int, list[float]]]]:
    with MarketStore(path) as store:
        return {
            name: [
                (int(date), row.tolist())
                for date, row in zip(store.dates(*part), store.rows(*part), strict=True)
            ]
            for name, part in zip(
                store.symbols, zip(store.offsets, store.offsets[1:], strict=False), strict=False
            )
        }


def test_newer_rows_and_new_symbols_are_added_as_if_all_were_imported_at_once(tmp_path: Path) -> None:
    store, whole = tmp_path / "m.h5", tmp_path / "whole.h5"
    import_prices([csv(tmp_path / "old.csv", until("2024-01-03", "A", "B"))], str(store))
    summary = append(store, csv(tmp_path / "new.csv", ROWS, "date,symbol,close,volume"))
    import_prices([str(tmp_path / "new.csv")], str(whole))
    assert content(store) == content(whole)
    assert isinstance(summary, AppendSummary)
    assert (summary.added, summary.new, summary.same) == ({"A": 2, "B": 1}, {"C": 1}, 3)
    assert f"added to {store}" in summary.table()
    assert not list(tmp_path.glob(".*"))


def test_only_newer_rows_need_to_be_in_the_files(tmp_path: Path) -> None:
    store = tmp_path / "m.h5"
    import_prices([csv(tmp_path / "old.csv", until("2024-01-04", "A"))], str(store))
    append(store, csv(tmp_path / "new.csv", {"A": ROWS["A"][3:]}))
    assert [close for _, (close, _) in content(store)["A"]] == [10.0, 11.0, 12.25, 13.0]


def test_nothing_new_leaves_the_file_alone(tmp_path: Path) -> None:
    store = tmp_path / "m.h5"
    file = csv(tmp_path / "all.csv", ROWS)
    import_prices([file], str(store))
    before = store.read_bytes()
    assert "nothing new" in append(store, file).table()
    assert store.read_bytes() == before


def test_without_a_store_one_is_made(tmp_path: Path) -> None:
    append(tmp_path / "m.h5", csv(tmp_path / "all.csv", ROWS))
    assert list(content(tmp_path / "m.h5")) == ["A", "B", "C"]


@pytest.mark.parametrize(
    ("rows", "header", "says"),
    [
        ({"C": ROWS["C"], "A": [("2024-01-03", 11.5, 6), ("2024-01-05", 13.0, 8)]}, "",
         "A 2024-01-03: close is 11 in the store and 11.5 in the new prices; only newer rows"),
        ({"A": [("2024-01-03", 11.0, 60)]}, "", "A 2024-01-03: volume is 6 in the store and 60"),
        ({"B": [("2024-01-02", 0.5, 6)]}, "", "B 2024-01-02: is not in the store, but later rows are"),
        ({"A": ROWS["A"]}, "date,symbol,close,open", "has the columns close, volume, the new prices have open, close"),
        ({"A": [("2024-01-08 10:00", 1.0, 1)]}, "", "has daily prices, the new ones are intraday"),
    ],
)  # fmt: skip
def test_what_contradicts_the_store_is_refused(
    tmp_path: Path, rows: dict[str, list[tuple[str, float, int]]], header: str, says: str
) -> None:
    store = tmp_path / "m.h5"
    import_prices([csv(tmp_path / "old.csv", until("2024-01-04", "A", "B"))], str(store))
    before = store.read_bytes()
    with pytest.raises(StoreError) as caught:
        append(store, csv(tmp_path / "new.csv", rows, header or "date,symbol,close,volume"))
    assert says in str(caught.value)
    assert str(caught.value).startswith(str(store))
    assert store.read_bytes() == before
    assert not list(tmp_path.glob(".*"))


def test_an_error_of_the_import_names_the_store(tmp_path: Path) -> None:
    store = tmp_path / "m.h5"
    import_prices([csv(tmp_path / "old.csv", ROWS)], str(store))
    (tmp_path / "bad.csv").write_text("date,symbol,close\n2024-01-08,A,-1\n")
    with pytest.raises(InputError) as caught:
        append(store, str(tmp_path / "bad.csv"))
    assert str(caught.value).startswith(f"{store}: no row is left")
    assert not list(tmp_path.glob(".*"))


def test_what_a_fetch_keeps_beside_the_prices_stays(tmp_path: Path) -> None:
    store = tmp_path / "m.h5"
    import_prices([csv(tmp_path / "old.csv", until("2024-01-03", "A", "B"))], str(store))
    with h5py.File(store, "r+") as file:
        for kind in ("splits", "dividends"):
            file[f"{kind}/offsets"] = np.array([0, 1, 1])
            file[f"{kind}/dates"], file[f"{kind}/values"] = np.array([19724]), np.array([2.0])
        file["fetched/starts"], file["fetched/ends"] = np.array([19720, 19720]), np.array([19726, 19726])
        file.create_dataset("fetched/zones", data=["Asia/Tokyo", "UTC"], dtype=h5py.string_dtype())
    append(store, csv(tmp_path / "new.csv", ROWS))
    with MarketStore(store) as found:
        extras = {
            name: list(found.extra(name) if found.extra(name) is not None else [])
            for name in ("splits/offsets", "dividends/values", "fetched/ends", "fetched/zones")
        }
    assert extras == {
        "splits/offsets": [0, 1, 1, 1],
        "dividends/values": [2.0],
        "fetched/ends": [19726, 19726, -1],
        "fetched/zones": ["Asia/Tokyo", "UTC", ""],
    }


def test_the_command_appends(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    store = tmp_path / "m.h5"
    import_prices([csv(tmp_path / "old.csv", until("2024-01-03", "A", "B"))], str(store))
    with pytest.raises(SystemExit) as ended:
        cli.main(["import", "--append", csv(tmp_path / "new.csv", ROWS), "-o", str(store)])
    assert ended.value.code == 0
    assert f"added to {store}" in capfd.readouterr().out
    assert len(content(store)["A"]) == 4


def test_a_missing_value_continues_the_stored_series(tmp_path: Path) -> None:
    """As if all were imported at once; a column that was never known stays so."""
    header = "Date,Open,Close,Volume,Adj Close\n"
    (tmp_path / "A.csv").write_text(header + "2024-01-02,9,10,500,\n2024-01-03,,11,,\n")
    (tmp_path / "all.csv").write_text(
        header + "2024-01-02,9,10,500,\n2024-01-03,,11,,\n2024-01-04,,12,,\n2024-01-05,13,14,,\n"
    )
    store, whole = tmp_path / "m.h5", tmp_path / "whole.h5"
    import_prices([tmp_path / "A.csv"], store)
    (tmp_path / "A.csv").write_text(header + "2024-01-03,,11,,\n2024-01-04,,12,,\n2024-01-05,13,14,,\n")
    summary = append_prices(str(store), [tmp_path / "A.csv"])
    assert isinstance(summary, AppendSummary)
    assert summary.added == {"A": 2}
    import_prices([tmp_path / "all.csv"], whole)
    with MarketStore(store) as one, MarketStore(whole) as other:
        assert one.rows(0, 4).tolist() == other.rows(0, 4).tolist()


def test_check_of_an_append_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "A.csv").write_text("Date,Close\n2024-01-02,10\n")
    store = tmp_path / "m.h5"
    import_prices([tmp_path / "A.csv"], store)
    before = store.read_bytes()
    (tmp_path / "A.csv").write_text("Date,Close\n2024-01-03,11\n")
    summary = append_prices(str(store), [tmp_path / "A.csv"], check=True)
    assert isinstance(summary, AppendSummary)
    assert (summary.added, store.read_bytes()) == ({"A": 1}, before)
    assert "would be added to" in summary.table()
    (tmp_path / "A.csv").write_text("Date,Close\n2024-01-02,11\n")
    with pytest.raises(StoreError, match="close is 10 in the store and 11"):
        append_prices(str(store), [tmp_path / "A.csv"], check=True)


def test_a_symbol_in_another_case_is_asked_about(tmp_path: Path) -> None:
    for name in ("AAPL", "aapl"):
        (tmp_path / f"{name}.csv").write_text("Date,Close\n2024-01-02,10\n")
    import_prices([tmp_path / "AAPL.csv"], tmp_path / "m.h5")
    with pytest.raises(PriceFileError, match="differ only in case"):
        append_prices(str(tmp_path / "m.h5"), [tmp_path / "aapl.csv"])
