"""How a CSV is written: its delimiter, what stands before its header and after its last row, and its columns' names."""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass

from hpc_lstm.errors import PriceFileError
from hpc_lstm.market.formats.header_rows import find_header, names_of
from hpc_lstm.market.formats.headerless import guess_names
from hpc_lstm.market.formats.source import SourceFile
from hpc_lstm.market.formats.stray_lines import Line, StrayLines, is_block_name
from hpc_lstm.market.layouts.cells import is_date, is_missing, is_number
from hpc_lstm.market.layouts.vocabulary import FIELD_NAMES, SPELLINGS, is_price_word, plain, words

ALIGNED = "columns are aligned by runs of spaces; put commas between them, as by awk -v OFS=, '{$1 = $1} 1' FILE > NEW"
SAMPLE_CHARACTERS = 20_000  # by which the delimiter is found

_QUOTED_LINE = re.compile(r'"[^"]*(?:""[^"]*)*[,;\t][^"]*(?:""[^"]*)*"')
_MARKDOWN_RULE = re.compile(r"\s*\|?(\s*:?-+:?\s*\|)+(\s*:?-+:?\s*)?\s*")
_LETTER = re.compile(r"[^\W\d_]")
_OTHER_NAMES = frozenset(SPELLINGS["date"]).union(SPELLINGS["symbol"])


@dataclass(frozen=True)
class CsvDialect:
    """How a CSV is written.

    Attributes:
        encoding: of its text.
        delimiter: between cells.
        names: of the columns.
        lines: lines before the first row: blank ones, notes and the header.
        line: of the header, for messages.
        rows: the first rows, as texts.
        end: number of the last line with a row; None if nothing but rows is known to follow.
        left_out: lines after that.
        note: what is unusual, for people.
        headers: the cells of the header's lines.
        has_strays: whether lines that are no rows stand among the rows.
        in_blocks: whether other tables may follow, as ``StrayLines`` says.
    """

    encoding: str
    delimiter: str
    names: list[str]
    lines: int
    line: str
    rows: list[list[str]]
    end: int | None = None
    left_out: int = 0
    note: str = ""
    headers: frozenset[tuple[str, ...]] = frozenset()
    has_strays: bool = False
    in_blocks: bool = False

    def stray_lines(self) -> StrayLines:
        """What tells the rows from other lines, before the first row."""
        return StrayLines(self.headers, self.in_blocks)


def find_dialect(source: SourceFile, encoding: str) -> CsvDialect:
    """How a CSV is written, by its beginning.

    Raises:
        PriceFileError: the file is empty, or nothing in it looks like a header or a row.
    """
    text = source.head.decode(encoding, errors="replace").removeprefix("\ufeff")
    if not source.whole and "\n" in text:
        text = text[: text.rindex("\n") + 1]  # its last line may be cut
    if not text.strip():
        raise PriceFileError(f"{source.path}: is empty; expected a header with date and close, and rows")
    if kind := re.match(
        r"\s*(?:<(?:!doctype|html|head|body|table|\?xml|div)|(\{|\[\s*[{\[]))", text, re.IGNORECASE
    ):
        raise PriceFileError(
            f"{source.path}: is {'JSON' if kind[1] else 'a web page or XML'}, not a table; save it as CSV"
        )
    if way := _other_syntax(text):
        raise PriceFileError(f"{source.path}: {way} FILE > NEW")
    said = re.match(r"\s*\"?sep=(.)\"?[ \t;,]*\r?\n", text)
    delimiter = said[1] if said else find_delimiter(text)
    if delimiter == " " and _is_aligned(text):
        raise PriceFileError(f"{source.path}: {ALIGNED}")
    lines = read_lines(text, delimiter)
    if said:
        lines = lines[1:]
    lines = [line for line in lines if line[1]]
    found = find_header([cells for _, cells in lines])
    if found is None:  # no header: every line is a row
        cells = [cells for _, cells in lines]
        if source.options.columns is not None:
            names, note = [f"column {number + 1}" for number in range(len(cells[0]))], "no header"
        else:
            names, note = guess_names(source.path, cells, source.row_word)
        headers: frozenset[tuple[str, ...]] = frozenset()
        first, before, line = 0, lines[0][0] - 1, f"{source.row_word} {lines[0][0]}"
    else:
        names, note = names_of([cells for _, cells in lines], found), ""
        rows = [cells for _, cells in lines[found.first_row :]]
        if rows and source.options.columns is None and _only_counts(names):
            names, note = guess_names(source.path, rows, source.row_word)
        top = found.header if found.tickers is None else min(found.header, found.tickers)
        headers = frozenset(tuple(cells) for _, cells in lines[top : found.first_row])
        first, before = found.first_row, lines[found.first_row - 1][0]
        line = f"{source.row_word} {lines[found.header][0]}"
    in_blocks = found is not None and any(is_block_name(cells) for _, cells in lines[: found.header])
    strays = StrayLines(headers, in_blocks)
    body = list(strays.rows(lines[first:]))
    names, body = _fit_width(names, body)
    end, left_out = find_footer(lines[first:], body, names) if source.whole else (None, 0)
    if end is not None:  # with headers and totals there
        left_out = sum(number > end for number, _ in lines[first:])
    rows = [cells for number, cells in body if len(cells) == len(names) and (end is None or number <= end)]
    return CsvDialect(
        encoding, delimiter, names, before, line, rows, end, left_out, note, headers, strays.found, in_blocks
    )


