"""Names of columns that pair a symbol with a field: "AAPL.Close", "Close_AAPL", "('Close', 'AAPL')", "close (USD)"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hpc_lstm.market.layouts.vocabulary import (
    FIELD_NAMES,
    FIELD_OF,
    FILLER,
    OTHER,
    SIDES,
    SPELLINGS,
    plain,
    words,
)

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


def paired_names(names: Sequence[str]) -> dict[int, PairedName]:
    """The columns whose names are pairs, by number, all with the field first or all with the symbol first.

    The order is taken by which most columns belong to symbols that have a close.
    """
    return max((_in_order(names, field_first) for field_first in (True, False)), key=len)


def _in_order(names: Sequence[str], field_first: bool) -> dict[int, PairedName]:
    pairs = {number: pair for number, name in enumerate(names) if (pair := _split(name, field_first))}
    named = {FIELD_OF[word] for pair in pairs.values() if (word := plain(pair.symbol)) in FIELD_OF}
    if len(named) > 1 and {pair.field for pair in pairs.values()} == {"close"}:
        return {}  # "price.open" and "price.high" are no prices of symbols called open and high
    closes = {pair.symbol for pair in pairs.values() if pair.field in ("close", "adj_close")}
    return {number: pair for number, pair in pairs.items() if pair.symbol in closes}


def _split(name: str, field_first: bool) -> PairedName | None:
    if pair := _TUPLE.fullmatch(name.strip()):
        field, symbol = (pair["first"], pair["second"]) if field_first else (pair["second"], pair["first"])
        return _pair(re.sub(r"\.\d+$", "", field), symbol)
    if plain(name) in FIELD_OF:  # "Adj Close" is no close of a symbol "Adj"
        found = _UNIT.fullmatch(name.strip())
        return _pair(found["field"], found["unit"], unit=True) if found else None
    tokens = _tokens(name)
    for count in range(min(3, len(tokens) - 1), 0, -1):
        if field_first:
            field, symbol = name[: tokens[count - 1][1]], name[tokens[count][0] :]
        else:
            field, symbol = name[tokens[-count][0] :], name[: tokens[-count - 1][1]]
        if paired := _pair(field, symbol):
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
