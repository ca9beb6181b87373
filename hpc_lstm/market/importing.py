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

import os
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpc_lstm.errors import PriceFileError
from hpc_lstm.files import checked_path
from hpc_lstm.market.cleaning import DifferingRows, PriceRows, clean_rows, symbol_starts
from hpc_lstm.market.daily import Calendar, find_calendar
from hpc_lstm.market.dates import DAY, NO_ZONE, SkippedTime, doubled_times, with_zone
from hpc_lstm.market.differing import differing_rows
from hpc_lstm.market.formats.frame import FrameFile
from hpc_lstm.market.formats.price_file import PriceFile, Reread
from hpc_lstm.market.formats.registry import open_price_files
from hpc_lstm.market.import_summary import ImportSummary, shortened_list
from hpc_lstm.market.instruments import Instruments
from hpc_lstm.market.last_known import LastKnown
from hpc_lstm.market.layouts.header import COLUMNS
from hpc_lstm.market.layouts.single import SingleLayout
from hpc_lstm.market.options import ImportOptions
from hpc_lstm.market.replacing import require_replaceable
from hpc_lstm.market.spill import Spill
from hpc_lstm.market.split_jumps import find_split_jumps
from hpc_lstm.market.store import MarketStore
from hpc_lstm.market.store_writer import StoreWriter, output_path, write_errors
from hpc_lstm.market.symbol_names import name_by_folders, require_distinct

ROWS_AT_ONCE = 1 << 20  # held in memory while they are cleaned


def import_prices(
    sources: Sequence[str | Path] | Mapping[str, Any] | Any,
    output: str | Path,
    options: ImportOptions | None = None,
    *,
    continued: MarketStore | None = None,
    rows_at_once: int = ROWS_AT_ONCE,
) -> ImportSummary:
    """Import prices into a market store.

    Args:
        sources: paths of files; a later file's rows count as later rows. Or tables of pandas by name: one that has no
            column for the symbol and no symbols in the names of its columns is that of the symbol so named. Or one
            table of pandas that says its symbols itself.
        output: the store; replaced when the new one is complete.
        options: how to read the files; None: they say it all themselves.
        continued: a store that the prices will be added to: values that a symbol's first rows lack are its last known
            ones there.
        rows_at_once: rows held in memory while they are cleaned; a symbol with more rows is held whole.

    Raises:
        PriceFileError: a file is missing, unreadable, of no known format, lacks a column, may be read in two ways or
            has a bad row; rows of one symbol and time differ; or no row is left.
        StoreError: the output cannot be written, or is another file.
    """
    require_replaceable(checked_path(str(output)))
    options = options or ImportOptions()
    files = _opened(sources, options)
    return _import_files(files, str(output), output_path(output), options, rows_at_once, continued)


def _opened(
    sources: Sequence[str | Path] | Mapping[str, Any] | Any, options: ImportOptions
) -> list[PriceFile]:
    files: list[PriceFile]
    if hasattr(sources, "columns"):
        files = [_lone_frame(sources, options)]
    elif isinstance(sources, Mapping):
        files = [FrameFile(str(name), frame, options) for name, frame in sources.items()]
    else:
        files = [file for path in _paths(sources) for file in open_price_files(path, options)]
    if not files:
        raise PriceFileError("no file of prices is given; name at least one")
    name_by_folders(files)
    return files


def _paths(sources: Any) -> list[str]:
    """The paths of files; anything else is refused."""
    several = isinstance(sources, Iterable) and not isinstance(sources, (str, bytes))
    paths = list(sources) if several else [sources]
    for path in paths:
        if not isinstance(path, (str, os.PathLike)):
            kind = type(sources).__name__ + (f" of {type(path).__name__}" if several else "")
            raise PriceFileError(
                'prices must be paths of files, a table of pandas, or tables by symbol, as {"AAPL": table}; '
                f"got {kind}"
            )
    return [str(path) for path in paths]


def _lone_frame(frame: Any, options: ImportOptions) -> PriceFile:
    """A table of pandas without a name, which must say its symbols itself."""
    file = FrameFile("table", frame, options)
    if isinstance(file.layout, SingleLayout):
        raise PriceFileError('the table names no symbol; name it: read_prices({"AAPL": table}, ...)')
    return file


def check_prices(sources: Sequence[str | Path], options: ImportOptions | None = None) -> ImportSummary:
    """Read files of prices as an import does, check every row, and keep nothing; arguments as ``import_prices``."""
    options = options or ImportOptions()
    with tempfile.TemporaryDirectory() as folder:
        return _import_files(_opened(sources, options), None, Path(folder) / "check", options)


