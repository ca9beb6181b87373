"""The message for rows of one symbol and time that differ: where they are, and what may tell them apart."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

import numpy as np

from hpc_lstm.errors import PriceFileError, in_shell
from hpc_lstm.market.daily import Calendar
from hpc_lstm.market.dates import DAY, doubled_times, local_times, offsets_of_zone, with_zone
from hpc_lstm.market.formats.csv import CsvFile
from hpc_lstm.market.formats.price_file import PriceFile
from hpc_lstm.market.formats.table_file import TableFile
from hpc_lstm.market.layouts.cells import kind_of
from hpc_lstm.market.options import LEFT_OUT, ImportOptions
from hpc_lstm.market.ticks import bars_of_ticks

Found = tuple[PriceFile, int, float]  # the file, the row's number, its close


def differing_rows(
    files: Sequence[PriceFile],
    columns: list[str],
    symbol: str,
    date: int,
    calendar: Calendar,
    options: ImportOptions,
) -> PriceFileError:
    """The error for rows of one symbol and date that differ, found by reading the files again.

    Args:
        columns: of the store.
        symbol, date: of the rows; the date in the store's unit.
        calendar: how times became dates.
        options: of the user.
    """
    found = [place for file in files for place in _rows(file, columns, symbol, date, calendar, options)]
    when = str(np.array(date).astype(f"datetime64[{calendar.unit}]")).removesuffix(".000000000")
    if len(found) < 2:
        return PriceFileError(f'rows of "{symbol}" at {when} differ; correct them, or give --keep-last')
    first = found[0]
    second = next((place for place in found[1:] if place[2] != first[2]), found[1])
    closes = f"close {first[2]:g} and {second[2]:g}"
    clock = _clock(first[0], date, calendar, options)
    if first[0] is second[0]:
        places = f"{first[0].path}: {first[0].place(first[1])} and {first[0].place(second[1])}"
        places = re.sub(r": (line|row) (\d+) and \1 ", r": \1s \2 and ", places)
        return PriceFileError(
            f'{places} are both "{symbol}" at {when} but differ ({closes}); {clock or _advice(first[0], found)}'
        )
    places = " and ".join(f"{file.path} {file.place(row)}" for file, row, _ in (first, second))
    return PriceFileError(
        f'{places} are both "{symbol}" at {when} but differ ({closes}); rename one of the files if they are two '
        "symbols, or give --keep-last to take the later file"
    )


def _clock(file: PriceFile, date: int, calendar: Calendar, options: ImportOptions) -> str:
    """What to say of a time that a clock showed twice."""
    zone = options.timezone or file.zone
    if calendar.unit != "ns" or zone is None:
        return ""
    wall = local_times(np.array([date]), zone)
    if not doubled_times(wall, zone)[0]:
        return ""
    said = (
        f"in {zone} this time occurs twice, as clocks are put back; write each time with its offset from UTC, "
        "or in UTC"
    )
    if not isinstance(file, CsvFile) or file.layout.time is not None or file.layout.date_parts:
        return said
    later = offsets_of_zone(wall + DAY, zone)[0] // 60
    offset = f"{'-' if later < 0 else '+'}{abs(later) // 60:02}:{abs(later) % 60:02}"
    cells = [f"${number + 1}" for number in (file.layout.date, *file.layout.symbol)]
    ends = r'"\"?$", "' + offset + '&"'
    if "(CET/CEST)" in file.head.rows[0][file.layout.date]:
        ends = '"CET/CEST", "CET"'
    separator = shlex.quote(file.delimiter)
    return (
        f"{said}, as by awk -F{separator} -v OFS={separator} 'seen[{','.join(cells)}]++ {{sub({ends}, {cells[0]})}} 1' "
        "FILE > NEW where the later row is the later time"
    )


def _rows(
    file: PriceFile,
    columns: list[str],
    symbol: str,
    date: int,
    calendar: Calendar,
    options: ImportOptions,
) -> list[Found]:
    done, found = 0, []
    for batch in file.batches(columns):
        names = [name.upper() for name in batch.symbols] if options.symbol_case == "upper" else batch.symbols
        if symbol in names:
            of_symbol = np.array([name == symbol for name in names])[batch.symbol]
            times = with_zone(batch.dates, options.timezone or file.zone)
            dates = calendar.dates(times.wall, times.zone)[batch.row]
            for place in np.flatnonzero(of_symbol & (dates == date)).tolist():
                close = float(batch.values[place, columns.index("close")])
                if not np.isnan(close):
                    found.append((file, done + int(batch.row[place]), close))
        done += len(batch.dates.wall)
    return found


def _advice(file: PriceFile, found: list[Found]) -> str:
    keep = "or --keep-last to keep the last row"
    if not isinstance(file, TableFile):
        return f"correct one, {keep}"
    used = {file.layout.date, file.layout.time, *file.layout.symbol, *file.layout.numbers}
    names = []
    for number, name in enumerate(file.head.names):
        cells = [row[number] for row in file.head.rows[:400]]
        if number not in used and name != LEFT_OUT and len(set(cells)) > 1 and kind_of(cells) == "text":
            names.append(f'"{name}"')
    if not names and (bars := bars_of_ticks(file)):
        return (
            "give the column of the symbol with --symbol-column; if the rows are trades or quotes make bars of them, "
            f"as by {bars}; {keep}"
        )
    if not names:
        return f"give the column of the symbol with --symbol-column, {keep}"
    taken = [file.head.names[number] for number in file.layout.symbol]
    joined = ",".join([*taken, names[0].strip('"')])
    return (
        f"if {' or '.join(names[:4])} tells securities apart give --symbol-column {in_shell(joined)}, {keep}"
    )
