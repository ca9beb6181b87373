"""Rows of a table as columns of Arrow: their numbers, texts and dates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hpc_lstm.market.dates import (
    DAY,
    FIRST_DAY,
    LAST_DAY,
    NO_ZONE,
    BadDate,
    Dates,
    joined_parts,
    local_times,
    parse_dates,
)
from hpc_lstm.market.layouts.layout import Layout
from hpc_lstm.market.reading import Reading

_RANGE = "a date between 1678 and 2261"


class BadNumber(ValueError):
    """A cell is no number.

    Attributes:
        row: in the batch.
    """

    def __init__(self, row: int) -> None:
        super().__init__(row)
        self.row = row


class ArrowBatch:
    """Some rows of a table, columns by their number in the file.

    Args:
        columns: pyarrow arrays of equal length.
        num_rows: of each.
        reading: how texts are read.
    """

    def __init__(self, columns: Mapping[int, Any], num_rows: int, reading: Reading) -> None:
        self._columns, self.num_rows, self._reading = columns, num_rows, reading

    def floats(self, number: int) -> np.ndarray:
        """A column's numbers, float64, NaN where missing.

        Raises:
            BadNumber: a cell is none, or infinite.
        """
        import pyarrow as pa

        column = self._columns[number]
        if is_text(column):
            values, bad = self._reading.numbers[number].parse(as_texts(column))
        else:
            values = np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
            bad = np.isinf(values)
        bad |= np.isinf(values)
        if bad.any():
            raise BadNumber(int(np.argmax(bad)))
        return values

    def texts(self, number: int) -> tuple[list[str], np.ndarray]:
        """A column's distinct texts, and for each row the index of its own."""
        column = as_dictionary(self._columns[number])
        return column.dictionary.to_pylist(), column.indices.to_numpy()

    def dates(self, layout: Layout) -> Dates:
        """The dates, with the times of day of another column; each distinct text is parsed once.

        Raises:
            BadDate: a text is no date.
        """
        import pyarrow as pa

        column = self._columns[layout.date]
        if layout.date_parts:
            column = _joined_parts([column, *(self._columns[number] for number in layout.date_parts)])
        if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
            return _typed_dates(column)
        column = as_dictionary(
            column if layout.time is None else _joined(column, self._columns[layout.time], self._reading)
        )
        distinct, codes = parse_dates(column.dictionary, self._reading.dates), column.indices.to_numpy()
        return distinct.take(codes)


def is_text(column: Any) -> bool:
    """Whether a pyarrow array holds texts."""
    import pyarrow as pa

    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def as_dictionary(column: Any) -> Any:
    """The column as a dictionary of texts; "" where it is null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type) and is_text(column) and not column.null_count:
        return column
    return pc.fill_null(as_texts(column), "").dictionary_encode()


def as_cells(column: Any) -> Any:
    """The column; the name of its type in each cell where that is none of a number, date or text: lists, intervals."""
    import pyarrow as pa

    if isinstance(column.type, pa.BaseExtensionType):
        column = column.storage
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        try:
            return column.cast(pa.string())
        except pa.ArrowInvalid:
            pass
    elif not pa.types.is_nested(kind) and not isinstance(kind, pa.BaseExtensionType):
        return column
    name = str(column.type)
    return pa.array([name if filled else None for filled in column.is_valid().to_pylist()], pa.string())


def as_texts(column: Any) -> Any:
    """The column as a pyarrow array of strings: whole numbers without a decimal point."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_floating(column.type):
        return pc.replace_substring_regex(column.cast(pa.string()), r"\.0$", "")
    return column.cast(pa.string())


def _joined_parts(columns: list[Any]) -> Any:
    """Year, month and day as one text."""
    import pyarrow as pa

    rows = list(zip(*(as_texts(column).fill_null("").to_pylist() for column in columns), strict=True))
    joined = {row: joined_parts([text.strip() for text in row]) for row in set(rows)}
    return pa.array([joined[row] for row in rows], pa.string())


def _joined(date: Any, time: Any, reading: Reading) -> Any:
    """Date and time of day as one text."""
    import pyarrow.compute as pc

    times = pc.utf8_trim_whitespace(pc.fill_null(as_texts(time), ""))
    if digits := reading.dates.time_digits:
        times = pc.utf8_lpad(times, width=digits, padding="0")
        times = pc.replace_substring_regex(times, r"^(\d\d)(\d\d)(\d\d)?$", r"\1:\2:\3")
        times = pc.replace_substring_regex(times, ":$", "")
    dates = pc.utf8_trim_whitespace(pc.fill_null(as_texts(date), ""))
    return pc.utf8_rtrim_whitespace(pc.binary_join_element_wise(dates, times, " "))


def _typed_dates(column: Any) -> Dates:
    """Dates of a column of dates or timestamps."""
    import pyarrow as pa

    if pa.types.is_date(column.type):
        days = _whole(column.cast(pa.date32()).cast(pa.int32()))
        _require_days(days, column)
        return Dates(days * DAY, np.full(len(column), NO_ZONE, np.int32))
    zone_name = column.type.tz
    seconds = _whole(column.cast(pa.timestamp("s", zone_name), safe=False).cast(pa.int64()))
    _require_days(seconds // 86_400, column)
    instants = _whole(column.cast(pa.timestamp("ns", zone_name)).cast(pa.int64()))
    if zone_name is None:
        return Dates(instants, np.full(len(column), NO_ZONE, np.int32))
    wall = local_times(instants, zone_name)
    return Dates(wall, ((wall - instants) // 1_000_000_000).astype(np.int32))


def _require_days(days: np.ndarray, column: Any) -> None:
    """Refuse the first date that nanoseconds cannot hold."""
    outside = np.flatnonzero((days < FIRST_DAY) | (days >= LAST_DAY))
    if len(outside):
        raise BadDate(as_texts(column)[int(outside[0])].as_py(), _RANGE)


def _whole(column: Any) -> np.ndarray:
    if column.null_count:
        raise BadDate("")
    return np.asarray(column.to_numpy(zero_copy_only=False)).astype(np.int64)
