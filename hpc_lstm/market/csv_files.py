"""Prices from CSV files into a market store.

The files are read as ``csv_columns`` and ``csv_dates`` say, a few megabytes at a time, and their rows spilled to
scratch space beside the output (``spill``), which gives them back symbol by symbol for the rules of ``cleaning``.
So the memory needed does not grow with the files, whatever the order of their rows.

Besides those rules:

    symbols            in the order in which they first appear
    columns            open, high, low, close, volume, adj_close: those that any file has
    daily              every time of day is 0:00, in whatever zone: a row's date is the date as written (unit "D")
    intraday           any other: times are converted to UTC, and taken as UTC if they have no zone (unit "ns");
                       daily and intraday files do not go into one store
    calendars          symbols with different dates keep their own; those that differ from the most frequent
                       set of dates are counted
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hpc_lstm.errors import CsvError
from hpc_lstm.market.cleaning import Counts, Rows, clean, starts
from hpc_lstm.market.csv_columns import COLUMNS, Layout, layout
from hpc_lstm.market.csv_dates import DAY, EXPECTED, NO_ZONE, BadDate, Dates, parse
from hpc_lstm.market.spill import Spill
from hpc_lstm.market.store import Disk, StoreWriter, output_path

MISSING = ("", "NA", "N/A", "#N/A", "nan", "NaN", "NAN", "null", "NULL", "None", "-", "--")
BLOCK = 4 << 20  # bytes of a CSV parsed at once
HEADER = 4 << 20  # bytes within which the header must end
NUMBER = re.compile(r"[ \t]*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?[ \t]*")


@dataclass
class ImportSummary:
    """What an import found and did.

    Attributes:
        output: the store. files: number of files of each layout. columns, symbols, rows: of the store.
        first, last: dates. date_unit: "D" or "ns". rows_read: in the files; a wide file's cell is a row.
        counts: of the cleaning rules. with_zone, without_zone: rows whose time has a zone or, intraday, none.
        without_rows: symbols of which no row was left. other_calendar: symbols whose dates are not those of
            the most frequent set. ignored: headers of columns that were not imported.
    """

    output: str
    files: dict[str, int]
    columns: list[str]
    date_unit: str = "D"
    symbols: int = 0
    rows: int = 0
    rows_read: int = 0
    first: str = ""
    last: str = ""
    counts: Counts = field(default_factory=Counts)
    with_zone: int = 0
    without_zone: int = 0
    without_rows: int = 0
    other_calendar: int = 0
    ignored: list[str] = field(default_factory=list)

    def table(self) -> str:
        """The summary as aligned text."""
        counts, daily = self.counts, self.date_unit == "D"
        layouts = ", ".join(f"{number} {kind}" for kind, number in self.files.items())
        facts = [
            ("files", layouts),
            ("rows read", f"{self.rows_read:,}"),
            ("rows kept", f"{self.rows:,}"),
            ("symbols", f"{self.symbols:,}"),
            ("dates", f"{self.first} to {self.last}, {'daily' if daily else 'intraday, UTC'}"),
            ("columns", ", ".join(self.columns)),
            ("columns ignored", _few(self.ignored) or "none"),
        ]
        zone = "local date kept" if daily else "converted to UTC"
        rules = [
            ("rows without close", counts.without_close, "dropped"),
            ("rows with a zero or negative price", counts.bad_price, "dropped"),
            ("negative volumes", counts.negative_volume, "taken as missing"),
            ("rows out of order", counts.unsorted, "sorted by date"),
            ("rows of a duplicated date", counts.duplicated, "dropped, the last one kept"),
            ("missing values", counts.filled_values, "last known value of the symbol"),
            ("missing values with none before", counts.leading_values, "the row's close; volume 0"),
            ("rows with a time zone", self.with_zone, zone),
            ("times without a zone", self.without_zone, "taken as UTC"),
            ("symbols without a row left", self.without_rows, "left out"),
            ("symbols with dates of their own", self.other_calendar, "kept as they are"),
        ]
        lines = [self.output, *(f"  {name:<34} {value}" for name, value in facts), ""]
        lines.append(f"  {'found':<34} {'count':>12}  done")
        lines += [f"  {name:<34} {count:>12,}  {done}" for name, count, done in rules]
        return "\n".join(lines)


def import_csv(paths: list[str], output: str, *, rows_at_once: int = 1 << 20) -> ImportSummary:
    """Import CSV files, plain or gzipped, into a market store.

    Args:
        paths: of the files; a later file's rows count as later rows.
        output: the store; replaced when the new one is whole.
        rows_at_once: rows held in memory while they are cleaned; a symbol with more rows is held whole.

    Raises:
        CsvError: a file is missing, unreadable, no CSV, lacks a column or has a bad row; or no row is left.
        StoreError: the output cannot be written.
    """
    target = output_path(output)
    sources = [_source(path) for path in paths]
    if not sources:
        raise CsvError("no CSV file is given; name at least one")
    with_values = {name for source in sources for name in source.layout.values} | {"close"}
    columns = [name for name in COLUMNS if name in with_values]
    summary = ImportSummary(output, dict(Counter(source.layout.kind for source in sources)), columns)
    summary.ignored = list(dict.fromkeys(name for source in sources for name in source.layout.ignored))
    with Disk(target), Spill(target.parent, len(columns), rows_at_once) as spill:
        names: dict[str, int] = {}
        intraday = {source.path: _spill(source, columns, names, spill, summary) for source in sources}
        summary.date_unit = _date_unit(intraday)
        said = "CSV: " + _few([Path(path).name for path in paths])
        with StoreWriter(target, columns, said, date_unit=summary.date_unit) as writer:
            _store(spill, writer, list(names), summary)
    return summary


@dataclass(frozen=True)
class _Source:
    """A CSV file whose header has been read."""

    path: str
    layout: Layout
    width: int  # number of columns
    delimiter: str
    header_lines: int  # lines to skip: blank ones and the header
    gzipped: bool

    @property
    def numbers(self) -> list[int]:
        """Numbers of the columns that hold numbers."""
        symbols = (number for number in self.layout.symbols.values() if number is not None)
        return [*self.layout.values.values(), *symbols]

    def open(self) -> Any:
        """The file's bytes."""
        return gzip.open(self.path, "rb") if self.gzipped else open(self.path, "rb")


