"""Lines among the rows of a CSV that are no rows: repeated headers, comments, totals, titles, other tables."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from hpc_lstm.market.layouts.cells import is_date, is_missing
from hpc_lstm.market.layouts.vocabulary import plain, word_set

HEADER, COMMENT, TOTAL = "repeated header", "comment", "totals"
TITLE, OTHER_TABLE, EVENT, BLANK = "title", "another table", "dividend or split", "blank"
_TOTALS = word_set(
    r"""total totals subtotal grandtotal sum average avg mean median count min max minimum maximum
    summe gesamt durchschnitt mittelwert totale moyenne"""
)
Line = tuple[int, list[str]]  # number of the last line of a row, and its cells

_EVENT = re.compile(r"dividend|split", re.IGNORECASE)
_YEAR = re.compile(r"(19|20)\d\d(\.0)?")  # of a date in columns of year and month
_BLOCK = re.compile(r"[a-z]+([._][a-z]+)*")  # history, history.cursor


@dataclass
class StrayLines:
    """Tells the rows of a CSV from other lines; asked line by line, from the first row on.

    Attributes:
        headers: the cells of the header's lines.
        in_blocks: whether the header stands in a block with a name, such as "history" of the Moscow Exchange's files,
            that others may follow.
        order: of a header that was repeated with its columns in another order, for each column of the first one the
            number of its own; None: they stand as in the first one.
        outside: whether the lines are of another block.
        found: whether there was any among ``rows``.
    """

    headers: frozenset[tuple[str, ...]]
    in_blocks: bool = False
    order: list[int] | None = field(init=False, default=None)
    outside: bool = field(init=False, default=False)
    found: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._names = {cell for header in self.headers for cell in header}
        self._width = max(map(len, self.headers), default=0)

    def kind(self, cells: list[str]) -> str:
        """What a line is if it is no row; "" for a row, and for what may be a damaged one."""
        begin = cells[0] if cells else ""
        if (
            max(len(cells), self._width) > 2
            and len(cells) > 1
            and cells[1][-1:].isalpha()
            and _is_event(cells)
        ):
            return EVENT
        if begin[:1].isdigit() and not self.outside and begin not in self._names:
            return ""  # most rows: what else is looked for begins with a word or a mark
        if self._is_header(cells):
            self.outside = False
            return HEADER
        if self.outside or (self.in_blocks and is_block_name(cells)):
            self.outside = True
            return OTHER_TABLE
        first = next((cell.strip() for cell in cells if cell.strip()), "")
        if not first and len(cells) <= self._width > 1:
            return BLANK
        if any(is_date(cell) for cell in cells):
            return ""
        if first.startswith("#") and not is_missing(first):
            return COMMENT
        if plain(first) in _TOTALS and not any(map(_YEAR.fullmatch, cells)):  # a company called Total
            return TOTAL
        is_title = len(cells) == 1 and self._width > 2 and first[:1].isalpha() and len(first.split()) > 1
        return TITLE if is_title else ""

    def rows(self, lines: Iterable[Line]) -> Iterator[Line]:
        """The rows among lines; titles below the last row may be notes, and come at the end."""
        titles: list[Line] = []
        for number, cells in lines:
            kind = self.kind(cells)
            if kind == TITLE:
                titles.append((number, cells))
            elif kind:
                self.found = True
            else:
                self.found = self.found or bool(titles)
                titles.clear()
                yield number, self.in_order(cells)
        yield from titles

    def in_order(self, cells: list[str]) -> list[str]:
        """A row with its cells as the first header has them."""
        if self.order is None or len(cells) != len(self.order):
            return cells
        return [cells[number] for number in self.order]

    def _is_header(self, cells: list[str]) -> bool:
        """Whether a line is a header again, with its columns in the same order or in another, which is then known."""
        if tuple(cells) in self.headers:
            self.order = None
            return True
        if len(self.headers) != 1 or len(cells) != self._width or not {*cells} <= self._names:
            return False
        (header,) = self.headers
        if sorted(cells) != sorted(header) or len(self._names) < self._width:
            return False
        self.order = [cells.index(name) for name in header]
        return True


def title_problem(text: str, delimiter: str, header: int) -> str:
    """What to say of a title among rows that do not name their symbol.

    Args:
        header: number of the line before the first row.
    """
    return (
        f'"{text}" stands alone, as the symbol of the rows below it does; put it into a column of these rows, as by '
        f'awk -F{shlex.quote(delimiter)} \'NR=={header} {{h=$0; print "Symbol" FS $0; next}} NF==1 {{name=$1; next}} '
        f"NR<{header} || $0==h {{next}} {{print name FS $0}}' FILE > NEW"
    )


def _is_event(cells: list[str]) -> bool:
    """Whether a dated line tells of a dividend or a split, as Yahoo's page does between its prices."""
    if not _EVENT.search(cells[1]):  # most rows with a name behind the date
        return False
    return is_date(cells[0]) and all(_EVENT.search(cell) for cell in cells[2:] if cell.strip())


def is_block_name(cells: list[str]) -> bool:
    """Whether a line may be the name of a block: one word in lower case."""
    return len(cells) == 1 and _BLOCK.fullmatch(cells[0].strip()) is not None
