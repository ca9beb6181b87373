"""Apache Parquet and Feather (Arrow IPC), read by pyarrow a batch at a time."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hpc_lstm.market.formats.arrow_batch import as_cells, as_texts
from hpc_lstm.market.formats.file_format import OneTableFormat
from hpc_lstm.market.formats.source import SourceFile, unreadable
from hpc_lstm.market.formats.table_file import Columns, TableFile
from hpc_lstm.market.layouts.header import SAMPLE
from hpc_lstm.market.layouts.paired_names import ordered_by_levels
from hpc_lstm.market.reading import TableHead

ROWS = 1 << 16  # that are read at a time


class ArrowFile(TableFile):
    """A table whose columns have types: dates, numbers or texts."""

    @abstractmethod
    def _schema(self) -> Any:
        """The names and types of the columns, as pyarrow has them."""

    @abstractmethod
    def _batches(self, names: list[int] | None) -> Iterator[Any]:
        """Record batches with some columns, by their number in the file; None: with all."""

    def _read_head(self) -> TableHead:
        with self._errors():
            schema = self._schema()
            index = _index_names(schema)
            # pandas writes its index last.
            self._order = sorted(
                range(len(schema.names)), key=lambda number: schema.names[number] not in index
            )
            names = [schema.names[number] for number in self._order]
            rows: list[list[str]] = []
            for batch in self._sound_batches(None):
                parts = [batch.column(number).slice(0, SAMPLE) for number in self._order]
                rows += [
                    [text or "" for text in row]
                    for row in zip(*(as_texts(part).to_pylist() for part in parts), strict=True)
                ]
                if len(rows) >= SAMPLE:
                    break
        names = ["" if name.startswith("__index_level_") else name for name in names]
        return TableHead(ordered_by_levels(names, _level_names(schema)), rows[:SAMPLE], False, "header")

    def _columns(self, texts: bool) -> Iterator[tuple[Columns, int]]:
        numbers = sorted(self._stored)
        with self._errors():
            for batch in self._sound_batches([self._order[number] for number in numbers]):
                yield {number: batch.column(place) for place, number in enumerate(numbers)}, batch.num_rows

    def _sound_batches(self, names: list[int] | None) -> Iterator[Any]:
        """As ``_batches``; pyarrow itself takes lengths and places of texts as they stand in a damaged file."""
        import pyarrow as pa

        for batch in self._batches(names):
            batch.validate(full=True)
            yield pa.RecordBatch.from_arrays(
                [as_cells(column) for column in batch.columns], batch.schema.names
            )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        import pyarrow as pa

        try:
            yield
        except (pa.ArrowException, OSError, ValueError) as error:  # names that are not UTF-8 are a ValueError
            raise unreadable(self.path, error) from None


class ParquetFile(ArrowFile, OneTableFormat):
    """An Apache Parquet file."""

    format_name = "Parquet"

    @classmethod
    def recognizes(cls, source: SourceFile) -> bool:
        """Whether the file begins as Parquet does."""
        return source.head.startswith(b"PAR1")

    def _schema(self) -> Any:
        return self._file().schema_arrow

    def _file(self) -> Any:
        from pyarrow import parquet

        return parquet.ParquetFile(self.source.path if self.source.opener is None else self.source.open())

    def _batches(self, names: list[int] | None) -> Iterator[Any]:
        file = self._file()
        schema = file.schema_arrow
        chosen = None if names is None else [schema.names[number] for number in names]
        for batch in file.iter_batches(ROWS, columns=chosen):
            if names is not None:
                batch = batch.select([schema.names[number] for number in names])
            yield batch


class FeatherFile(ArrowFile, OneTableFormat):
    """A Feather file of version 2, which is an Arrow IPC file."""

    format_name = "Feather"

    @classmethod
    def recognizes(cls, source: SourceFile) -> bool:
        """Whether the file begins as Arrow's files do."""
        return source.head.startswith((b"ARROW1", b"FEA1"))

    def _file(self) -> Any:
        import pyarrow as pa

        return pa.ipc.open_file(
            pa.memory_map(self.path) if self.source.opener is None else self.source.open()
        )

    def _schema(self) -> Any:
        return self._file().schema

    def _batches(self, names: list[int] | None) -> Iterator[Any]:
        file = self._file()
        for number in range(file.num_record_batches):
            batch = file.get_batch(number)
            for start in range(0, batch.num_rows, ROWS):
                part = batch.slice(start, ROWS)
                yield part if names is None else part.select(names)


def _index_names(schema: Any) -> list[str]:
    """Names of the columns that hold the index of a pandas table."""
    return [name for name in _described(schema, "index_columns") if isinstance(name, str)]


def _level_names(schema: Any) -> list[Any]:
    """Names of the levels of the columns of a pandas table."""
    return [level.get("name") for level in _described(schema, "column_indexes") if isinstance(level, dict)]


def _described(schema: Any, what: str) -> list[Any]:
    """A list in what pandas says of its table; empty if it says nothing."""
    metadata = (schema.metadata or {}).get(b"pandas")
    described = json.loads(metadata) if metadata else {}
    found = described.get(what) if isinstance(described, dict) else None
    return found if isinstance(found, list) else []