def _source(path: str) -> _Source:
    if not Path(path).exists():
        raise CsvError(f"{path}: no such file")
    if not Path(path).is_file():
        raise CsvError(f"{path}: is a folder or no regular file; name a CSV file, plain or gzipped")
    try:
        with open(path, "rb") as file:
            gzipped = file.read(2) == b"\x1f\x8b"
        if path.lower().endswith(".gz") and not gzipped and Path(path).stat().st_size:
            raise CsvError(f"{path}: is named .gz but is not gzipped; rename it or compress it again")
        with gzip.open(path, "rb") if gzipped else open(path, "rb") as file:
            head = file.read(HEADER)
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, error) from None
    if b"\0" in head:
        raise CsvError(
            f"{path}: holds binary data, not the text of a CSV; expected UTF-8 text, plain or gzipped"
        )
    blank = 0
    for line in head.splitlines(keepends=True):
        if line.strip(b"\r\n\xef\xbb\xbf"):
            break
        blank += 1
    else:
        raise CsvError(f"{path}: is empty; expected a header with date and close, and rows")
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise CsvError(
            f"{path}: line {blank + 1}: is not UTF-8 text; expected the CSV's header, plain or gzipped"
        ) from None
    delimiter = next((mark for mark in ",;\t" if mark in text), ",")
    header = [name.strip() for name in next(csv.reader([text], delimiter=delimiter))]
    return _Source(path, layout(path, header), len(header), delimiter, blank + 1, gzipped)


def _spill(
    source: _Source, columns: list[str], names: dict[str, int], spill: Spill, summary: ImportSummary
) -> bool:
    """Move a file's rows to scratch space; whether it has times of day."""
    intraday = False
    month_first: str | None = None
    day_above_12 = False
    done = with_zone = 0
    for batch in _batches(source):
        try:
            dates = _dates(batch.column(source.layout.date))
        except BadDate as error:
            raise _bad_row(source, done, error) from None
        for number in source.numbers:
            if np.isinf(_floats(batch, number)).any():
                raise _bad_row(source, done)
        month_first = month_first or dates.month_first
        day_above_12 = day_above_12 or dates.day_above_12
        intraday = intraday or bool((dates.wall % DAY != 0).any())
        if source.layout.kind == "wide":
            summary.rows_read += batch.num_rows * len(source.layout.symbols)
            _spill_wide(source.layout, batch, dates, columns, names, spill, summary)
        else:
            summary.rows_read += batch.num_rows
            symbols = _symbols(source, batch, names, done)
            _spill_long(source.layout, batch, dates, symbols, columns, spill)
        with_zone += int((dates.zone != NO_ZONE).sum())
        done += batch.num_rows
    if not done:
        raise CsvError(f"{source.path}: has a header but no rows")
    if month_first is not None and not day_above_12:
        ambiguous = BadDate(
            month_first, "YYYY-MM-DD, since no date of the file tells month/day from day/month"
        )
        raise _bad_row(source, 0, ambiguous)
    summary.with_zone += with_zone
    if intraday:
        summary.without_zone += done - with_zone
    return intraday


