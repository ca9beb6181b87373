"""yfinance, asked for the prices of one symbol: quietly, at a bounded rate, and with reasons for what does not come.

yfinance takes an HTML page or an overloaded server for a symbol without prices, remembers such replies, and fails on
a reply without a currency. So each reply is looked at on its way to yfinance (``_CheckedReplies``).
"""

from __future__ import annotations

import json
import logging
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Any
from urllib.parse import urlsplit

from hpc_lstm.errors import InputError
from hpc_lstm.market.fetching.cache_folder import use_cache_of_our_own
from hpc_lstm.market.fetching.request import Request, local_day
from hpc_lstm.market.fetching.series import Series, frame_series
from hpc_lstm.market.fetching.token_bucket import TokenBucket

_EPOCH = date(1970, 1, 1)
_TOO_MANY = "too many requests (HTTP 429)"
_NOTHING = "no prices on these days"
_UNKNOWN = "unknown or delisted"
# yfinance, and what it uses, would log to stderr.
_LIBRARIES = ("yfinance", "peewee", "curl_cffi", "requests", "urllib3", "bs4", "charset_normalizer")


class NoPrices(Exception):
    """Yahoo answers that it has none: the symbol is unknown, delisted, or has none on these days."""


class NotAnswered(Exception):
    """There was no answer, or none that is one: another try may help."""


class YahooClient:
    """Asks Yahoo through yfinance; may be shared by threads.

    Args:
        yahoo: the module yfinance, as ``quiet_yfinance`` gives it.
        bucket: bounds the rate of requests. timeout: of a request, in seconds.
    """

    def __init__(self, yahoo: Any, request: Request, bucket: TokenBucket, timeout: float) -> None:
        self._yahoo, self._request, self._bucket, self._timeout = yahoo, request, bucket, timeout
        self._host = _Host()

    def series(self, symbol: str, first: date, end: date | None, zone: str = "") -> Series:
        """Prices from ``first`` up to, not including, ``end`` or the present session, whichever is earlier.

        Args:
            end: None: as the request says.
            zone: of the exchange, where it is known: saves asking for it.

        Raises:
            NoPrices, NotAnswered: with the reason.
        """
        end = end or self._request.end
        # Where the exchange is, it may already be tomorrow.
        ask_until = end or local_day(self._request.now, "") + timedelta(days=2)
        parts: list[Series] = []
        days = f"from {first} to {end - timedelta(days=1)}" if end else f"since {first}"
        reason = NoPrices(f"no prices {days}")
        for a, b in self._request.spans(first, ask_until):
            try:
                parts.append(self._part(symbol, a, b, end, zone))
            except NoPrices as error:
                if str(error) == _UNKNOWN:
                    reason = error
                elif str(error) != _NOTHING:
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
            replies = _CheckedReplies(requests, self._bucket, self._timeout, self._host)
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
            if str(failure) == _TOO_MANY:
                self._bucket.slow_down()
            raise failure from None
        self._bucket.speed_up()
        if frame is None or not len(frame):
            raise NoPrices(_NOTHING)
        missing = [
            name for name in ("Open", "High", "Low", "Close", "Adj Close", "Volume") if name not in frame
        ]
        if missing:
            raise NotAnswered(f"yfinance returns no column {missing[0]}; update it: pip install -U yfinance")
        here = replies.zone or zone or str(frame.index.tz or "")
        today = local_day(self._request.now, here)
        complete = min(stop, end or today, self._complete_until(here, replies.session_end))
        series = frame_series(
            frame, self._request.date_unit, here, (first - _EPOCH).days, (complete - _EPOCH).days
        )
        if not len(series):
            raise NoPrices(_NOTHING)
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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import yfinance
        except ImportError:
            raise InputError(
                'fetch needs yfinance, which is missing: pip install "hpc-lstm[yahoo]"'
            ) from None
        warnings.simplefilter("ignore")  # above the filters that importing yfinance adds
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


