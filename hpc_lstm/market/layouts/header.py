"""The header of a table of prices, and the spellings by which it may name its columns.

Case, spaces, underscores, dots, hyphens and asterisks do not matter: "Adj. Close**" is "adj_close".
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from hpc_lstm.errors import CsvError

COLUMNS = ("open", "high", "low", "close", "volume", "adj_close")  # in the order of the market store

# The first spelling found counts: "Symbol" is the symbol in a file that also has a company's "Name".
SPELLINGS: dict[str, tuple[str, ...]] = {
    "date": ("date", "datetime", "timestamp", "tradedate", "tradingday", "day", "time"),
    "symbol": ("symbol", "ticker", "tic", "sym", "instrument", "stock", "name"),
    "open": ("open", "openprice", "openingprice"),
    "high": ("high", "highprice"),
    "low": ("low", "lowprice"),
    "close": ("close", "closeprice", "closingprice", "close/last", "last", "price"),
    "volume": ("volume", "vol", "tradedvolume"),
    "adj_close": ("adjclose", "adjustedclose", "adjcloseprice", "closeadj", "closeadjusted"),
}


class Header:
    """The header of a table.

    Args:
        path: the file, for error messages.
        names: the columns' names as in the file.

    Attributes:
        fields: by field of ``SPELLINGS``, the number of the column that has it.

    Raises:
        CsvError: two columns have the same name.
    """

    def __init__(self, path: str, names: Sequence[str]) -> None:
        self.path, self.names = path, list(names)
        self.fields: dict[str, int] = {}
        self._plain = [re.sub(r"[\s_.\-*]+", "", name).lower() for name in names]
        for field, spellings in SPELLINGS.items():
            for spelling in spellings:
                if self._plain.count(spelling) > 1:
                    raise self.twice(self.names[self._plain.index(spelling)])
                if spelling in self._plain and field not in self.fields:
                    self.fields[field] = self._plain.index(spelling)
        if "date" not in self.fields and self._plain[0] == "":  # an index column without a name
            self.fields["date"] = 0

    @property
    def names_prices(self) -> bool:
        """Whether the columns are fields of one symbol's row, rather than one column per symbol."""
        known = len([field for field in (*COLUMNS, "symbol") if field in self.fields])
        others = len(self.names) - ("date" in self.fields)
        return "close" in self.fields or "symbol" in self.fields or 2 * known > others

    def require_fields(self, *fields: str) -> None:
        """Refuse a header that lacks a field, or that has date and time in two columns.

        Raises:
            CsvError: the file, the accepted names and the header found.
        """
        missing = [field for field in fields if field not in self.fields]
        if missing:
            raise self.lacks(missing)
        if "time" in self._plain and self._plain.index("time") != self.fields["date"]:
            date, time = self.names[self.fields["date"]], self.names[self._plain.index("time")]
            raise CsvError(
                f'{self.path}: line 1: the columns "{date}" and "{time}" both hold times; join them into one, such as '
                f"2020-01-31T15:59:00"
            )

    def lacks(self, fields: Sequence[str]) -> CsvError:
        """The error for missing fields."""
        missing = " and ".join(
            f"no {field} column (accepted names: {', '.join(SPELLINGS[field])})" for field in fields
        )
        few = ", ".join(repr(name) for name in self.names[:8]) + (", ..." if len(self.names) > 8 else "")
        return CsvError(
            f"{self.path}: line 1: {missing} in the header {few}; rename one. A wide file has the date in its first "
            "column"
        )

    def twice(self, name: str) -> CsvError:
        """The error for two columns of the same name."""
        return CsvError(f'{self.path}: line 1: two columns are called "{name}"; keep one')
