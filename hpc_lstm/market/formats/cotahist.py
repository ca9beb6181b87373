"""COTAHIST, the historical quotes of B3, the exchange of Brazil: records of 245 characters without separators.

Only the cash market is read: options, forwards and odd lots are other instruments. Prices are for one share, also of
papers that were quoted by the thousand.

Source: B3, "SeriesHistoricas_Layout.pdf", record 01.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace

from hpc_lstm.errors import PriceFileError
from hpc_lstm.market.formats.csv import BLOCK, CsvFile
from hpc_lstm.market.formats.line_stream import LineStream
from hpc_lstm.market.formats.source import SourceFile, with_head

LENGTH = 245
_CASH = b"010"  # TPMERC
_HEADER = b"date,symbol,open,high,low,close,volume,isin\n"
# PREABE, PREMAX, PREMIN and PREULT, in hundredths.
_PRICES = (slice(56, 69), slice(69, 82), slice(82, 95), slice(108, 121))


class CotahistFile(CsvFile):
    """A COTAHIST file, read as the CSV of its columns."""

    format_name = "COTAHIST"

    @classmethod
    def recognizes(cls, source: SourceFile) -> bool:
        """Whether the file begins with COTAHIST's own record."""
        return source.head.startswith(b"00COTAHIST")

    def __init__(self, source: SourceFile) -> None:
        self._other_markets = 0
        lines = lambda: io.BufferedReader(LineStream(self._converted(source)), BLOCK)  # noqa: E731
        super().__init__(with_head(replace(source, opener=lines, gzipped=False)))

    @property
    def left_out(self) -> list[str]:
        """Records of other markets, beside what a CSV leaves out."""
        others = (
            [f"{self._other_markets:,} records of other markets than cash"] if self._other_markets else []
        )
        return [*super().left_out, *others]

    def _converted(self, source: SourceFile) -> Iterator[bytes]:
        """The records as lines of a CSV: each at its own line, those left out empty."""
        self._other_markets = 0
        with source.open() as file:
            for number, line in enumerate(file, 1):
                record = line.rstrip(b"\r\n")
                if number == 1:
                    yield _HEADER
                elif record[:2] == b"01" and record[24:27] == _CASH:
                    yield _row(source, number, record)
                else:
                    self._other_markets += record[:2] == b"01"
                    yield b"\n"


def _row(source: SourceFile, number: int, record: bytes) -> bytes:
    try:
        if len(record) < LENGTH - 3:  # DISMES, the last three, may be cut
            raise ValueError
        shares = int(record[210:217])  # FATCOT: the price is for so many
        prices = [int(record[place]) / 100 / shares for place in _PRICES]
        volume = int(record[152:170])  # QUATOT
    except (ValueError, ZeroDivisionError):
        raise PriceFileError(
            f"{source.path}: line {number}: is not a complete record of {LENGTH} characters with numbers at their "
            "places; the file is damaged or cut short, copy it again"
        ) from None
    symbol, isin = record[12:24].strip(), record[230:242].strip()
    texts = b",".join(f"{price:.15g}".encode() for price in prices)
    return b"%s,%s,%s,%d,%s\n" % (record[2:10], symbol, texts, volume, isin)
