"""How commands print: text that fits the terminal, or JSON."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, is_dataclass
from typing import Any

import click

from hpc_lstm.errors import printable

# A narrower terminal gets lines of this width, which it breaks itself.
NARROWEST = 40


def show(text: str) -> None:
    """Print text that may hold names from files: none of them commands the terminal.

    On a terminal, sentences longer than its lines are broken between words, and so is what stands beside a label, below
    its own beginning. Rows of tables, told by two or more gaps of two spaces, stay whole. So do commands, to be pasted:
    lines that begin with ``hpc-lstm``, and what stands in back quotes.
    """
    text, width = printable(text), terminal_width()
    if width is not None:
        text = "\n".join(_broken(line, width) for line in text.splitlines())
    _print(text)


def show_progress(text: str) -> None:
    """Print what a command that works for long tells of it, and go on when nobody reads its output any more."""
    with suppress(OSError):
        show(text)


def terminal_width() -> int | None:
    """Columns of the terminal that stdout is; None if it is none: files and pipes get whole lines."""
    if not sys.stdout.isatty():
        return None
    import shutil

    return max(NARROWEST, shutil.get_terminal_size().columns)


def show_json(value: Any) -> None:
    """Print a value as strict JSON: numbers that JSON does not have are null, what it does not know is text."""
    is_unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    _print(json.dumps(_plain(value), indent=2, allow_nan=False, ensure_ascii=not is_unicode))


def _print(text: str) -> None:
    # With a file: click would otherwise write UTF-8 to a stream that says it takes ASCII alone.
    click.echo(text, file=sys.stdout)


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
    import textwrap

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


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (str, int)) else str(value)
