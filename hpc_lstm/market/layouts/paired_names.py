"""Names of columns that pair a symbol with a field: "AAPL.Close", "Close_AAPL", "('Close', 'AAPL')", "close (USD)"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from hpc_lstm.market.layouts.vocabulary import (
    FIELD_NAMES,
    FIELD_OF,
    FILLER,
    OTHER,
    SIDES,
    SINGLE_LETTERS,
    SPELLINGS,
    plain,
    word_set,
    words,
)

# Names of the levels of a table's columns.
SYMBOL_LEVELS = frozenset(SPELLINGS["symbol"]) | word_set(
    "tickers symbols instruments securities assets stocks coins pairs"
)
FIELD_LEVELS = word_set(
    "price prices field fields attribute attributes feature features variable variables metric metrics"
)
_ORDERED = re.compile(r"\['(?P<field>.+)', '(?P<symbol>.+)'\]")
_TUPLE = re.compile(r"""\(\s*(['"])(?P<first>.*?)\1\s*,\s*(['"])(?P<second>.*?)\3\s*\)""")
_UNIT = re.compile(r"(?P<field>.*\S)\s*\((?P<unit>[A-Za-z]{3,5})\)")
_CUT = re.compile(r"[\s_.:|/\\-]+|(?<=[a-zß-ÿ])(?=[A-Z])")  # at punctuation, and as in closePrice


@dataclass(frozen=True)
class PairedName:
    """What a column's name says.

    Attributes:
        symbol: "" if only filler such as "stock" stands beside the field.
        field: one of the store's columns.
        spelling: of the field.
        unit: whether the symbol is only a part of the file's: the currency in "close (USD)", the side in "BidClose".
    """

    symbol: str
    field: str
    spelling: str
    unit: bool = False

    @property
    def rank(self) -> int:
        """Of several columns of a symbol's field the one of lowest rank counts: "Close" before "Last"."""
        return SPELLINGS[self.field].index(self.spelling)


class UnsureOrder(ValueError):
    """Names that are pairs of a field and a symbol as well as of a symbol and a field."""


def level_of_fields(levels: Sequence[Any]) -> int | None:
    """Which of two levels has the fields, as their names say; None: they do not."""
    called = [plain(str(level)) for level in levels]
    symbols, fields = ([name in known for name in called] for known in (SYMBOL_LEVELS, FIELD_LEVELS))
    if len(called) == 2 and sum(symbols) == 1:
        return symbols.index(False)
    return fields.index(True) if len(called) == 2 and sum(fields) == 1 else None


def pair_name(field: str, symbol: str, sure: bool = True) -> str:
    """The name of a column that has two; ``sure``: that it is known which is which."""
    return f"['{field}', '{symbol}']" if sure else f"('{field}', '{symbol}')"


def is_ordered(name: str) -> bool:
    """Whether a column's name is a pair of which it is known which is the symbol."""
    return _ORDERED.fullmatch(name) is not None


def ordered_by_levels(names: Sequence[str], levels: Sequence[Any]) -> list[str]:
    """Names of a table's columns, with pairs such as ``('AAPL', 'Close')`` in order where the levels' names tell it."""
    if (level := level_of_fields(levels)) is None:
        return list(names)
    parts = ("first", "second") if level == 0 else ("second", "first")
    pairs = [_TUPLE.fullmatch(name) for name in names]
    return [
        pair_name(pair[parts[0]], pair[parts[1]]) if pair else name
        for name, pair in zip(names, pairs, strict=True)
    ]


def paired_names(names: Sequence[str]) -> dict[int, PairedName]:
    """The columns whose names are pairs, by number, all with the field first or all with the symbol first.

    The order is taken by which most columns belong to symbols that have a close.

    Raises:
        UnsureOrder: both orders fit.
    """
    fields = {FIELD_OF.get(word) for name in names for word in words(name)}
    complete = {"open", "high", "low", "close"} <= fields
    first, second = (_in_order(names, field_first, complete) for field_first in (True, False))
    if len(first) == len(second) and first != second:
        if all(pair.symbol for pair in [*first.values(), *second.values()]):
            raise UnsureOrder
        return min(first, second, key=lambda pairs: any(pair.symbol for pair in pairs.values()))
    return max(first, second, key=len)


def _in_order(names: Sequence[str], field_first: bool, complete: bool) -> dict[int, PairedName]:
    """Pairs in one order; ``complete``: open, high, low and close are all among the names' words."""
    pairs = {
        number: pair for number, name in enumerate(names) if (pair := _split(name, field_first, complete))
    }
    named = {
        FIELD_OF[word]
        for number, pair in pairs.items()
        if (word := plain(pair.symbol)) in FIELD_OF
        and not is_ordered(names[number])
        and not _is_ticker(pair.symbol, pair.spelling, complete)
    }
    if len(named) > 1 and {pair.field for pair in pairs.values()} == {"close"}:
        return {}  # "price.open" and "price.high" are no prices of symbols called open and high
    closes = {pair.symbol for pair in pairs.values() if pair.field in ("close", "adj_close")}
    return {number: pair for number, pair in pairs.items() if pair.symbol in closes}


def _is_ticker(part: str, beside: str, complete: bool) -> bool:
    """Whether a field's name is more likely a symbol, as another field stands beside it: C, V and LOW beside "Close".

    "mid.c" is a field, where all of open, high, low and close are there.
    """
    if plain(beside) not in FIELD_OF or (complete and plain(beside) in FILLER):
        return False
    return plain(part) in SINGLE_LETTERS or (part.isupper() and not beside.isupper())


def _split(name: str, field_first: bool, complete: bool) -> PairedName | None:
    if pair := _ORDERED.fullmatch(name):
        return _pair(_unnumbered(pair["field"]), pair["symbol"]) if field_first else None
    if pair := _TUPLE.fullmatch(name.strip()):
        field, symbol = (pair["first"], pair["second"]) if field_first else (pair["second"], pair["first"])
        field = _unnumbered(field)
        return None if _is_ticker(field, symbol, complete) else _pair(field, symbol)
    if plain(name) in FIELD_OF:  # "Adj Close" is no close of a symbol "Adj"
        found = _UNIT.fullmatch(name.strip())
        return _pair(found["field"], found["unit"], unit=True) if found else None
    tokens = _tokens(name)
    for count in range(min(3, len(tokens) - 1), 0, -1):
        if field_first:
            field, symbol = name[: tokens[count - 1][1]], name[tokens[count][0] :]
        else:
            field, symbol = name[tokens[-count][0] :], name[: tokens[-count - 1][1]]
        if not _is_ticker(field, symbol, complete) and (paired := _pair(field, symbol)):
            others = set(words(symbol))
            if others <= FILLER:
                return PairedName("", paired.field, paired.spelling)
            if (
                len(others) > 1 and others & FIELD_NAMES and not symbol.isupper()
            ):  # lastTradedVolume; but "Close LOW"
                return None
            if others <= SIDES:
                return replace(paired, unit=True)
            return None if others <= OTHER | FILLER else paired
    return None


def _unnumbered(field: str) -> str:
    """A field's name without the number that pandas gives to one that it has read before: Close.1."""
    return re.sub(r"\.\d+$", "", field)


def _pair(field: str, symbol: str, unit: bool = False) -> PairedName | None:
    spelling = plain(field)
    if spelling not in FIELD_OF or not symbol.strip():
        return None
    return PairedName(symbol.strip(), FIELD_OF[spelling], spelling, unit)


def _tokens(name: str) -> list[tuple[int, int]]:
    """Beginning and end of each part of a name."""
    begin, tokens = 0, []
    for cut in _CUT.finditer(name):
        tokens.append((begin, cut.start()))
        begin = cut.end()
    return [(first, last) for first, last in [*tokens, (begin, len(name))] if first < last]
