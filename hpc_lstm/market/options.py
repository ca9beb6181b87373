"""What the user says about files of prices where they do not say it themselves."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from hpc_lstm.errors import InputError
from hpc_lstm.market.date_forms import form_of_option

FILE_NAME = "file-name"
LEFT_OUT = "_"
LAYOUT_NAMES = ("long", "single", "wide", "multi")


@dataclass(frozen=True)
class ImportOptions:
    """How to read files of prices; what is None is decided by the files.

    Attributes:
        columns: names of the columns in their order, separated by commas, in place of those in the file; "_" leaves a
            column out.
        symbol_column: name of the column that holds the symbol; several, separated by commas, are joined.
        date_column: name of the column that holds the date or time; ``FILE_NAME``: the file's name holds the date of
            all rows.
        date_format: "day-first", "month-first", "epoch-s", "epoch-ms", "epoch-us", "epoch-ns", "epoch-days",
            "excel", "matlab" or a pattern of ``strptime`` such as "%d/%m/%y".
        layout: "long" (a symbol column), "single" (one symbol, named by the file), "wide" (a column per symbol) or
            "multi" (a column per symbol and field).
        decimal: the mark before the decimals, "." or ",".
        timezone: where times without an offset were taken, such as "America/New_York"; daily rows whose times have
            an offset take their date there.
        allow_negative: keep prices that are zero or negative.
        keep_last: of rows of one symbol and time that differ, keep the last one instead of refusing the file.
        symbol_case: of symbols that differ only in case, "upper": they are one; "keep": they are several.

    Raises:
        InputError: a value that is not among these.
    """

    columns: str | None = None
    symbol_column: str | None = None
    date_column: str | None = None
    date_format: str | None = None
    layout: str | None = None
    decimal: str | None = None
    timezone: str | None = None
    allow_negative: bool = False
    keep_last: bool = False
    symbol_case: str | None = None

    @property
    def column_names(self) -> list[str]:
        """What ``columns`` names; nothing if the file's own names are used."""
        return [] if self.columns is None else [name.strip() for name in self.columns.split(",")]

    def __post_init__(self) -> None:
        if isinstance(self.timezone, tzinfo):  # of Python
            object.__setattr__(self, "timezone", str(self.timezone))
        for field in fields(self):
            _require_kind(field.name, getattr(self, field.name), field.default is False)
        if self.columns is not None and not all(self.column_names):
            raise InputError(f'--columns: must be names separated by commas, or "_", got "{self.columns}"')
        if self.layout not in (None, *LAYOUT_NAMES):
            raise InputError(f'--layout: must be one of {", ".join(LAYOUT_NAMES)}, got "{self.layout}"')
        if self.decimal not in (None, ".", ","):
            raise InputError(f'--decimal: must be "." or ",", got "{self.decimal}"')
        if self.symbol_case not in (None, "upper", "keep"):
            raise InputError(f'--symbol-case: must be upper or keep, got "{self.symbol_case}"')
        if self.date_format is not None:
            form_of_option(self.date_format)
        if self.timezone is not None:
            try:
                ZoneInfo(self.timezone)
            except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
                raise _no_zone(self.timezone) from None


def _require_kind(name: str, value: Any, flag: bool) -> None:
    """Refuse a value that is no text, or of a flag no truth value; the shell gives no others, but Python may."""
    if value is not None and not isinstance(value, bool if flag else str):
        wanted = "true or false" if flag else "a text"
        if name in ("columns", "symbol_column"):
            wanted = "one text with the names, separated by commas"
        raise InputError(f"--{name.replace('_', '-')}: must be {wanted}, got {value!r}")


def _no_zone(name: str) -> InputError:
    return InputError(f'--timezone: there is no time zone "{name}"; name one such as America/New_York or UTC')


def columns_option(names: Sequence[str]) -> str:
    """The option ``--columns`` with names, as the shell takes it."""
    return "--columns " + shlex.quote(",".join(names))
