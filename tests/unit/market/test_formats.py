"""A new format of price files takes one class and one line in the registry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hpc_lstm.errors import PriceFileError
from hpc_lstm.market.dates import DAY, NO_ZONE, Dates
from hpc_lstm.market.formats import registry
from hpc_lstm.market.formats.file_format import OneTableFormat
from hpc_lstm.market.formats.source import SourceFile
from hpc_lstm.market.importing import import_prices
from hpc_lstm.market.layouts.layout import PriceBatch
from hpc_lstm.market.layouts.registry import choose_layout
from hpc_lstm.market.layouts.single import symbol_of_file
from hpc_lstm.market.store import MarketStore


@pytest.mark.parametrize(
    "suffix", [".csv", ".TXT", ".csv.gz", ".dat.gzip", ".zip", ".xls", ".parq", ".ftr", ""]
)
def test_a_file_names_its_symbol_without_its_suffix(suffix: str) -> None:
    assert symbol_of_file(f"data/BRK.B{suffix}") == "BRK.B"


class JsonBatch:
    """Rows of a JSON file."""

    def __init__(self, rows: list[list[float | str]]) -> None:
        self.rows, self.num_rows = rows, len(rows)

    def floats(self, number: int) -> np.ndarray:
        return np.array([row[number] for row in self.rows], np.float64)

    def texts(self, number: int) -> tuple[list[str], np.ndarray]:
        distinct, codes = np.unique([str(row[number]) for row in self.rows], return_inverse=True)
        return distinct.tolist(), codes


class JsonFile(OneTableFormat):
    """A list of lists, the first of which is the header; dates are days since 1970-01-01."""

    format_name = "JSON"

    @classmethod
    def recognizes(cls, source: SourceFile) -> bool:
        return source.head.startswith(b"[[")

    def __init__(self, source: SourceFile) -> None:
        self.path = source.path
        with source.open() as file:
            header, *self._rows = json.load(file)
        self.layout = choose_layout(source.path, header)

    def batches(self, columns: list[str]) -> Iterator[PriceBatch]:
        for row in self._rows:
            batch = JsonBatch([row])
            days = batch.floats(self.layout.date).astype(np.int64)
            dates = Dates(days * DAY, np.full(1, NO_ZONE, np.int32))
            yield self.layout.prices(batch, dates, columns)


def test_another_format_is_recognized_and_shares_the_layouts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "FORMATS", (JsonFile, *registry.FORMATS))
    tables = {
        "long.json": [["date", "symbol", "close"], [1, "B", 2.0], [0, "B", 1.0], [0, "A", 5.0]],
        "wide.json": [["date", "C"], [0, 7.0]],
    }
    for name, rows in tables.items():
        (tmp_path / name).write_text(json.dumps(rows))
    (tmp_path / "D.csv").write_text("date,close,volume\n1970-01-01,8,100\n")
    paths = [str(tmp_path / name) for name in (*tables, "D.csv")]
    summary = import_prices(paths, str(tmp_path / "m.h5"))
    assert summary.files == {"long": 1, "wide": 1, "single": 1}
    with MarketStore(tmp_path / "m.h5") as store:
        assert store.symbols == ["B", "A", "C", "D"]
        assert store.columns == ["close", "volume"]
        assert store.rows(0, 5).tolist() == [[1, 0], [2, 0], [5, 0], [7, 0], [8, 100]]
        assert store.attributes["source"] == "JSON: long.json, wide.json; CSV: D.csv"


@pytest.mark.parametrize(
    ("names", "kind", "columns"),
    [
        (["Date", "Ticker", "Close"], "long", ("close",)),
        (
            ["Date", "Open", "High", "Low", "Close*", "Adj. Close**"],
            "single",
            ("open", "high", "low", "close", "adj_close"),
        ),
        (["Date", "AAPL", "MSFT"], "wide", ("close",)),
        (["", "AAPL"], "wide", ("close",)),
    ],
)
def test_layouts_are_chosen_by_the_header(names: list[str], kind: str, columns: tuple[str, ...]) -> None:
    layout = choose_layout("prices.csv", names)
    assert (layout.kind, layout.columns) == (kind, columns)


@pytest.mark.parametrize("names", [["AAPL", "MSFT"], ["date"], ["date", ""]])
def test_a_header_that_fits_no_layout_is_refused(names: list[str]) -> None:
    with pytest.raises(PriceFileError, match="no close column"):
        choose_layout("prices.csv", names)
