"""Hold each symbol to one instrument: to one exchange, currency, expiry, board or permanent number in all of its rows.

A ticker is reused, is listed in two places, and names futures of many expiries. Where rows of both stand on the same
day they differ, and are refused for it; on different days they would silently become one series.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hpc_lstm.errors import PriceFileError, in_shell
from hpc_lstm.market.formats.price_file import PriceFile
from hpc_lstm.market.layouts.layout import PriceBatch
from hpc_lstm.market.layouts.symbol_column import IDENTIFIERS
from hpc_lstm.market.layouts.vocabulary import plain

# An issuer's part of its securities' numbers: a split in India changes the rest of the ISIN.
_ISSUER = {"isin": 8, "isincode": 8, "cusip": 6}


@dataclass
class Instruments:
    """What was seen of the instruments of an import's symbols.

    Attributes:
        seen: by plain name of a column, then by symbol, the value in its first row.
    """

    seen: dict[str, dict[str, str]] = field(default_factory=dict)

    def require_one(self, file: PriceFile, batch: PriceBatch) -> None:
        """Take in a batch.

        Raises:
            PriceFileError: a symbol's rows are of two instruments.
        """
        for name, (texts, codes) in batch.instruments.items():
            known = self.seen.setdefault(plain(name), {})
            values = [_compared(plain(name), text) for text in texts]
            for pair in np.unique(batch.symbol.astype(np.int64) * len(texts) + codes).tolist():
                symbol, value = batch.symbols[pair // len(texts)], values[pair % len(texts)]
                if value and known.setdefault(symbol, value) != value:
                    raise _several(file, symbol, name, known[symbol], texts[pair % len(texts)].strip())


def _compared(name: str, text: str) -> str:
    text = text.strip()
    return text[: _ISSUER[name]] if name in _ISSUER else text


def _several(file: PriceFile, symbol: str, name: str, first: str, second: str) -> PriceFileError:
    own = file.symbol_name
    apart = name if plain(name) in IDENTIFIERS | set(_ISSUER) else f"{own},{name}"
    return PriceFileError(
        f'{file.path}: rows of "{symbol}" have different values of "{name}" ("{first}", "{second}"); give '
        f"--symbol-column {in_shell(apart)} if they are several instruments, or --symbol-column {in_shell(own)} if "
        "they are one"
    )
