"""Prices from files into a market store.

A format (``formats``) reads each file a few megabytes at a time, as its layout (``layouts``) says, and the prices are
moved to scratch space beside the output (``spill``), which returns them symbol by symbol to be cleaned (``cleaning``).
So the memory needed does not grow with the files, whatever the order of their rows.

In addition to the rules of ``cleaning``:

    symbols            in the order in which they first appear
    columns            open, high, low, close, volume, adj_close: those that any file has
    daily              no symbol has two rows on a day, as ``daily`` says: a row's date is its local one (unit "D")
    intraday           any other: times are converted to UTC, and taken as UTC if they have no zone (unit "ns");
                       daily and intraday files do not go into the same store
    calendars          symbols with different dates keep their own; those that differ from the most frequent
                       set of dates are counted
"""

from __future__ import annotations

import tempfile
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hpc_lstm.errors import PriceFileError
from hpc_lstm.market.cleaning import DifferingRows, PriceRows, clean_rows, symbol_starts
from hpc_lstm.market.daily import Calendar, find_calendar
from hpc_lstm.market.dates import DAY, NO_ZONE, offsets_of_zone
from hpc_lstm.market.differing import differing_rows
from hpc_lstm.market.formats.frame import FrameFile
from hpc_lstm.market.formats.price_file import PriceFile, Reread
from hpc_lstm.market.formats.registry import open_price_files
from hpc_lstm.market.import_summary import ImportSummary, shortened_list
from hpc_lstm.market.layouts.header import COLUMNS
from hpc_lstm.market.layouts.single import SingleLayout
from hpc_lstm.market.options import ImportOptions
from hpc_lstm.market.spill import Spill
from hpc_lstm.market.store import StoreWriter, output_path, write_errors
from hpc_lstm.market.symbol_names import name_by_folders


def _require_replaceable(output: Path) -> None:
    """Refuse to write a store over what is none, such as one of the files of prices."""
    if output.is_file() and output.stat().st_size and not h5py.is_hdf5(output):
        raise PriceFileError(
            f"{output}: is no market store, and would be replaced by one; give another name after -o"
        )


def import_prices(
    sources: Sequence[str | Path] | Mapping[str, Any] | Any,
    output: str | Path,
    options: ImportOptions | None = None,
    *,
    rows_at_once: int = 1 << 20,
) -> ImportSummary:
    """Import prices into a market store.

    Args:
        sources: paths of files; a later file's rows count as later rows. Or tables of pandas by name: one that has no
            column for the symbol and no symbols in the names of its columns is that of the symbol so named. Or one
            table of pandas that says its symbols itself.
        output: the store; replaced when the new one is complete.
        options: how to read the files; None: they say it all themselves.
        rows_at_once: rows held in memory while they are cleaned; a symbol with more rows is held whole.

    Raises:
        PriceFileError: a file is missing, unreadable, of no known format, lacks a column, may be read in two ways or
            has a bad row; rows of one symbol and time differ; or no row is left.
        StoreError: the output cannot be written.
    """
    target = output_path(output)
    _require_replaceable(Path(output))
    options = options or ImportOptions()
    files: list[PriceFile]
    if hasattr(sources, "columns"):
        files = [_lone_frame(sources, options)]
    elif isinstance(sources, Mapping):
        files = [FrameFile(name, frame, options) for name, frame in sources.items()]
    else:
        files = [file for path in sources for file in open_price_files(str(path), options)]
    if not files:
        raise PriceFileError("no file of prices is given; name at least one")
    name_by_folders(files)
    return _import_files(files, str(output), target, options, rows_at_once)


def _lone_frame(frame: Any, options: ImportOptions) -> PriceFile:
    """A table of pandas without a name, which must say its symbols itself."""
    file = FrameFile("table", frame, options)
    if isinstance(file.layout, SingleLayout):
        raise PriceFileError('the table says no symbol; name it: import_prices({"AAPL": table}, ...)')
    return file


def check_prices(sources: Sequence[str | Path], options: ImportOptions | None = None) -> ImportSummary:
    """Read files of prices as an import does, check every row, and keep nothing; arguments as ``import_prices``."""
    with tempfile.TemporaryDirectory() as folder:
        summary = import_prices(sources, Path(folder) / "check", options)
    summary.output = "nothing written (--check)"
    return summary


def _import_files(
    files: list[PriceFile], output: str, target: Path, options: ImportOptions, rows_at_once: int
) -> ImportSummary:
    present = {name for file in files for name in file.layout.columns}
    columns = [name for name in COLUMNS if name in present]
    summary = ImportSummary(output, dict(Counter(file.layout.kind for file in files)), columns)
    summary.ignored = list(dict.fromkeys(name for file in files for name in file.layout.ignored))
    summary.timezone = options.timezone
    with write_errors(target), Spill(target.parent, len(columns), rows_at_once) as spill:
        symbols: dict[str, int] = {}
        intraday = {file.path: _spill_prices(file, symbols, spill, summary) for file in files}
        for file in files:  # what is said of a file may depend on all of it
            summary.understood.setdefault(file.understood(), []).append(Path(file.path).name)
            summary.left_out += [f"{text} of {Path(file.path).name}" for text in file.left_out]
        calendar = Calendar("D", options.timezone)
        if any(intraday.values()):
            calendar = find_calendar(spill.groups(), options.timezone, _few(files))
        if calendar.unit == "ns":
            _require_times(intraday)
        summary.date_unit = calendar.unit
        try:
            with StoreWriter(target, columns, _origin(files), date_unit=calendar.unit) as writer:
                _write_symbols(spill, writer, list(symbols), summary, calendar, options)
        except DifferingRows as rows:
            name = list(symbols)[rows.symbol]
            raise differing_rows(files, columns, name, rows.date, calendar) from None
    return summary