def _batches(source: _Source) -> Iterator[_Batch]:
    """The file's rows, only the columns needed: float64 numbers, dates and symbols as distinct texts and codes."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    types: dict[int, Any] = {source.layout.date: pa.dictionary(pa.int32(), pa.string())}
    if source.layout.symbol is not None:
        types[source.layout.symbol] = pa.dictionary(pa.int32(), pa.string())
    types |= dict.fromkeys(source.numbers, pa.float64())
    read = arrow_csv.ReadOptions(
        column_names=[str(number) for number in range(source.width)],
        skip_rows=source.header_lines,
        block_size=BLOCK,
    )
    convert = arrow_csv.ConvertOptions(
        include_columns=[str(number) for number in sorted(types)],
        column_types={str(number): kind for number, kind in types.items()},
        null_values=list(MISSING),
        strings_can_be_null=False,  # "NA" and "NAN" are symbols
    )
    parsing = arrow_csv.ParseOptions(delimiter=source.delimiter)
    done = 0
    try:
        with pa.input_stream(source.path, compression="gzip" if source.gzipped else None) as stream:
            for batch in arrow_csv.open_csv(stream, read, parsing, convert):
                yield _Batch(batch, sorted(types))
                done += batch.num_rows
    except pa.ArrowInvalid as error:
        raise _bad_row(source, done, fallback=str(error)) from None
    except OSError as error:
        raise _unreadable(source.path, error) from None


class _Batch:
    """A record batch whose columns are found by their number in the file."""

    def __init__(self, batch: Any, numbers: list[int]) -> None:
        self._columns = {number: batch.column(place) for place, number in enumerate(numbers)}
        self.num_rows: int = batch.num_rows

    def column(self, number: int) -> Any:
        return self._columns[number]


def _floats(batch: _Batch, number: int) -> np.ndarray:
    return np.asarray(batch.column(number).to_numpy(zero_copy_only=False))


def _dates(column: Any) -> Dates:
    """Dates of a column, each distinct text parsed once."""
    distinct, codes = parse(column.dictionary), column.indices.to_numpy()
    return Dates(distinct.wall[codes], distinct.zone[codes], distinct.month_first, distinct.day_above_12)


def _symbols(source: _Source, batch: _Batch, names: dict[str, int], done: int) -> np.ndarray:
    """Symbol numbers of a batch's rows; new names are added."""
    if source.layout.symbol is None:
        (name,) = source.layout.symbols
        return np.full(batch.num_rows, names.setdefault(name, len(names)), np.int32)
    column = batch.column(source.layout.symbol)
    found = [name.strip() for name in column.dictionary.to_pylist()]
    if "" in found:
        raise _bad_row(source, done)
    numbers = np.array([names.setdefault(name, len(names)) for name in found], np.int32)
    return numbers[column.indices.to_numpy()]


def _spill_long(
    layout: Layout, batch: _Batch, dates: Dates, symbols: np.ndarray, columns: list[str], spill: Spill
) -> None:
    values = np.full((batch.num_rows, len(columns)), np.nan)
    for place, name in enumerate(columns):
        if name in layout.values:
            values[:, place] = _floats(batch, layout.values[name])
    spill.append(symbols, dates.zone, dates.wall, values)


def _spill_wide(
    layout: Layout,
    batch: _Batch,
    dates: Dates,
    columns: list[str],
    names: dict[str, int],
    spill: Spill,
    summary: ImportSummary,
) -> None:
    closes = np.stack([_floats(batch, number) for number in layout.symbols.values() if number is not None])
    symbols, days = np.nonzero(~np.isnan(closes))
    summary.counts.without_close += closes.size - len(days)
    values = np.full((len(days), len(columns)), np.nan)
    values[:, columns.index("close")] = closes[symbols, days]
    numbers = np.array([names.setdefault(name, len(names)) for name in layout.symbols], np.int32)
    spill.append(numbers[symbols], dates.zone[days], dates.wall[days], values)


def _date_unit(intraday: dict[str, bool]) -> str:
    if len(set(intraday.values())) == 2:
        times = next(path for path, has_times in intraday.items() if has_times)
        daily = next(path for path, has_times in intraday.items() if not has_times)
        raise CsvError(f"{times}: has times of day but {daily} has none; import them into two stores")
    return "ns" if any(intraday.values()) else "D"


