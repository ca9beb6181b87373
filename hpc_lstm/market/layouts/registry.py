"""The layouts of price tables, one line each; the first one that recognizes a header reads the table."""

from __future__ import annotations

from hpc_lstm.market.layouts.header import Header
from hpc_lstm.market.layouts.layout import Layout
from hpc_lstm.market.layouts.long import LongLayout
from hpc_lstm.market.layouts.single import SingleLayout
from hpc_lstm.market.layouts.wide import WideLayout

LAYOUTS: tuple[type[Layout], ...] = (
    LongLayout,
    SingleLayout,
    WideLayout,
)


def choose_layout(path: str, names: list[str]) -> Layout:
    """The layout of a table, by the names of its columns.

    Raises:
        CsvError: no layout fits, a needed column is missing, or two columns have the same name.
    """
    header = Header(path, names)
    for layout in LAYOUTS:
        if layout.recognizes(header):
            return layout(header)
    raise header.lacks([field for field in ("date", "close") if field not in header.fields])