def _is_aligned(text: str) -> bool:
    """Whether most lines have runs of spaces between cells."""
    lines = [line.strip() for line in text.splitlines()[:100] if line.strip()]
    return 2 * sum("  " in line for line in lines) > len(lines)


def _other_syntax(text: str) -> str:
    """What is to be said of a text that is no CSV but can be made one; "" of others."""
    lines = [line for line in text.splitlines()[:50] if line.strip()]
    if len(lines) > 1 and all(_QUOTED_LINE.fullmatch(line) for line in lines):
        return 'each line stands in quotes; take them off, as by sed \'s/^"//; s/"$//; s/""/"/g\''
    if len(lines) > 2 and _MARKDOWN_RULE.fullmatch(lines[1]):
        rule = "/^[-:| ]*$/d"
        return f"is a table of Markdown; make a CSV of it, as by sed '{rule}; s/^ *| *//; s/ *| *$//; s/ *| */,/g'"
    return ""


def _only_counts(names: list[str]) -> bool:
    """Whether the names are but the numbers of the columns, as pandas writes them: ,0,1,2."""
    own = names[1:] if names[0] == "" else names
    return len(own) > 1 and own == [str(number) for number in range(len(own))]


def read_lines(text: str, delimiter: str) -> list[Line]:
    """The rows of a text, each with the number of its last line."""
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter)
    lines: list[Line] = []
    try:
        for cells in reader:
            lines.append((reader.line_num, cells))
    except csv.Error:
        pass  # reading the rows will say what is wrong with this one
    return lines


def find_delimiter(text: str) -> str:
    """The mark that cuts most lines into the same number of cells; the header's words decide between equals."""
    sample = text[: text.find("\n", SAMPLE_CHARACTERS) + 1 or None].splitlines(keepends=True)[:100]
    return _best_of(",;\t|", sample) or _best_of(" ", sample, at_least=2) or ","


def _best_of(marks: str, sample: list[str], at_least: int = 0) -> str:
    """The best of some marks; "" if none cuts the lines, or the header has fewer words that are known."""
    best, best_score = "", (0.0, 0, 0)
    for mark in marks:
        if not any(mark in line for line in sample):
            continue
        rows = [cells for cells in csv.reader(sample, delimiter=mark) if cells]
        widths = Counter(len(cells) for cells in rows)
        width, count = max(widths.items(), key=lambda item: (item[1] if item[0] > 1 else 0, item[0]))
        if width == 1:
            continue
        known = max(_known(cells) for cells in rows[:40])
        header = next((cells for cells in rows[:40] if _known(cells) == known), [])
        score = (round(count / len(rows), 2) * bool(known or count > 1) + bool(known), known, len(header))
        if score > best_score and known >= at_least:
            best, best_score = mark, score
    return best