def _store(spill: Spill, writer: StoreWriter, names: list[str], summary: ImportSummary) -> None:
    calendars: Counter[tuple[int, int]] = Counter()
    first, last = np.iinfo(np.int64).max, np.iinfo(np.int64).min
    for records in spill.groups():
        wall, zone = records["wall"], records["zone"]
        if summary.date_unit == "D":
            date = wall // DAY
        else:
            date = wall - np.where(zone == NO_ZONE, 0, zone).astype(np.int64) * 1_000_000_000
        raw = Rows(records["symbol"].copy(), date, records["values"].copy())
        del records
        rows = clean(raw, summary.columns, summary.counts)
        begins = starts(rows.symbol)
        stops = np.append(begins, len(rows.symbol))[1:]
        for begin, stop in zip(begins.tolist(), stops.tolist(), strict=True):
            dates = rows.date[begin:stop]
            writer.append(names[rows.symbol[begin]], dates, rows.values[begin:stop])
            calendars[stop - begin, zlib.crc32(dates.tobytes())] += 1
        if len(rows.date):
            first, last = min(first, int(rows.date.min())), max(last, int(rows.date.max()))
        summary.rows += len(rows.date)
    summary.symbols = sum(calendars.values())
    summary.without_rows = len(names) - summary.symbols
    if not summary.rows:
        counts = ", ".join(f"{name} {count}" for name, count in asdict(summary.counts).items() if count)
        raise CsvError(
            f"{summary.output}: no row is left of {summary.rows_read:,} read ({counts}); nothing written"
        )
    summary.other_calendar = summary.symbols - calendars.most_common(1)[0][1]
    summary.first, summary.last = (
        str(np.array(date).astype(f"datetime64[{summary.date_unit}]")).removesuffix(".000000000")
        for date in (first, last)
    )


def _bad_row(source: _Source, done: int, date: BadDate | None = None, fallback: str = "") -> CsvError:
    """The error of the first bad row after ``done`` good ones, found by reading the file again, slowly."""
    try:
        with io.TextIOWrapper(source.open(), "utf-8-sig", errors="replace", newline="") as file:
            for _ in range(source.header_lines):
                file.readline()
            reader = csv.reader(file, delimiter=source.delimiter)
            seen = 0
            for row in reader:
                if not row:
                    continue
                seen += 1
                trouble = _trouble(source, row, date) if seen > done else None
                if trouble:
                    return CsvError(f"{source.path}: line {source.header_lines + reader.line_num}: {trouble}")
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        return _unreadable(source.path, error)
    what = " ".join((fallback or "a row cannot be read").split())[:160]
    return CsvError(f"{source.path}: {what}; expected {source.width} columns, as in the header")


def _trouble(source: _Source, row: list[str], date: BadDate | None) -> str | None:
    """What is wrong with a row."""
    if len(row) != source.width:
        return f"found {len(row)} columns, expected {source.width} as in the header"
    if any("\N{REPLACEMENT CHARACTER}" in text for text in row):
        return "found bytes that are not UTF-8, expected UTF-8 text"
    when = row[source.layout.date]
    if not when.strip():
        return f"found no date, expected {EXPECTED}"
    if date is not None and when == date.text:
        return f'found the date "{_shown(when)}", expected {date.expected}'
    if source.layout.symbol is not None and not row[source.layout.symbol].strip():
        return "found no symbol, expected one in each row"
    for number in source.numbers:
        text = row[number]
        if (
            text == ""
            or text.strip(" \t") in MISSING[1:]
            or (NUMBER.fullmatch(text) and np.isfinite(float(text)))
        ):
            continue
        return f'found "{_shown(text)}" in column {number + 1}, expected a finite number such as 1234.5 or nothing'
    return None


def _shown(text: str) -> str:
    """The begin of a field, on one line."""
    return text[:40].replace("\n", "\\n").replace("\r", "\\r")


def _unreadable(path: str, error: BaseException) -> CsvError:
    if isinstance(error, PermissionError):
        return CsvError(f"{path}: no permission to read it")
    reason = " ".join(str(error).split())[:120]
    return CsvError(f"{path}: cannot be read: {reason}; the file is damaged or cut short, copy it again")


def _few(names: list[str], at_most: int = 8) -> str:
    more = f" and {len(names) - at_most} more" if len(names) > at_most else ""
    return ", ".join(names[:at_most]) + more
