"""Lines among the rows of a CSV that are no rows: headers repeated where files were joined, comments, and totals."""

from __future__ import annotations

from collections.abc import Collection

from hpc_lstm.market.layouts.cells import is_date, is_missing
from hpc_lstm.market.layouts.vocabulary import plain, word_set

HEADER, COMMENT, TOTAL = "repeated header", "comment", "totals"
_TOTALS = word_set(
    r"""total totals subtotal grandtotal sum average avg mean median count min max minimum maximum
    summe gesamt durchschnitt mittelwert totale moyenne"""
)


def kind_of_stray(cells: list[str], headers: Collection[tuple[str, ...]]) -> str:
    """What a line is if it is no row; "" for a row, and for what may be a damaged one.

    Args:
        headers: the cells of the header's lines.
    """
    if tuple(cells) in headers:
        return HEADER
    if cells and cells[0][:1].isdigit():  # most rows: what is looked for begins with a word or a mark
        return ""
    first = next((cell.strip() for cell in cells if cell.strip()), "")
    if any(is_date(cell) for cell in cells):
        return ""
    if first.startswith("#") and not is_missing(first):
        return COMMENT
    return TOTAL if plain(first) in _TOTALS else ""
