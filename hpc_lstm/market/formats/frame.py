"""Tables of pandas: long, wide, and with the columns in levels that yfinance returns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hpc_lstm.errors import PriceFileError
from hpc_lstm.market.formats.arrow_batch import as_cells, as_texts
from hpc_lstm.market.formats.source import SourceFile
from hpc_lstm.market.formats.table_file import Columns, TableFile
from hpc_lstm.market.layouts.header import SAMPLE
from hpc_lstm.market.layouts.paired_names import ordered_by_levels
from hpc_lstm.market.layouts.single import SingleLayout
from hpc_lstm.market.options import ImportOptions
from hpc_lstm.market.reading import TableHead

ROWS = 1 << 16  # that are converted at a time


class FrameFile(TableFile):
    """A pandas ``DataFrame``.

    Args:
        name: that of its symbol, if it says none itself.
        frame: the table; dates may be its index.
        options: how to read it.

    Raises:
        PriceFileError: it is none, or not understood.
    """

    format_name = "pandas"

    def __init__(self, name: str, frame: Any, options: ImportOptions) -> None:
        if not hasattr(frame, "columns") or not hasattr(frame, "index"):
            other = '; make it one: .to_frame("close")' if hasattr(frame, "to_frame") else ""
            raise PriceFileError(f"{name}: is not a pandas table but a {type(frame).__name__}{other}")
        if not frame.size:
            raise PriceFileError(f"{name}: the pandas table is empty")
        self._names, self._series = _flat(frame)
        self._length = len(frame)
        super().__init__(SourceFile(name, False, b"", whole=True, options=options, row_word="row"))
        if isinstance(self.layout, SingleLayout):
            self.layout.name = name
            self.layout.origin = self.layout.origin.replace("the file's name", "the table's name")

    def _read_head(self) -> TableHead:
        columns = [as_texts(self._array(number, 0, SAMPLE)).to_pylist() for number in range(len(self._names))]
        rows = [[text or "" for text in row] for row in zip(*columns, strict=True)]
        whole = self._length <= SAMPLE
        return TableHead(self._names, rows, whole, "header")

    def _columns(self, texts: bool) -> Iterator[tuple[Columns, int]]:
        for start in range(0, self._length, ROWS):
            stop = min(start + ROWS, self._length)
            yield {number: self._array(number, start, stop) for number in self._stored}, stop - start

    def _array(self, number: int, start: int, stop: int) -> Any:
        import pyarrow as pa

        part = self._series[number][start:stop]
        try:
            array = pa.Array.from_pandas(part)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):  # objects of several types
            return pa.array([_text(value) for value in part], pa.string())
        return as_cells(array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array)


def _flat(frame: Any) -> tuple[list[str], list[Any]]:
    """Names and series of a table, its index first if that is no mere count; periods by their beginnings."""
    names: list[str] = []
    series: list[Any] = []
    index = frame.index
    if type(index).__name__ != "RangeIndex":
        for level in range(index.nlevels):
            names.append(str(index.names[level] if index.names[level] is not None else ""))
            series.append(index.get_level_values(level).to_series(index=range(len(frame))))
    for number, label in enumerate(frame.columns):
        names.append(_name(label))
        series.append(frame.iloc[:, number])
    series = [one.dt.to_timestamp() if str(one.dtype).startswith("period[") else one for one in series]
    return ordered_by_levels(names, frame.columns.names), series


def _text(value: Any) -> str | None:
    """A cell as text; of a complex number, which is no price, its type alone. None if it is missing."""
    import pandas

    if pandas.api.types.is_scalar(value) and pandas.isna(value):
        return None
    return "complex" if pandas.api.types.is_complex(value) else str(value)


def _name(label: Any) -> str:
    """A column's name; of two levels, as a pair such as ``('Close', 'AAPL')``."""
    if not isinstance(label, tuple):
        return str(label)
    parts = [str(part) for part in label if str(part)]
    return f"('{parts[0]}', '{parts[1]}')" if len(parts) == 2 else " ".join(parts)
