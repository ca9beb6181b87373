"""Tables of single trades or quotes, of which several may have one time: the command that makes bars of them."""

from __future__ import annotations

import json
import re

from hpc_lstm.market.formats.csv import CsvFile
from hpc_lstm.market.formats.table_file import TableFile

_UNITS = {"seconds": "s", "milliseconds": "ms", "microseconds": "us", "nanoseconds": "ns"}
_OFFSET = re.compile(r"\d\s*(Z|UTC|[+-]\d\d:?\d\d)\s*$")
_HISTDATA = re.compile(r"\d{8} \d{9}")


def bars_of_ticks(file: TableFile) -> str:
    """A command of the shell that makes bars of a minute of a CSV of times and prices; "" if it is none."""
    layout = file.layout
    single = layout.kind in ("single", "long") and set(layout.columns) <= {"close", "volume"}
    if not isinstance(file, CsvFile) or not single or layout.time is not None or layout.date_parts:
        return ""
    when = _when(file)
    if when is None:
        return ""
    separator = "" if file.delimiter == "," else f", sep={json.dumps(file.delimiter)}"
    columns = dict(zip(layout.columns, layout.numbers, strict=True))
    steps = [
        "import pandas",
        f't = pandas.read_csv("FILE", header=None, skiprows={file.lines_before}{separator})',
        *([f't["symbol"] = t[{layout.symbol[0]}]'] if layout.symbol else []),
        f't["date"] = pandas.to_datetime(t[{layout.date}]{when}).dt.floor("min")',
        'g = t.groupby(["symbol", "date"])' if layout.symbol else 'g = t.groupby("date")',
    ]
    volume = f".assign(volume=g[{columns['volume']}].sum())" if "volume" in columns else ""
    return f"python -c '{'; '.join(steps)}; g[{columns['close']}].ohlc(){volume}.to_csv(\"NEW\")'"


def _when(file: TableFile) -> str | None:
    """How pandas reads the times: further arguments of ``to_datetime``; None if it does not."""
    form, example = file.reading.dates, file.head.rows[0][file.layout.date].strip()
    if form.epoch is not None:
        unit = _UNITS.get(form.label.split()[0])
        return f', unit="{unit}"' if unit else None
    if _HISTDATA.fullmatch(example):
        return ', format="%Y%m%d %H%M%S%f"'
    if form.pattern is not None or form.interval or not re.search(r"\d:\d\d", example):
        return None
    return (", dayfirst=True" if form.order == "day" else "") + (
        ", utc=True" if _OFFSET.search(example) else ""
    )
