"""Tables of prices in shapes that are not read: dates across, a row for each value."""

from __future__ import annotations

from hpc_lstm.errors import PriceFileError
from hpc_lstm.market.layouts.cells import is_date, is_number
from hpc_lstm.market.layouts.header import Header
from hpc_lstm.market.layouts.vocabulary import FIELD_OF, plain


def refuse_other_shapes(header: Header) -> None:
    """Refuse a table that must be reshaped first.

    Raises:
        PriceFileError: what stands where, and how pandas reshapes it.
    """
    for problem in (_dates_across(header), _row_for_each_value(header)):
        if problem:
            raise PriceFileError(f"{header.path}: {header.line}: {problem}")


def _dates_across(header: Header) -> str:
    dates = [name for name in header.names if is_date(name) and not is_number(name)]
    if len(dates) < 2 or 2 * len(dates) < len(header.names):
        return ""
    return (
        f'the dates stand across the columns ("{dates[0]}", "{dates[1]}"); transpose the table, as by '
        'pandas.read_csv(FILE, index_col=0).T.rename_axis("Date").to_csv(NEW)'
    )


def _row_for_each_value(header: Header) -> str:
    names = [plain(name) for name in header.names]
    if "value" not in names:
        return ""
    value = header.names[names.index("value")]
    for number, name in enumerate(header.names):
        texts = {plain(text) for text in header.cells(number)}
        if len(texts) > 1 and texts <= set(FIELD_OF) and len({FIELD_OF[text] for text in texts}) > 1:
            index = [other for other in header.names if other not in (name, value, "")]
            return (
                f'each row holds one value, and "{name}" says which; make them columns, as by '
                f"pandas.read_csv(FILE).pivot(index={index}, columns={name!r}, values={value!r}).to_csv(NEW)"
            )
    return ""
