"""Prices from files into a market store.

A format (``formats``) reads each file a few megabytes at a time, as its layout (``layouts``) says, and the prices are
moved to scratch space beside the output (``spill``), which returns them symbol by symbol to be cleaned (``cleaning``).
So the memory needed does not grow with the files, whatever the order of their rows.

In addition to the rules of ``cleaning``:

    symbols            in the order in which they first appear
    columns            open, high, low, close, volume, adj_close: those that any file has
    daily              every time of day is 0:00, in whatever zone: a row's date is the date as written (unit "D")
    intraday           any other: times are converted to UTC, and taken as UTC if they have no zone (unit "ns");
                       daily and intraday files do not go into the same store
    calendars          symbols with different dates keep their own; those that differ from the most frequent
                       set of dates are counted
"""

from __future__ import annotations

import zlib
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np

from hpc_lstm.errors import CsvError
from hpc_lstm.market.cleaning import PriceRows, clean_rows, symbol_starts
from hpc_lstm.market.dates import DAY, NO_ZONE
from hpc_lstm.market.formats.price_file import PriceFile
from hpc_lstm.market.formats.registry import open_price_file
from hpc_lstm.market.import_summary import ImportSummary, shortened_list
from hpc_lstm.market.layouts.header import COLUMNS
from hpc_lstm.market.spill import Spill
from hpc_lstm.market.store import StoreWriter, output_path, write_errors


def import_prices(paths: list[str], output: str, *, rows_at_once: int = 1 << 20) -> ImportSummary:
    """Import files of prices into a market store.

    Args:
        paths: of the files; a later file's rows count as later rows.
        output: the store; replaced when the new one is complete.
        rows_at_once: rows held in memory while they are cleaned; a symbol with more rows is held whole.

    Raises:
        CsvError: a file is missing, unreadable, of no known format, lacks a column or has a bad row; or no row is
            left.
        StoreError: the output cannot be written.
    """
    target = output_path(output)
    files = [open_price_file(path) for path in paths]
    if not files:
        raise CsvError("no CSV file is given; name at least one")
    present = {name for file in files for name in file.layout.columns}
    columns = [name for name in COLUMNS if name in present]
    summary = ImportSummary(output, dict(Counter(file.layout.kind for file in files)), columns)
    summary.ignored = list(dict.fromkeys(name for file in files for name in file.layout.ignored))
    with write_errors(target), Spill(target.parent, len(columns), rows_at_once) as spill:
        symbols: dict[str, int] = {}
        intraday = {file.path: _spill_prices(file, symbols, spill, summary) for file in files}
        summary.date_unit = _date_unit(intraday)
        with StoreWriter(target, columns, _origin(files), date_unit=summary.date_unit) as writer:
            _write_symbols(spill, writer, list(symbols), summary)
    return summary


def _origin(files: list[PriceFile]) -> str:
    """Where the prices come from: formats and names of files."""
    formats = dict.fromkeys(file.format_name for file in files)
    return "; ".join(
        f"{name}: " + shortened_list([Path(file.path).name for file in files if file.format_name == name])
        for name in formats
    )


def _spill_prices(file: PriceFile, symbols: dict[str, int], spill: Spill, summary: ImportSummary) -> bool:
    """Move a file's prices to scratch space, add its symbols; return whether it has times of day."""
    intraday = False
    rows = with_zone = 0
    for batch in file.batches(summary.columns):
        dates = batch.dates
        intraday = intraday or bool((dates.wall % DAY != 0).any())
        with_zone += int((dates.zone != NO_ZONE).sum())
        rows += len(dates.wall)
        numbers = np.array([symbols.setdefault(name, len(symbols)) for name in batch.symbols], np.int32)
        spill.append(numbers[batch.symbol], dates.zone[batch.row], dates.wall[batch.row], batch.values)
        summary.rows_read += batch.cells
        summary.counts.without_close += batch.cells - len(batch.values)
    summary.with_zone += with_zone
    if intraday:
        summary.without_zone += rows - with_zone
    return intraday


def _date_unit(intraday: dict[str, bool]) -> str:
    if len(set(intraday.values())) == 2:
        times = next(path for path, has_times in intraday.items() if has_times)
        daily = next(path for path, has_times in intraday.items() if not has_times)
        raise CsvError(f"{times}: has times of day but {daily} has none; import them into two stores")
    return "ns" if any(intraday.values()) else "D"


def _write_symbols(spill: Spill, writer: StoreWriter, names: list[str], summary: ImportSummary) -> None:
    """Clean the prices of all symbols and write them to the store."""
    calendars: Counter[tuple[int, int]] = Counter()
    first, last = np.iinfo(np.int64).max, np.iinfo(np.int64).min
    for records in spill.groups():
        wall, zone = records["wall"], records["zone"]
        if summary.date_unit == "D":
            date = wall // DAY
        else:
            date = wall - np.where(zone == NO_ZONE, 0, zone).astype(np.int64) * 1_000_000_000
        raw = PriceRows(records["symbol"].copy(), date, records["values"].copy())
        del records  # memory: cleaning copies
        rows = clean_rows(raw, summary.columns, summary.counts)

        # Calendars are compared by their length and checksum, as keeping all of them would take too much memory.
        begins = symbol_starts(rows.symbol)
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