def _import_files(
    files: list[PriceFile],
    output: str | None,
    target: Path,
    options: ImportOptions,
    rows_at_once: int = ROWS_AT_ONCE,
    continued: MarketStore | None = None,
) -> ImportSummary:
    present = {name for file in files for name in file.layout.columns}
    columns = [name for name in COLUMNS if name in present]
    summary = ImportSummary(output, dict(Counter(file.layout.kind for file in files)), columns)
    summary.ignored = list(dict.fromkeys(name for file in files for name in file.layout.ignored))
    summary.timezone = options.timezone
    with write_errors(target), Spill(target.parent, len(columns), rows_at_once) as spill:
        symbols: dict[str, int] = {}
        instruments = Instruments()
        found = {
            file.path: _spill_prices(file, symbols, spill, summary, options, instruments) for file in files
        }
        for file in files:  # what is said of a file may depend on all of it
            summary.understood.setdefault(file.understood(), []).append(Path(file.path).name)
            summary.left_out += [f"{text} of {Path(file.path).name}" for text in file.left_out]
            summary.left_out += [file.beside] if file.beside else []
        if options.symbol_case is None:
            require_distinct(symbols)
        calendar = Calendar("D", options.timezone)
        if any(counts.times_of_day for counts in found.values()):
            calendar = find_calendar(spill.groups(), options.timezone, _few(files))
        if calendar.unit == "ns":
            _require_times(found)
            if options.timezone is None:
                for file in files:
                    _require_zones(file, found[file.path])
        summary.date_unit = calendar.unit
        try:
            with StoreWriter(target, columns, _origin(files), date_unit=calendar.unit) as writer:
                _write_symbols(spill, writer, list(symbols), summary, calendar, options, continued)
        except DifferingRows as rows:
            name = list(symbols)[rows.symbol]
            raise differing_rows(files, columns, name, rows.date, calendar, options) from None
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
    first_naive: int = -1  # number of the first row whose time has no zone
    doubled: int = 0  # times that occur twice, as clocks go back
    ranges: int = 0  # rows with high and low
    inverted: int = 0  # of these, rows with the high below the low


def _spill_prices(
    file: PriceFile,
    symbols: dict[str, int],
    spill: Spill,
    summary: ImportSummary,
    options: ImportOptions,
    instruments: Instruments,
) -> _FileCounts:
    """Move a file's prices to scratch space, add its symbols; return what was found."""
    mark, known = spill.mark(), len(symbols)
    while True:
        try:
            found = _spill_batches(file, symbols, spill, summary.columns, options, instruments)
            break
        except Reread:  # how it is written shows late; once or twice a file at most
            spill.go_back(mark)
            for name in list(symbols)[known:]:
                del symbols[name]
    if found.inverted * 2 > found.ranges:
        raise PriceFileError(
            f"{file.path}: the high is below the low in {found.inverted:,} of {found.ranges:,} rows: the two columns "
            "are swapped; correct their names in the header"
        )
    summary.rows_read += found.cells
    summary.other_series += found.other_series
    summary.counts.without_close += found.without_close
    summary.with_zone += found.with_zone
    summary.doubled_times += found.doubled
    if found.times_of_day and file.zone is None:
        summary.without_zone += found.rows - found.with_zone
    return found


def _spill_batches(
    file: PriceFile,
    symbols: dict[str, int],
    spill: Spill,
    columns: list[str],
    options: ImportOptions,
    instruments: Instruments,
) -> _FileCounts:
    found = _FileCounts()
    timezone = options.timezone or file.zone
    high, low = (columns.index(name) if name in columns else -1 for name in ("high", "low"))
    for batch in file.batches(columns):
        naive = batch.dates.zone == NO_ZONE
        if found.first_naive < 0 and naive.any():
            found.first_naive = found.rows + int(np.argmax(naive))
        instruments.require_one(file, batch)
        try:
            dates = with_zone(batch.dates, timezone)
        except SkippedTime as error:
            raise _skipped(file, found.rows, batch.dates.wall, error) from None
        if timezone is not None:
            found.doubled += int((naive & doubled_times(dates.wall, timezone)).sum())
        found.times_of_day = found.times_of_day or bool((dates.wall % DAY != 0).any())
        found.with_zone += int((~naive).sum())
        found.rows += len(dates.wall)
        names = [name.upper() for name in batch.symbols] if options.symbol_case == "upper" else batch.symbols
        numbers = np.array([symbols.setdefault(name, len(symbols)) for name in names], np.int32)
        spill.append(numbers[batch.symbol], dates.zone[batch.row], dates.wall[batch.row], batch.values)
        if min(high, low) >= 0:
            highs, lows = batch.values[:, high], batch.values[:, low]
            both = ~np.isnan(highs + lows) if options.allow_negative else (highs > 0) & (lows > 0)
            found.ranges += int(both.sum())
            found.inverted += int((both & (highs < lows)).sum())
        found.cells += batch.cells
        found.other_series += batch.other_series
        found.without_close += batch.cells - len(batch.values)
    return found


def _skipped(file: PriceFile, rows: int, wall: np.ndarray, error: SkippedTime) -> PriceFileError:
    """The error for a local time that does not exist; ``rows`` of the file come before those of ``wall``."""
    return PriceFileError(
        f"{file.path}: {file.place(rows + error.row)}: {_shown(int(wall[error.row]), 'ns')} does not exist in "
        f"{error.zone}, where clocks were put forward over it; give the --timezone in which the times were taken"
    )


