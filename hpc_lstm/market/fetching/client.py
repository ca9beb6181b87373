"""yfinance, asked for the prices of one symbol: quietly, at a bounded rate, and with reasons for what does not come.

What Yahoo replies is looked at before yfinance sees it: see ``replies``.
"""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Any

from hpc_lstm.errors import InputError
from hpc_lstm.market.fetching.cache_folder import renew_cache, use_cache_of_our_own
from hpc_lstm.market.fetching.periods import period_start
from hpc_lstm.market.fetching.replies import (
    NOTHING,
    TOO_MANY,
    UNKNOWN,
    CheckedReplies,
    Host,
    NoPrices,
    NotAnswered,
    chart_parameters,
)
from hpc_lstm.market.fetching.request import Request, local_day
from hpc_lstm.market.fetching.series import Series, frame_series
from hpc_lstm.market.fetching.token_bucket import TokenBucket

_EPOCH = date(1970, 1, 1)
# yfinance, and what it uses, would log to stderr.
_LIBRARIES = ("yfinance", "peewee", "curl_cffi", "requests", "urllib3", "bs4", "charset_normalizer")


class YahooClient:
    """Asks Yahoo through yfinance; may be shared by threads.

    Args:
        yahoo: the module yfinance, as ``quiet_yfinance`` gives it.
        bucket: bounds the rate of requests. timeout: of a request, in seconds.
    """

    def __init__(self, yahoo: Any, request: Request, bucket: TokenBucket, timeout: float) -> None:
        self._yahoo, self._request, self._bucket, self._timeout = yahoo, request, bucket, timeout
        self._host = Host()
        self._lock = threading.Lock()

    def series(self, symbol: str, first: date, end: date | None, zone: str = "") -> Series:
        """Prices from ``first`` up to, not including, ``end`` or the present session, whichever is earlier.

        Args:
            end: None: as the request says.
            zone: of the exchange, where it is known: saves asking for it.

        Raises:
            NoPrices, NotAnswered: with the reason.
        """
        end = end or self._request.end
        if self._request.interval in ("1wk", "1mo"):
            # yfinance joins the week in progress to the one before it where summer time begins between them.
            ask_until = end or self._request.end_in(zone)
        else:  # where the exchange is, it may already be tomorrow
            ask_until = end or local_day(self._request.now, "") + timedelta(days=2)
        parts: list[Series] = []
        days = f"from {first} to {end - timedelta(days=1)}" if end else f"since {first}"
        reason = NoPrices(f"no prices {days}")
        for a, b in self._request.spans(first, ask_until):
            try:
                parts.append(self._part(symbol, a, b, end, zone))
            except NoPrices as error:
                if str(error) == UNKNOWN:
                    reason = error
                elif str(error) != NOTHING:
                    raise
        if not parts:
            raise reason
        whole = parts[0]
        for part in parts[1:]:
            whole = whole.joined(part.after(int(whole.dates[-1])))
        return whole

    def _part(self, symbol: str, first: date, stop: date, end: date | None, zone: str) -> Series:
        try:
            ticker = self._yahoo.Ticker(symbol)
            requests = getattr(ticker, "_data", None)
            # The day to spare of such a request would move the beginning of Yahoo's weeks and months.
            prices = chart_parameters(first, stop) if self._request.interval == "1d" else None
            replies = CheckedReplies(requests, self._bucket, self._timeout, self._host, prices)
            if hasattr(ticker, "_data"):
                ticker._data = replies
            if zone:
                ticker._tz = zone
            frame = ticker.history(
                start=str(first),
                end=str(stop),
                interval=self._request.interval,
                auto_adjust=False,
                actions=True,
                timeout=self._timeout,
            )
        except Exception as error:
            failure = _failure(error)
            if str(failure) == TOO_MANY:
                self._bucket.slow_down()
            if _is_of_cache(error):
                with self._lock:
                    renew_cache(self._yahoo)
            raise failure from None
        self._bucket.speed_up()
        assumed = zone or getattr(ticker, "_tz", None)
        if replies.zone and assumed and assumed != replies.zone != zone:
            return self._part(symbol, first, stop, end, replies.zone)  # the days were another exchange's
        if frame is None or not len(frame):
            raise NoPrices(NOTHING)
        missing = [
            name for name in ("Open", "High", "Low", "Close", "Adj Close", "Volume") if name not in frame
        ]
        if missing:
            raise NotAnswered(f"yfinance returns no column {missing[0]}; update it: pip install -U yfinance")
        here = replies.zone or zone or str(frame.index.tz or "")
        today = local_day(self._request.now, here)
        complete = min(stop, end or today, self._complete_until(here, replies.session_end))
        complete = period_start(complete, self._request.interval)
        series = frame_series(
            frame,
            self._request.interval,
            here,
            (first - _EPOCH).days,
            (complete - _EPOCH).days,
            allow_negative=self._request.allow_negative,
        )
        if not len(series):
            raise NoPrices(NOTHING)
        return series

    def _complete_until(self, zone: str, session_end: float | None) -> date:
        """The first day of which not all is known: today, or tomorrow if today's session is over."""
        today = local_day(self._request.now, zone)
        over = (
            session_end is not None
            and self._request.now >= session_end
            and local_day(session_end - 1, zone) == today
        )
        return today + timedelta(days=1) if over else today


