"""How commands print: text that fits the terminal, or JSON."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, is_dataclass
from typing import Any

import click

from hpc_lstm.errors import printable
from hpc_lstm.text.terminal import fitted, terminal_columns


def show(text: str) -> None:
    """Print text that may hold names from files: none of them commands the terminal.

    On a terminal it is made to fit: ``fitted``.
    """
    text, width = printable(text), terminal_width()
    _print(text if width is None else fitted(text, width))


def show_progress(text: str) -> None:
    """Print what a command that works for long tells of it, and go on when nobody reads its output any more."""
    with suppress(OSError):
        show(text)


def terminal_width() -> int | None:
    """Columns of the terminal that stdout is; None if it is none: files and pipes get whole lines."""
    return terminal_columns() if sys.stdout.isatty() else None


def show_json(value: Any) -> None:
    """Print a value as strict JSON: numbers that JSON does not have are null, what it does not know is text.

    No name in it commands the terminal: JSON has escapes of its own.
    """
    is_unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    text = json.dumps(_plain(value), indent=2, allow_nan=False, ensure_ascii=not is_unicode)
    _print(printable(text, lambda letter: json.dumps(letter)[1:-1]))


def _print(text: str) -> None:
    # With a file: click would otherwise write UTF-8 to a stream that says it takes ASCII alone.
    click.echo(text, file=sys.stdout)


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
