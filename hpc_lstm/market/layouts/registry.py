"""The layouts of price tables, one line each; the first one that recognizes a header reads the table."""

from __future__ import annotations

from collections.abc import Sequence

from hpc_lstm.market.layouts.header import Header
from hpc_lstm.market.layouts.layout import Layout
from hpc_lstm.market.layouts.long import LongLayout
from hpc_lstm.market.layouts.multi import MultiLayout
from hpc_lstm.market.layouts.other_shapes import refuse_other_shapes
from hpc_lstm.market.layouts.single import SingleLayout
from hpc_lstm.market.layouts.wide import WideLayout
from hpc_lstm.market.options import ImportOptions

LAYOUTS: tuple[type[Layout], ...] = (
    MultiLayout,
    LongLayout,
    SingleLayout,
    WideLayout,
)


def choose_layout(
    path: str,
    names: list[str],
    rows: Sequence[Sequence[str]] = (),
    options: ImportOptions | None = None,
    line: str = "line 1",
) -> Layout:
    """The layout of a table, by the names of its columns and a sample of its rows.

    Raises:
        PriceFileError: no layout fits, a needed column is missing, or two columns have the same name.
    """
    header = Header(path, list(names), rows, options or ImportOptions(), line)
    if header.options.layout is not None:
        return next(layout for layout in LAYOUTS if layout.kind == header.options.layout)(header)
    if header.options.date_column is None:
        refuse_other_shapes(header)
    for layout in LAYOUTS:
        if header.doubled is not None and layout is not MultiLayout:
            raise header.doubled
        if layout.recognizes(header):
            return layout(header)
    raise header.lacks([field for field in ("date", "close") if field not in header.fields])
