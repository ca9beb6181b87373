"""Tables of a single symbol: as long ones, but the symbol is the file's name, without .csv, .gz and the like."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from hpc_lstm.market.layouts.header import Header
from hpc_lstm.market.layouts.layout import TableBatch
from hpc_lstm.market.layouts.long import LongLayout
from hpc_lstm.market.layouts.symbol_column import require_one_symbol, symbol_columns

_PACKED = re.compile(r"\.(gz|gzip|zip)$", re.IGNORECASE)
_TABLES = re.compile(
    r"\.(csv|tsv|tab|psv|txt|dat|asc|prn|xlsx?|xlsm|parquet|parq|pq|feather|ftr|arrow|ipc)$", re.IGNORECASE
)


class SingleLayout(LongLayout):
    """A row per date, without a column that names the symbol.

    Attributes:
        name: the symbol; the importer may name it by the file's folder instead.
    """

    kind = "single"

    @classmethod
    def recognizes(cls, header: Header) -> bool:
        """Whether a header has price columns and no symbol."""
        return not symbol_columns(header) and (
            "close" in header.fields or len(header.price_words) > 1 or _lone_price_word(header)
        )

    def _find_symbol(self, header: Header) -> None:
        self.symbol = ()
        self.constant = require_one_symbol(header)
        self.name = symbol_of_file(header.path)
        self.origin = "symbol from the file's name"

    def _instrument_columns(self, header: Header) -> tuple[int, ...]:
        return ()  # among those that must not change at all

    def _symbols(self, batch: TableBatch) -> tuple[list[str], np.ndarray]:
        return [self.name], np.zeros(batch.num_rows, np.int32)


def _lone_price_word(header: Header) -> bool:
    """Whether a header's one price word is no ticker among others: LOW is one beside AAPL and SYM."""
    words = header.price_words
    if not words:
        return False
    others = [
        name
        for number, name in enumerate(header.names)
        if number not in (words[0], header.fields.get("date"))
    ]
    return not (re.fullmatch(r"[A-Z]{2,5}", header.names[words[0]]) and any(others))


def symbol_of_file(path: str) -> str:
    """The symbol that a file's name stands for: "data/AAPL.csv.gz" is "AAPL"."""
    return _TABLES.sub("", _PACKED.sub("", Path(path).name))