def _require_times(found: Mapping[str, _FileCounts]) -> None:
    """Refuse files without times of day beside files with prices of several times a day."""
    if len({counts.times_of_day for counts in found.values()}) == 2:
        times = next(path for path, counts in found.items() if counts.times_of_day)
        daily = next(path for path, counts in found.items() if not counts.times_of_day)
        raise PriceFileError(f"{times}: has times of day but {daily} has none; import them into two stores")


def _require_zones(file: PriceFile, found: _FileCounts) -> None:
    """Refuse intraday times that do not say where they were taken, where others do or their zone is not clear."""
    if file.zone is None and found.with_zone and found.first_naive >= 0:
        raise PriceFileError(
            f"{file.path}: {file.place(found.first_naive)}: found a time without an offset from UTC among times that "
            "have one; write the offset to each, or give the --timezone of those without"
        )
    if file.zone_to_be_told and found.first_naive >= 0:
        raise PriceFileError(
            f"{file.path}: {file.place(found.first_naive)}: the name of the column of times gives their zone, but not "
            f"its summer time; give --timezone {file.zone_to_be_told} if clocks are put forward, else one of a fixed "
            "offset, such as Etc/GMT+5 for 5 hours behind UTC"
        )


def _write_symbols(
    spill: Spill,
    writer: StoreWriter,
    names: list[str],
    summary: ImportSummary,
    calendar: Calendar,
    options: ImportOptions,
    continued: MarketStore | None,
) -> None:
    """Clean the prices of all symbols and write them to the store."""
    calendars: Counter[tuple[int, int]] = Counter()
    without = dict.fromkeys(names)
    close = summary.columns.index("close")
    adjusted = "adj_close" in summary.columns
    last_known = None if continued is None else LastKnown(continued, names, summary.columns)
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
            last_known=last_known,
        )

        # Calendars are compared by their length and checksum, as keeping all of them would take too much memory.
        begins = symbol_starts(rows.symbol)
        stops = np.append(begins, len(rows.symbol))[1:]
        for begin, stop in zip(begins.tolist(), stops.tolist(), strict=True):
            dates, name = rows.date[begin:stop], names[rows.symbol[begin]]
            without.pop(name, None)
            if not summary.example:
                summary.example = _example(name, rows, begin, stop, calendar.unit)
            writer.append(name, dates, rows.values[begin:stop])
            jumps = [] if adjusted else find_split_jumps(rows.values[begin:stop, close]).tolist()
            if jumps and not summary.split_jump:
                before, after = rows.values[begin + jumps[0] - 1 : begin + jumps[0] + 1, close]
                when = _shown(int(dates[jumps[0]]), calendar.unit)
                summary.split_jump = f"{name} {when}, {before:.6g} to {after:.6g}"
            summary.split_jumps += len(jumps)
            calendars[stop - begin, zlib.crc32(dates.tobytes())] += 1
        if len(rows.date):
            first, last = min(first, int(rows.date.min())), max(last, int(rows.date.max()))
        summary.rows += len(rows.date)
    summary.symbols = sum(calendars.values())
    summary.without_rows, summary.without_row = len(without), next(iter(without), "")
    if not summary.rows:
        raise PriceFileError(
            f"{summary.output or 'the files'}: no row is left of {summary.rows_read + summary.other_series:,} read "
            f"({_dropped(summary)}); nothing written{_why_none(summary)}"
        )
    summary.other_calendar = summary.symbols - calendars.most_common(1)[0][1]
    summary.first, summary.last = (_shown(date, calendar.unit) for date in (first, last))


def _dropped(summary: ImportSummary) -> str:
    """How many rows were dropped for which reason."""
    reasons = {
        "without a close": summary.counts.without_close,
        "with a zero or negative close": summary.counts.bad_price,
        "of other series than shares": summary.other_series,
    }
    return ", ".join(f"{count:,} {why}" for why, count in reasons.items() if count)


def _why_none(summary: ImportSummary) -> str:
    """What may help where no row is left."""
    if summary.counts.bad_price:
        return "; --allow-negative keeps prices that are zero or negative"
    if summary.counts.without_close == summary.rows_read:
        return "; the column of the close is empty, so name another one, with all others in order, with --columns"
    return ""


def _shown(date: int, unit: str) -> str:
    return str(np.array(date).astype(f"datetime64[{unit}]")).removesuffix(".000000000")


def _example(name: str, rows: PriceRows, begin: int, stop: int, unit: str) -> list[str]:
    """The first and the last row of a symbol, for people."""
    return [
        f"{name} {_shown(int(rows.date[row]), unit)}: "
        + ", ".join(f"{value:.10g}" for value in rows.values[row])
        for row in (begin, stop - 1)
    ]
