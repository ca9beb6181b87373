"""Text that fits a terminal: no word of a sentence and no number of a table is torn at the end of a line."""

from __future__ import annotations

import itertools
import re
import textwrap

from hpc_lstm.text.table import is_row, is_table, narrowed

# A narrower terminal gets lines of this width, which it breaks itself.
NARROWEST = 40


def terminal_columns() -> int:
    """Columns of this process's terminal."""
    import shutil

    return max(NARROWEST, shutil.get_terminal_size().columns)


def fitted(text: str, width: int) -> str:
    """Text in lines of at most ``width`` columns, as far as its words allow.

    Sentences are broken between words, and so is what stands beside a label, below its own beginning. Tables, told by
    gaps of two spaces, are shown a few columns at a time. Commands stay whole, to be pasted: lines that begin with
    ``hpc-lstm``, and what stands in back quotes.
    """
    found: list[str] = []
    for are_rows, group in itertools.groupby(text.splitlines(), is_row):
        lines = list(group)
        if are_rows and is_table(lines):
            found += narrowed(lines, width)
        else:
            found += [_broken(line, width) for line in lines]
    return "\n".join(found)


def _broken(line: str, width: int) -> str:
    if len(line) <= width or line.lstrip(" ->").startswith("hpc-lstm "):
        return line
    start = re.match(r"\s*(?:-> )?", line)
    label = re.match(r"\s*(?:\S+ )*\S+ {2,}", line)
    first = (label or start or [""])[0]
    text, indent = line[len(first) :], len(first)
    if "  " in text:
        return line
    before = ""
    if label and indent > width // 2:  # too little room beside the label
        indent = len(first) - len(first.lstrip()) + 2
        before, first = first.rstrip() + "\n", " " * indent
    whole = re.sub(r"`[^`]*`", lambda command: command[0].replace(" ", "\0"), text)
    broken = textwrap.fill(
        whole,
        width,
        initial_indent=first,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return before + broken.replace("\0", " ")
