"""Tables of a single symbol: as long ones, but the symbol is the file's name, less .csv and .gz."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from hpc_lstm.market.layouts.header import Header
from hpc_lstm.market.layouts.layout import TableBatch
from hpc_lstm.market.layouts.long import LongLayout


class SingleLayout(LongLayout):
    """A row per date, without a column that names the symbol."""

    kind = "single"

    @classmethod
    def recognizes(cls, header: Header) -> bool:
        """Whether a header has price columns and no symbol."""
        return header.names_prices and "symbol" not in header.fields

    def __init__(self, header: Header) -> None:
        super().__init__(header)
        self._name = symbol_of_file(header.path)

    def _symbols(self, batch: TableBatch) -> tuple[list[str], np.ndarray]:
        return [self._name], np.zeros(batch.num_rows, np.int32)


def symbol_of_file(path: str) -> str:
    """The symbol that a file's name stands for: "data/AAPL.csv.gz" is "AAPL"."""
    name = re.sub(r"\.gz$", "", Path(path).name, flags=re.IGNORECASE)
    return re.sub(r"\.(csv|txt|tsv)$", "", name, flags=re.IGNORECASE)
