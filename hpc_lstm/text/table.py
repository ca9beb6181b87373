"""Rows of cells as lines of text, as narrow as their cells allow; a few columns at a time where that is too wide."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

# Between two columns are at least two spaces, in every line of a table.
_GAP = re.compile(r"(?<=\S) {2,}(?=\S)")
_RULE = re.compile(r"\s*-+")


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """A line for each row: the first column to the left, the others to the right, two spaces between them."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [
                first.ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)),
            ]
        ).rstrip()
        for first, *cells in rows
    ]


def is_row(line: str) -> bool:
    """Whether a line may belong to a table: two spaces or more separate its cells, or it is a rule."""
    return bool(_GAP.search(line) or _RULE.fullmatch(line))


def is_table(lines: Sequence[str]) -> bool:
    """Whether lines that are rows make a table: one of them has three cells or more; two are a label and its text."""
    return any(len(_GAP.findall(line)) >= 2 for line in lines)


def narrowed(lines: Sequence[str], width: int) -> list[str]:
    """The lines of a table, in at most ``width`` columns of characters.

    A table that is too wide is shown as several, one below the other, each with some of its columns. All of them begin
    with the columns that tell the rows apart, the first or the first few. Only a text that is too long for a line by
    itself is broken, between words and below its own beginning.
    """
    if max(map(len, lines)) <= width:
        return list(lines)
    columns = _columns(lines)
    labels = _label_columns(lines, columns)
    tables: list[list[tuple[int, int]]] = []
    for column in columns[labels:]:
        if tables and _span([*columns[:labels], *tables[-1], column]) <= width:
            tables[-1].append(column)
        else:
            tables.append([column])
    if len(tables) == 1 and (len(lines) == 1 or _span(columns) > width):
        # Nothing to divide, or to be closed up: every column stays in its place.
        ends = [begin - 2 for begin, _ in columns[1:]]
        columns = [(begin, end) for (begin, _), end in zip(columns, [*ends, columns[-1][1]], strict=True)]
        tables = [columns[labels:]]
    found: list[str] = []
    for shown in tables:
        part = [*columns[:labels], *shown]
        found += [""] if found else []
        for line in lines:
            if _RULE.fullmatch(line):
                indent = line[: line.index("-")]
                found.append(indent + "-" * (min(width, _span(part)) - len(indent)))
            else:
                found += _wrapped(line, part, width)
    return found


def _columns(lines: Sequence[str]) -> list[tuple[int, int]]:
    """Where the columns of a table begin and end: between them all lines have two spaces or more."""
    rows = [line for line in lines if not _RULE.fullmatch(line)]
    used = [any(line[at : at + 1].strip() for line in rows) for at in range(max(map(len, rows)))]
    taken = "".join("x" if one else " " for one in used)
    return [match.span() for match in re.finditer(r"x+(?: x+)*", taken)]


def _label_columns(lines: Sequence[str], columns: Sequence[tuple[int, int]]) -> int:
    """How many of the first columns tell all rows apart; all but the last if those do not."""
    rows = [line for line in lines if not _RULE.fullmatch(line)]
    for count in range(1, len(columns) - 1):
        if len({line[: columns[count - 1][1]] for line in rows}) == len(rows):
            return count
    return len(columns) - 1


def _span(columns: Sequence[tuple[int, int]]) -> int:
    """The width of a table of these columns, with what the whole one is indented by."""
    (first, _), *_ = columns
    return first + sum(end - begin for begin, end in columns) + 2 * (len(columns) - 1)


def _wrapped(line: str, columns: Sequence[tuple[int, int]], width: int) -> list[str]:
    """A row with some of its cells; the last is broken where it is too long to stand beside those before it."""
    indent = " " * columns[0][0]
    *before, last = (line[begin:end].ljust(end - begin) for begin, end in columns)
    start = indent + "".join(f"{cell}  " for cell in before)
    text = (start + last).rstrip()
    if len(text) <= width:
        return [text]
    words, hanging, found = last.strip(), start, []
    if len(start) > width // 2:  # too little room beside the label
        found, hanging = [start.rstrip()], f"{indent}  "
    return found + textwrap.wrap(
        words,
        width,
        initial_indent=hanging,
        subsequent_indent=" " * len(hanging),
        break_long_words=False,
        break_on_hyphens=False,
    )
