"""Prices from Yahoo Finance through yfinance, into a market store, which the same command later brings up to date.

Symbols that Yahoo does not know, or does not answer for, are told of at the end and cost the others nothing. Each that
came is kept in a journal beside the output (``fetching/journal``) until the store is complete, so that a call that was
interrupted takes up where it was.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hpc_lstm.errors import InputError
from hpc_lstm.market.fetching.client import YahooClient, quiet_yfinance
from hpc_lstm.market.fetching.history import SOURCE, FetchedHistory, StoredHistory, open_stored_history
from hpc_lstm.market.fetching.journal import Journal, open_journal
from hpc_lstm.market.fetching.passes import Outcome, Pace, fetch_all
from hpc_lstm.market.fetching.progress import FetchProgress
from hpc_lstm.market.fetching.replies import UNKNOWN, NoPrices, NotAnswered
from hpc_lstm.market.fetching.request import Request, parse_request, require_kept
from hpc_lstm.market.fetching.series import COLUMNS
from hpc_lstm.market.fetching.summary import FetchSummary, shortened
from hpc_lstm.market.fetching.symbols import is_plausible, symbols_of
from hpc_lstm.market.fetching.token_bucket import TokenBucket
from hpc_lstm.market.fetching.update import (
    Contradicts,
    Known,
    Update,
    bring_up_to_date,
    is_up_to_date,
)
from hpc_lstm.market.store_writer import StoreWriter, output_path

__all__ = ["FetchSummary", "fetch_prices"]


def fetch_prices(
    symbols: list[str],
    start: str,
    end: str | None,
    path: str | Path,
    *,
    interval: str = "1d",
    strict: bool = False,
    allow_negative: bool = False,
    pace: Pace | None = None,
    now: float | None = None,
    progress: Callable[[int], FetchProgress] = FetchProgress,
) -> FetchSummary:
    """Fetch prices, unadjusted for dividends and with an ``adj_close`` column, into a market store.

    If the store exists, newer rows and new symbols are added to it; a symbol whose history changed is fetched anew.

    Args:
        symbols: as Yahoo names them.
        start, end: first day, and the day after the last one (None: today), as YYYY-MM-DD, where the exchange is.
        interval: of a row, as ``request.INTERVALS``.
        strict: refuse to write a store without all the symbols.
        allow_negative: keep prices that are zero or negative, as of yields.
        pace: how fast to ask, and how patiently.
        now: time of the call, seconds since 1970.
        progress: makes what shows the progress, given the number of symbols to ask for.

    Raises:
        InputError: a date is wrong, yfinance is missing, nothing came, or with ``strict`` not everything.
        StoreError: the store cannot be written, or is not one that Yahoo's prices go into.
    """
    request = parse_request(
        interval, start, end, time.time() if now is None else now, allow_negative=allow_negative
    )
    output = output_path(path)
    names = symbols_of(symbols)
    if not names:
        raise InputError("no symbol is given; name some, such as AAPL, or a file with --symbols-file")
    if not output.exists():
        require_kept(request)
    summary = FetchSummary(output)
    with (
        quiet_yfinance() as yahoo,
        open_stored_history(output, request) as stored,
        open_journal(output, request.kind) as journal,
    ):
        history = FetchedHistory(stored, journal, request)
        spelled = {name.upper(): name for name in stored.symbols}  # an older version kept the user's spelling
        names = [spelled.get(name, name) for name in names]
        _fetch(yahoo, names, history, journal, request, pace or Pace(), progress, summary)
        _require_enough(names, summary, request, strict)
        _write(output, names, history, stored, request, summary)
    # What an older version left behind when it was interrupted.
    shutil.rmtree(output.with_name(f".{output.name}.parts"), ignore_errors=True)
    return summary


def _fetch(
    yahoo: Any,
    names: list[str],
    history: FetchedHistory,
    journal: Journal,
    request: Request,
    pace: Pace,
    progress: Callable[[int], FetchProgress],
    summary: FetchSummary,
) -> None:
    """Ask for what is missing of each symbol; what comes goes into the journal."""
    todo: list[tuple[str, Known | None]] = []
    for name in names:
        known = history.known(name)
        if not is_plausible(name):
            summary.missing[name] = "not a symbol of Yahoo's"
        elif not is_up_to_date(known, request):
            todo.append((name, known))
        elif history.news(name):
            summary.resumed.append(name)
        else:
            summary.unchanged.append(name)

    client = YahooClient(
        yahoo, request, TokenBucket(pace.rate, pace.burst, sleep=pace.sleep), timeout=pace.timeout
    )

    def work(item: tuple[str, Known | None]) -> Update:
        return bring_up_to_date(client, *item, request)

    with progress(len(todo)) as shown:

        def take(outcome: Outcome[tuple[str, Known | None], Update]) -> None:
            name, known = outcome.item
            if outcome.result is not None:
                _keep(name, known, outcome.result, journal, summary)
            elif isinstance(outcome.error, NoPrices):
                kept = "; its rows are kept" if known else ""
                summary.missing[name] = f"{outcome.error}{_spelling(name, outcome.error)}{kept}"
            elif isinstance(outcome.error, (NotAnswered, Contradicts)):
                summary.failed[name] = str(outcome.error)
            else:  # one symbol's odd prices do not cost the others theirs
                kind = type(outcome.error).__name__
                summary.failed[name] = f"prices that cannot be used ({kind}: {outcome.error})"
            shown.done(came=outcome.result is not None)

        fetch_all(work, todo, pace, take, shown.waiting)
    summary.missing = {name: summary.missing[name] for name in names if name in summary.missing}
    summary.failed = {name: summary.failed[name] for name in names if name in summary.failed}


def _spelling(name: str, error: NoPrices) -> str:
    """A hint for BRK.B, as it is written elsewhere."""
    if str(error) == UNKNOWN and name[-2:] in (".A", ".B", ".C"):
        return f"; Yahoo writes {name[:-2]}-{name[-1]}"
    return ""


def _keep(name: str, known: Known | None, update: Update, journal: Journal, summary: FetchSummary) -> None:
    journal.append(name, update)
    rows = len(update.series)
    summary.dropped[name] = update.series.dropped
    summary.added[name] = rows - known.rows if known and update.whole else rows
    if update.reason:
        summary.anew[name] = update.reason


def _require_enough(names: list[str], summary: FetchSummary, request: Request, strict: bool) -> None:
    without = {**summary.missing, **summary.failed}
    if not without or (len(without) < len(names) and not strict):
        return
    reasons = dict.fromkeys(without.values())
    why = "; ".join(list(reasons)[:3])
    kept = "; the other symbols are kept and will not be fetched again" if len(without) < len(names) else ""
    who = shortened(list(without))
    if summary.missing and not summary.failed:
        until = request.end or "today"
        raise InputError(
            f"Yahoo has no prices for {who} from {request.start} to {until} ({why}); leave them out or correct "
            f"them{kept}"
        )
    raise InputError(f"not fetched: {who} ({why}); repeat the command later{kept}")


def _write(
    output: Path,
    names: list[str],
    history: FetchedHistory,
    stored: StoredHistory,
    request: Request,
    summary: FetchSummary,
) -> None:
    """Write the store anew, if there is anything new."""
    fresh = {name for name in names if history.news(name)}
    new = [name for name in names if name in fresh and name not in stored]
    summary.others = len(set(stored.symbols) - set(names))
    if not new and not any(record.whole or record.last for name in fresh for record in history.news(name)):
        found = {name: history.known(name) for name in names}
        summary.rows = {name: known.rows for name, known in found.items() if known}
        return
    old = stored.attributes
    about = {
        key: value
        for key, value in old.items()
        if key not in ("format", "version", "source", "created", "date_unit")
    }
    about["start"] = min(str(old.get("start", request.start)), str(request.start))
    about["end"] = max(str(old.get("end", "")), str(request.end_in("")))
    about["interval"] = request.interval
    if request.allow_negative:
        about["allow_negative"] = 1
    source = str(old.get("source", SOURCE))
    source = source if SOURCE in source else f"{source}; {SOURCE}"
    with StoreWriter(output, list(COLUMNS), source, date_unit=request.date_unit, attributes=about) as writer:
        rows = history.write(writer, new, fresh)
    summary.rows = {name: rows[name] for name in names if name in rows}
    summary.written = True
