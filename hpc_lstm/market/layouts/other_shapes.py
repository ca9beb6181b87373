"""Tables of prices in shapes that are not read: dates across, a row for each value."""

from __future__ import annotations

import json
import re

from hpc_lstm.errors import PriceFileError, in_pandas
from hpc_lstm.market.layouts.cells import is_date, is_number
from hpc_lstm.market.layouts.header import Header
from hpc_lstm.market.layouts.vocabulary import FIELD_OF, plain

_YEAR = re.compile(r"(18|19|20)\d\d( \[YR\d{4}\])?")  # also of the World Bank


def refuse_other_shapes(header: Header) -> None:
    """Refuse a table that must be reshaped first.

    Raises:
        PriceFileError: what stands where, and how pandas reshapes it.
    """
    for problem in (_dates_across(header), _row_for_each_value(header)):
        if problem:
            raise PriceFileError(f"{header.path}: {header.line}: {problem}")


def _dates_across(header: Header) -> str:
    dates = [
        name for name in header.names if (is_date(name) and not is_number(name)) or _YEAR.fullmatch(name)
    ]
    if len(dates) < 2 or 2 * len(dates) < len(header.names) - 2:
        return ""
    skipped = int(header.line.split()[-1]) - 1 if header.line[-1].isdigit() else 0
    table = (
        f'read_csv("FILE", index_col=0, skiprows={skipped})' if skipped else 'read_csv("FILE", index_col=0)'
    )
    if any(map(_YEAR.fullmatch, dates)):  # beside other columns of words
        table += r'.filter(regex=r"^\d{4}").rename(columns=lambda name: name[:4])'
    return (
        f'the dates stand across the columns ("{dates[0]}", "{dates[1]}"); transpose the table, as by '
        + in_pandas(f'{table}.T.rename_axis("Date").to_csv("NEW")')
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
            written = ", ".join(
                f"{key}={json.dumps(of, ensure_ascii=False)}"
                for key, of in (("index", index), ("columns", name), ("values", value))
            )
            return (
                f'each row holds one value, and "{name}" says which; make them columns, as by '
                + in_pandas(f'read_csv("FILE").pivot({written}).to_csv("NEW")')
            )
    return ""