def _known(cells: list[str]) -> int:
    """How many cells are names of columns."""
    if not _LETTER.search("".join(cells)):  # most rows
        return 0
    cells = [cell for cell in cells if _LETTER.search(cell)]
    paired = sum(
        any(map(is_price_word, words(cell)))
        for cell in cells
        if ("." in cell or "_" in cell) and not cell[0].isdigit()
    )
    names = {plain(cell) for cell in cells if 0 < len(cell) < 60 and not cell[-1].isdigit()}
    return paired + len(names & FIELD_NAMES) + len(names & _OTHER_NAMES)


def _fit_width(names: list[str], body: list[Line]) -> tuple[list[str], list[Line]]:
    """Names as many as the rows have cells: an index without a name before them, or an empty cell after them."""
    if not body:
        return names, body
    width = Counter(len(cells) for _, cells in body[:500]).most_common(1)[0][0]
    full = [cells for _, cells in body if len(cells) == width]
    if width == len(names) + 1 and full:
        if all(not cells[-1].strip() for cells in full):
            return [*names, ""], body
        dated = any(plain(name) in SPELLINGS["date"] for name in names)
        if not dated and all(is_date(cells[0]) for cells in full[:20]):  # write.table of R
            return ["", *names], body
    if width == len(names) - 1 and names[-1] == "":  # the header alone ends with a delimiter
        return names[:-1], body
    return names, body


def find_footer(lines: list[Line], body: list[Line], names: list[str]) -> tuple[int | None, int]:
    """The last line with a row, None if no other lines follow, and how many do: notes, sources, counts, empty cells.

    Args:
        lines: the last ones, or all. body: of these, those that may be rows.
    """
    last = lines[: _apart(lines)][-1][0] if lines else 0
    kept = sum(number <= last for number, _ in body)
    dated = bool(body) and is_date(body[0][1][0])
    while kept > 0:
        cells, before = body[kept - 1][1], body[kept - 2][1] if kept > 1 else []
        if not (_is_note(cells, before, len(names)) or (dated and _is_remark(cells))):
            break
        kept -= 1
    if kept in (0, len(body)):
        return None, 0
    return body[kept - 1][0], len(body) - kept


def _apart(lines: list[Line]) -> int:
    """Number of the lines before those that stand below a blank line at the end, and have no dates."""
    kept = len(lines)
    for number in range(len(lines) - 1, max(len(lines) - 50, 0), -1):
        cells = lines[number][1]
        if any(map(is_date, cells)):
            break
        if not any(map(str.strip, cells)):
            kept = number
    return kept


def _is_remark(cells: list[str]) -> bool:
    """Whether a line of several cells, after rows that begin with dates, is no damaged one: "Source: Acme, Inc"."""
    filled = [cell.strip() for cell in cells if cell.strip()]
    if len(filled) < 2 or not filled[0][0].isalpha() or any(map(is_date, filled)):
        return False
    return ": " in filled[0] or not any(is_number(cell) or is_missing(cell) for cell in filled)


def _is_note(cells: list[str], before: list[str], width: int) -> bool:
    """Whether a line after the rows is no row, rather than a damaged one."""
    filled = [cell.strip() for cell in cells if cell.strip()]
    if not filled:
        return True
    if any(is_date(cell) for cell in filled[:2]) and len(filled) > 1:
        return False
    if len(cells) == width and len(filled) > 1:
        return False
    if any(len(cell.split()) >= 3 and not is_number(cell) for cell in filled):
        return True
    if len(filled) > 1 or len(cells) == width == 1:
        return False
    first = next((cell.strip() for cell in before if cell.strip()), "")
    beginning = first.startswith(filled[0]) or is_missing(filled[0])  # of the next row, cut short
    return not is_date(filled[0]) and (not beginning or filled[0].isdigit())
