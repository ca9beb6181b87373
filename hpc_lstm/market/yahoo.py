"""Daily prices from Yahoo Finance through yfinance, into a market store.

Each fetched symbol is kept in a folder beside the output (``.market.h5.parts/``) until the store is complete, so that a
call that was interrupted, or failed for an unknown symbol, resumes where it stopped.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from hpc_lstm.errors import InputError, StoreError
from hpc_lstm.market.store import MarketStore, StoreWriter, output_path

# Columns of the store, and their names in yfinance.
COLUMNS = {
    "open": "Open",
    "high": "High",
    "low": "Low",
    "close": "Close",
    "volume": "Volume",
    "adj_close": "Adj Close",
}
# What yfinance raises for a symbol that Yahoo does not know or has no prices for.
_UNKNOWN = ("YFTzMissingError", "YFPricesMissingError", "YFTickerMissingError")
SOURCE = "Yahoo Finance through yfinance"


@dataclass(frozen=True)
class FetchSummary:
    """What a call of ``fetch_prices`` did.

    Attributes:
        rows: number in the store, by symbol.
        dropped: number of rows that were incomplete or had a price that is not positive, by symbol.
        resumed: symbols that an earlier call had fetched.
    """

    path: Path
    rows: dict[str, int]
    dropped: dict[str, int]
    resumed: list[str]

    def table(self) -> str:
        """The summary as plain text."""
        width = max(len("symbol"), *(len(name) for name in self.rows))
        lines = [f"{'symbol':<{width}}{'rows':>8}{'dropped':>9}"]
        for name, rows in self.rows.items():
            note = "  fetched earlier" if name in self.resumed else ""
            lines.append(f"{name:<{width}}{rows:>8,}{self.dropped[name]:>9,}{note}")
        return "\n".join([*lines, f"wrote {self.path}"])


def fetch_prices(symbols: list[str], start: str, end: str | None, path: str | Path) -> FetchSummary:
    """Fetch daily prices, unadjusted and with an ``adj_close`` column, and write a market store.

    Args:
        symbols: as Yahoo names them.
        start, end: first day, and the day after the last one (None: today), as YYYY-MM-DD.

    Raises:
        InputError: a date is wrong, yfinance is missing, or Yahoo cannot be reached or does not know a symbol.
        StoreError: the store cannot be written.
    """
    first, last = _days(start, end)
    output = output_path(path)
    names = list(dict.fromkeys(symbols))
    parts = output.with_name(f".{output.name}.parts")
    resumed, unknown = [], []
    with _yfinance() as yahoo:
        try:
            parts.mkdir(exist_ok=True)
        except OSError as error:
            raise StoreError(f"{parts}: cannot be created: {error.strerror}; choose another output") from None
        try:
            for name in names:
                part = parts / f"{quote(name, safe='')}.h5"
                if _is_fetched(part, first, last):
                    resumed.append(name)
                elif not _fetch_one(yahoo, name, first, last, part):
                    unknown.append(name)
        finally:
            with suppress(OSError):  # it stays if anything was fetched
                parts.rmdir()
    if unknown:
        raise InputError(
            f"Yahoo has no prices for {', '.join(unknown)} from {first} to {last}; leave them out or correct them; "
            "the other symbols are kept and will not be fetched again"
        )
    summary = FetchSummary(output, {}, {}, resumed)
    with StoreWriter(
        output, list(COLUMNS), SOURCE, attributes={"start": str(first), "end": str(last)}
    ) as store:
        for name in names:
            with MarketStore(parts / f"{quote(name, safe='')}.h5") as part_store:
                count = int(part_store.offsets[-1])
                store.append(name, part_store.dates(0, count), part_store.rows(0, count))
                summary.rows[name], summary.dropped[name] = count, int(part_store.attributes["dropped"])
    shutil.rmtree(parts)
    return summary


def _days(start: str, end: str | None) -> tuple[date, date]:
    days = []
    for option, text in (("--start", start), ("--end", end or date.today().isoformat())):
        try:
            days.append(date.fromisoformat(text))
        except ValueError:
            raise InputError(f'{option}: must be a day such as 2015-01-31, got "{text}"') from None
    if days[0] >= days[1]:
        raise InputError(f"--start {days[0]} must be before --end {days[1]}")
    return days[0], days[1]


@contextmanager
def _yfinance() -> Iterator[Any]:
    """The module yfinance, configured to raise errors instead of logging them.

    By default it returns an empty table if the network is down, as if the symbol were unknown.
    """
    try:
        import yfinance
    except ImportError:
        raise InputError('fetch needs yfinance, which is missing: pip install "hpc-lstm[yahoo]"') from None
    logger = logging.getLogger("yfinance")
    level = logger.level
    debug = yfinance.config.debug
    hidden = debug.hide_exceptions
    logger.setLevel(logging.CRITICAL + 1)
    debug.hide_exceptions = False
    try:
        yield yfinance
    finally:
        logger.setLevel(level)
        debug.hide_exceptions = hidden


def _is_fetched(part: Path, first: date, last: date) -> bool:
    """Whether an earlier call has fetched this symbol for the same days."""
    if not part.exists():
        return False
    try:
        with MarketStore(part) as store:
            return (store.attributes.get("start"), store.attributes.get("end")) == (str(first), str(last))
    except StoreError:
        return False


def _fetch_one(yahoo: Any, name: str, first: date, last: date, part: Path) -> bool:
    """Fetch a symbol into its part; False if Yahoo has no prices for it."""
    try:
        frame = yahoo.Ticker(name).history(
            start=str(first), end=str(last), interval="1d", auto_adjust=False, actions=False
        )
    except OSError as error:
        raise InputError(
            f"{name}: Yahoo cannot be reached ({type(error).__name__}); check the network and repeat the command: "
            "symbols fetched so far are kept"
        ) from None
    except Exception as error:
        if type(error).__name__ in _UNKNOWN:
            return False
        if type(error).__name__ == "YFRateLimitError":
            raise InputError(
                f"{name}: Yahoo refuses further requests for now; repeat the command later: "
                "symbols fetched so far are kept"
            ) from None
        raise
    if frame is None or not len(frame):
        return False
    missing = [theirs for theirs in COLUMNS.values() if theirs not in frame.columns]
    if missing:
        raise InputError(
            f"{name}: yfinance returns no column {missing[0]!r}; update it: pip install -U yfinance"
        )
    # The index has midnights in the exchange's time zone, which stand for local calendar days.
    days = frame.index.tz_localize(None).to_numpy("datetime64[D]").astype(np.int64)
    values = frame[list(COLUMNS.values())].to_numpy(np.float64)
    days, order = np.unique(days[::-1], return_index=True)  # the last row of each day
    values = values[::-1][order]
    prices = values[:, [c != "volume" for c in COLUMNS]]
    usable = np.isfinite(values).all(axis=1) & (prices > 0).all(axis=1)
    if not usable.any():
        return False
    about = {"start": str(first), "end": str(last), "dropped": int((~usable).sum())}
    with StoreWriter(part, list(COLUMNS), SOURCE, attributes=about) as store:
        store.append(name, days[usable], values[usable])
    return True