def _few(files: list[PriceFile]) -> str:
    """The file, or the first of several."""
    return files[0].path if len(files) == 1 else f"{files[0].path} and {len(files) - 1} more"


def _origin(files: list[PriceFile]) -> str:
    """Where the prices come from: formats and names of files."""
    formats = dict.fromkeys(file.format_name for file in files)
    return "; ".join(
        f"{name}: " + shortened_list([Path(file.path).name for file in files if file.format_name == name])
        for name in formats
    )


@dataclass
class _FileCounts:
    """What was found in a file."""

    rows: int = 0
    cells: int = 0
    without_close: int = 0
    other_series: int = 0
    with_zone: int = 0
    times_of_day: bool = False


def _spill_prices(file: PriceFile, symbols: dict[str, int], spill: Spill, summary: ImportSummary) -> bool:
    """Move a file's prices to scratch space, add its symbols; return whether it has times of day."""
    mark, known = spill.mark(), len(symbols)
    while True:
        try:
            found = _spill_batches(file, symbols, spill, summary)
            break
        except Reread:  # how it is written shows late; once or twice a file at most
            spill.go_back(mark)
            for name in list(symbols)[known:]:
                del symbols[name]
    summary.rows_read += found.cells
    summary.other_series += found.other_series
    summary.counts.without_close += found.without_close
    summary.with_zone += found.with_zone
    if found.times_of_day:
        summary.without_zone += found.rows - found.with_zone
    return found.times_of_day


def _spill_batches(
    file: PriceFile, symbols: dict[str, int], spill: Spill, summary: ImportSummary
) -> _FileCounts:
    found = _FileCounts()
    for batch in file.batches(summary.columns):
        dates, zone = batch.dates, batch.dates.zone
        found.times_of_day = found.times_of_day or bool((dates.wall % DAY != 0).any())
        found.with_zone += int((zone != NO_ZONE).sum())
        found.rows += len(dates.wall)
        if summary.timezone is not None:
            zone = np.where(zone == NO_ZONE, offsets_of_zone(dates.wall, summary.timezone), zone).astype(
                np.int32
            )
        numbers = np.array([symbols.setdefault(name, len(symbols)) for name in batch.symbols], np.int32)
        spill.append(numbers[batch.symbol], zone[batch.row], dates.wall[batch.row], batch.values)
        found.cells += batch.cells
        found.other_series += batch.other_series
        found.without_close += batch.cells - len(batch.values)
    return found


def _require_times(times_of_day: dict[str, bool]) -> None:
    """Refuse files without times of day beside files with prices of several times a day."""
    if len(set(times_of_day.values())) == 2:
        times = next(path for path, has_times in times_of_day.items() if has_times)
        daily = next(path for path, has_times in times_of_day.items() if not has_times)
        raise PriceFileError(f"{times}: has times of day but {daily} has none; import them into two stores")


def _write_symbols(
    spill: Spill,
    writer: StoreWriter,
    names: list[str],
    summary: ImportSummary,
    calendar: Calendar,
    options: ImportOptions,
) -> None:
    """Clean the prices of all symbols and write them to the store."""
    calendars: Counter[tuple[int, int]] = Counter()
    first, last = np.iinfo(np.int64).max, np.iinfo(np.int64).min
    for records in spill.groups():
        date = calendar.dates(records["wall"], records["zone"])
        raw = PriceRows(records["symbol"].copy(), date, records["values"].copy())
        del records  # memory: cleaning copies
        rows = clean_rows(
            raw,
            summary.columns,
            summary.counts,
            allow_negative=options.allow_negative,
            keep_last=options.keep_last,
        )

        # Calendars are compared by their length and checksum, as keeping all of them would take too much memory.
        begins = symbol_starts(rows.symbol)
        stops = np.append(begins, len(rows.symbol))[1:]
        for begin, stop in zip(begins.tolist(), stops.tolist(), strict=True):
            dates = rows.date[begin:stop]
            if not summary.example:
                name = names[rows.symbol[begin]]
                summary.example = _example(name, rows, begin, stop, calendar.unit)
            writer.append(names[rows.symbol[begin]], dates, rows.values[begin:stop])
            calendars[stop - begin, zlib.crc32(dates.tobytes())] += 1
        if len(rows.date):
            first, last = min(first, int(rows.date.min())), max(last, int(rows.date.max()))
        summary.rows += len(rows.date)
    summary.symbols = sum(calendars.values())
    summary.without_rows = len(names) - summary.symbols
    if not summary.rows:
        counts = ", ".join(f"{name} {count}" for name, count in asdict(summary.counts).items() if count)
        raise PriceFileError(
            f"{summary.output}: no row is left of {summary.rows_read:,} read ({counts}); nothing written"
        )
    summary.other_calendar = summary.symbols - calendars.most_common(1)[0][1]
    summary.first, summary.last = (_shown(date, calendar.unit) for date in (first, last))


def _shown(date: int, unit: str) -> str:
    return str(np.array(date).astype(f"datetime64[{unit}]")).removesuffix(".000000000")


def _example(name: str, rows: PriceRows, begin: int, stop: int, unit: str) -> list[str]:
    """The first and the last row of a symbol, for people."""
    return [
        f"{name} {_shown(int(rows.date[row]), unit)}: "
        + ", ".join(f"{value:.10g}" for value in rows.values[row])
        for row in (begin, stop - 1)
    ]
