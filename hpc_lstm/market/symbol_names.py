"""Names for the symbols of files that hold one each: the file's name, or its folder's where names repeat."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from hpc_lstm.errors import PriceFileError
from hpc_lstm.market.formats.price_file import PriceFile
from hpc_lstm.market.layouts.single import SingleLayout, symbol_of_file

# Names of files that say what is inside, not whose prices.
GENERAL = re.compile(
    r"(daily|data|prices?|hist(ory|orical)?|ohlcv?|quotes?|stock|stocks|intraday|bars?|candles?|klines?|eod|table|download"
    r"|export|close|chart|output|result|adjusted|raw|clean|time_?series|\d+\s?(d|h|m|min|mo|wk|y|day|hour|minute)s?|day|week(ly)?"
    r"|hour(ly)?|minute|max|all|full|train|test|sheet\s?\d*|[\d\W_]+)([\W_].*)?",
    re.IGNORECASE,
)
_WORKBOOKS = (".xlsx", ".xlsm", ".xls")
# Names of folders that say when or which part.
_PARTS = re.compile(r"[\d\W_]*|(part|year|y|chunk|batch|data|old|new|archive|update)[\W_]*\d*", re.IGNORECASE)


def name_by_folders(files: Sequence[PriceFile]) -> None:
    """Name the symbols of files with the same general name by their folders: AAPL/daily.csv and MSFT/daily.csv.

    Files with the same name that is not general, such as 2023/AAPL.csv and 2024/AAPL.csv, stay one symbol.
    """
    groups: dict[str, list[PriceFile]] = {}
    for file in files:
        book = Path(file.path).parent
        if (
            isinstance(file.layout, SingleLayout)
            and book.suffix.lower() in _WORKBOOKS
            and _PARTS.fullmatch(file.layout.name)
        ):
            file.layout.name = symbol_of_file(str(book))  # its sheets are years of one symbol
            file.layout.origin = file.layout.origin.replace("the file's name", "the workbook's name")
        if isinstance(file.layout, SingleLayout):
            groups.setdefault(file.layout.name, []).append(file)
    for name, group in groups.items():
        folders = [symbol_of_file(str(Path(file.path).absolute().parent)) for file in group]
        distinct = len(set(folders)) > 1
        parts = any(_PARTS.fullmatch(folder) for folder in folders)
        if distinct and (GENERAL.fullmatch(name) or _looks_like_symbols(name, folders)) and not parts:
            for file, folder in zip(group, folders, strict=True):
                assert isinstance(file.layout, SingleLayout)
                file.layout.name = folder
                file.layout.origin = file.layout.origin.replace("the file's name", "the folder's name")


def require_distinct(names: Iterable[str]) -> None:
    """Refuse symbols that differ only in case: AAPL.csv and aapl.csv may be one or two.

    Raises:
        PriceFileError: two names, and the option that settles it.
    """
    seen: dict[str, str] = {}
    for name in names:
        if (other := seen.setdefault(name.casefold(), name)) != name:
            raise PriceFileError(
                f'the symbols "{other}" and "{name}" differ only in case; give --symbol-case upper if they are one, '
                "or --symbol-case keep if they are two"
            )


def _looks_like_symbols(name: str, folders: list[str]) -> bool:
    """Whether folders are written as tickers are, and the files' name is not."""
    tickers = all(re.fullmatch(r"[A-Z0-9.^=\-]{1,12}", folder) for folder in folders)
    return tickers and not re.fullmatch(r"[A-Z0-9.^=\-]{1,12}", name)