@contextmanager
def quiet_yfinance() -> Iterator[Any]:
    """The module yfinance: it raises errors, and neither logs nor warns; its cache is a folder of this process.

    By default it returns an empty table if the network is down, as if the symbol were unknown.

    Raises:
        InputError: it is not installed.
    """
    # TensorFlow brings a libcurl of its own, which curl_cffi then takes for its own if it is loaded later.
    broken = "tensorflow" in sys.modules and "curl_cffi" not in sys.modules
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import yfinance
        except ImportError:
            raise InputError(
                'fetch needs yfinance, which is missing: pip install "hpc-lstm[yahoo]"'
            ) from None
        if broken:
            raise InputError(
                "fetch: TensorFlow is loaded in this process, and its libcurl breaks yfinance's requests; fetch in a "
                "separate process, such as `hpc-lstm fetch`"
            )
        warnings.simplefilter("ignore")  # above the filters that importing yfinance adds
        # Libraries change the filters for a moment, which all threads see.
        warnings.showwarning = lambda *args, **kwargs: None
        loggers = [logging.getLogger(name) for name in _LIBRARIES]
        levels = [logger.level for logger in loggers]
        debug = yfinance.config.debug
        hidden = debug.hide_exceptions
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        debug.hide_exceptions = False
        use_cache_of_our_own(yfinance)
        try:
            yield yfinance
        finally:
            debug.hide_exceptions = hidden
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _failure(error: Exception) -> NoPrices | NotAnswered:
    """What an exception of yfinance, or of what it uses, means for a symbol."""
    name = type(error).__name__
    if isinstance(error, (NoPrices, NotAnswered)):
        return error
    if name == "YFRateLimitError":
        return NotAnswered(TOO_MANY)
    if name in ("YFTzMissingError", "YFPricesMissingError", "YFTickerMissingError"):
        return NoPrices(UNKNOWN)
    if isinstance(error, ValueError) and "ISIN" in str(error):
        return NoPrices("unknown ISIN")
    if _is_of_cache(error):
        return NotAnswered(f"yfinance's cache failed ({name})")
    if isinstance(error, OSError) and "json" not in name.lower():
        return NotAnswered("timed out" if "timeout" in name.lower() else f"no connection ({name})")
    return NotAnswered(f"a reply that yfinance cannot read ({name})")


def _is_of_cache(error: Exception) -> bool:
    return type(error).__module__.startswith(("peewee", "sqlite3"))