class _CheckedReplies:
    """Stands between a Ticker and yfinance's requests: takes a token for each, and looks at what comes back.

    Attributes:
        zone: of the exchange, once a reply told. session_end: of its last session, seconds since 1970.
    """

    def __init__(self, requests: Any, bucket: TokenBucket, timeout: float, host: _Host) -> None:
        self._requests, self._bucket, self._timeout = requests, bucket, timeout
        self._host = host
        self.zone = ""
        self.session_end: float | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._requests, name)

    def get(self, url: str, params: Any = None, timeout: float = 0.0) -> _Reply:
        """A reply that has what yfinance needs.

        Raises:
            NoPrices, NotAnswered: it is none.
        """
        self._bucket.take()
        self._host.require(self._requests, url, self._timeout)
        response = self._requests.get(url=url, params=params, timeout=self._timeout)
        reply = _Reply(response, _checked_json(response))
        for result in (reply.body.get("chart") or {}).get("result") or []:
            meta = result.setdefault("meta", {})
            meta.setdefault("currency", None)
            meta.setdefault("instrumentType", "EQUITY")
            self.zone = str(meta.get("exchangeTimezoneName") or self.zone)
            regular = (meta.get("currentTradingPeriod") or {}).get("regular") or {}
            if isinstance(regular.get("end"), (int, float)):
                self.session_end = float(regular["end"])
            if "period1" in dict(params or {}) and not result.get("timestamp"):
                raise NoPrices(_NOTHING)
        return reply

    def cache_get(self, url: str, params: Any = None, timeout: float = 0.0) -> _Reply:
        """As ``get``: yfinance would keep a failed reply, and another try would be given the same."""
        return self.get(url, params, timeout)


class _Host:
    """Whether Yahoo's host has ever answered: yfinance finds out only after waiting for two more for cookies."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answered = False
        self._failed: tuple[float, Exception] | None = None

    def require(self, requests: Any, url: str, timeout: float) -> None:
        """Ask once; others that come at the same time share the answer.

        Raises:
            Exception: of the session, if there is no answer.
        """
        session = getattr(requests, "_session", None)
        if self._answered or session is None:
            return
        with self._lock:
            if self._failed and time.monotonic() - self._failed[0] < 1:
                raise self._failed[1]
            if not self._answered:
                try:
                    parts = urlsplit(url)
                    session.get(url=f"{parts.scheme}://{parts.netloc}/", timeout=timeout)
                except Exception as error:
                    self._failed = (time.monotonic(), error)
                    raise
                self._answered = True


class _Reply:
    """What yfinance uses of an HTTP response."""

    def __init__(self, response: Any, body: dict[str, Any]) -> None:
        self.status_code, self.text, self.url = response.status_code, response.text, response.url
        self.body = body

    def json(self) -> dict[str, Any]:
        """The parsed body."""
        return self.body


def _checked_json(response: Any) -> dict[str, Any]:
    status = int(response.status_code)
    if status == 429:
        raise NotAnswered(_TOO_MANY)
    if status >= 500 or status in (401, 403, 407, 408):
        raise NotAnswered(f"HTTP {status}")
    try:
        body = json.loads(response.text)
    except ValueError:
        kind = "an HTML page" if "<" in response.text[:200] else "a reply that is no JSON"
        raise NotAnswered(f"{kind} instead of prices (HTTP {status})") from None
    if not isinstance(body, dict) or not isinstance(body.get("chart"), dict):
        raise NotAnswered(f"a reply without prices (HTTP {status})")
    trouble = body["chart"].get("error")
    if trouble:
        said = trouble.get("description") or trouble.get("code") if isinstance(trouble, dict) else trouble
        raise NoPrices(_plain_reason(" ".join(str(said).split())[:120]))
    if not body["chart"].get("result"):
        raise NoPrices(_NOTHING)
    return body


def _plain_reason(description: str) -> str:
    """Yahoo's words for a symbol without prices; those with times in seconds in words of ours."""
    if description.startswith("Data doesn't exist for startDate"):
        return _NOTHING
    if "may be delisted" in description or description.startswith("No data found"):
        return _UNKNOWN
    return f"Yahoo: {description}"


def _failure(error: Exception) -> NoPrices | NotAnswered:
    """What an exception of yfinance, or of what it uses, means for a symbol."""
    name = type(error).__name__
    if isinstance(error, (NoPrices, NotAnswered)):
        return error
    if name == "YFRateLimitError":
        return NotAnswered(_TOO_MANY)
    if name in ("YFTzMissingError", "YFPricesMissingError", "YFTickerMissingError"):
        return NoPrices(_UNKNOWN)
    if isinstance(error, ValueError) and "ISIN" in str(error):
        return NoPrices("unknown ISIN")
    if type(error).__module__.startswith(("peewee", "sqlite3")):
        return NotAnswered(f"yfinance's cache failed ({name})")
    if isinstance(error, OSError) and "json" not in name.lower():
        return NotAnswered("timed out" if "timeout" in name.lower() else f"no connection ({name})")
    return NotAnswered(f"a reply that yfinance cannot read ({name})")
