"""Yahoo's replies, looked at before yfinance sees them.

yfinance takes an HTML page or an overloaded server for a symbol without prices, remembers such replies, fails on one
without a currency, and asks for a symbol's time zone before it asks for its prices, which come with the time zone.
"""

from __future__ import annotations

import json
import threading
import time
from datetime import date, datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlsplit

from hpc_lstm.market.fetching.token_bucket import TokenBucket

TOO_MANY = "too many requests (HTTP 429)"
NOTHING = "no prices on these days"
UNKNOWN = "unknown or delisted"


class NoPrices(Exception):
    """Yahoo answers that it has none: the symbol is unknown, delisted, or has none on these days."""


class NotAnswered(Exception):
    """There was no answer, or none that is one: another try may help."""


def chart_parameters(first: date, stop: date) -> dict[str, Any]:
    """Parameters of a request for daily prices, with a day to spare: the exchange's time zone is not known yet."""
    begin, end = (
        int(datetime(day.year, day.month, day.day, tzinfo=timezone.utc).timestamp())
        for day in (first - timedelta(days=1), stop + timedelta(days=1))
    )
    return {
        "period1": begin,
        "period2": end,
        "interval": "1d",
        "includePrePost": False,
        "events": "div,splits,capitalGains",
    }


class CheckedReplies:
    """Stands between a Ticker and yfinance's requests: takes a token for each, and looks at what comes back.

    Args:
        prices: parameters of a request for daily prices that is made when yfinance asks for the time zone, and whose
            reply it is then given for its prices, too; None: each is asked for by itself.

    Attributes:
        zone: of the exchange, once a reply told. session_end: of its last session, seconds since 1970.
    """

    def __init__(
        self,
        requests: Any,
        bucket: TokenBucket,
        timeout: float,
        host: Host,
        prices: dict[str, Any] | None = None,
    ) -> None:
        self._requests, self._bucket, self._timeout = requests, bucket, timeout
        self._host, self._prices = host, prices
        self._ready: _Reply | None = None
        self.zone = ""
        self.session_end: float | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._requests, name)

    def get(self, url: str, params: Any = None, timeout: float = 0.0) -> _Reply:
        """A reply that has what yfinance needs.

        Raises:
            NoPrices, NotAnswered: it is none.
        """
        for_zone = "period1" not in dict(params or {})
        if for_zone and self._prices:
            self._ready = self._ask(url, self._prices)
            return self._ready
        reply, self._ready = self._ready, None
        return reply or self._ask(url, params)

    def _ask(self, url: str, params: Any) -> _Reply:
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
                raise NoPrices(NOTHING)
        return reply

    def cache_get(self, url: str, params: Any = None, timeout: float = 0.0) -> _Reply:
        """As ``get``: yfinance would keep a failed reply, and another try would be given the same."""
        return self.get(url, params, timeout)


class Host:
    """Whether Yahoo's host has ever answered: yfinance finds out only after waiting for two more for cookies."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answered = False
        self._failed: tuple[float, Exception] | None = None

    def require(self, requests: Any, url: str, timeout: float) -> None:
        """Ask once; others that come at the same time share the answer.

        Raises:
            OSError: by the session: there is no answer.
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
                    session.get(
                        url=f"{parts.scheme}://{parts.netloc}/", timeout=timeout, allow_redirects=False
                    )
                except OSError as error:
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
        raise NotAnswered(TOO_MANY)
    if status >= 500 or status in (401, 403, 407, 408):
        raise NotAnswered(f"HTTP {status}")
    try:
        body = json.loads(response.text)
    except ValueError:
        kind = "an HTML page" if "<" in response.text[:200] else "a non-JSON reply"
        raise NotAnswered(f"{kind} instead of prices (HTTP {status})") from None
    if not isinstance(body, dict) or not isinstance(body.get("chart"), dict):
        raise NotAnswered(f"a reply without prices (HTTP {status})")
    trouble = body["chart"].get("error")
    if trouble:
        said = trouble.get("description") or trouble.get("code") if isinstance(trouble, dict) else trouble
        raise NoPrices(_plain_reason(" ".join(str(said).split())[:120]))
    if not body["chart"].get("result"):
        raise NoPrices(NOTHING)
    return body


def _plain_reason(description: str) -> str:
    """Yahoo's words for a symbol without prices; those with times in seconds in words of ours."""
    if description.startswith("Data doesn't exist for startDate"):
        return NOTHING
    if "may be delisted" in description or description.startswith("No data found"):
        return UNKNOWN
    return f"Yahoo: {description}"
