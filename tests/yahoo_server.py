"""A Yahoo Finance of our own: an HTTPS proxy that answers for all of yahoo.com, as its chart API v8 does.

The real yfinance, unchanged, is led to it by ``https_proxy`` and the certificate in ``CURL_CA_BUNDLE``: cookies,
crumbs, TLS and cut connections are real. What a symbol's prices were, its splits and dividends, the time, and what
goes wrong are the test's to say.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from zoneinfo import ZoneInfo

_MINUTES = {"1m": 1, "2m": 2, "5m": 5, "15m": 15, "30m": 30, "60m": 60, "90m": 90, "1h": 60}


@dataclass
class Listing:
    """A listed symbol, with business days as its trading days.

    Attributes:
        zone: of its exchange. opens: local time; a session lasts six hours.
        first, last: trading days; last None: still listed.
        splits: day to ratio. dividends: day to amount for a share of that day.
        edits: what Yahoo's reply has instead, by column and day: None, 0, -1.
        leave_out: keys of the reply's meta that are missing.
    """

    zone: str = "America/New_York"
    opens: time = time(9, 30)
    first: date = date(2023, 1, 2)
    last: date | None = None
    base: float = 100.0
    splits: dict[date, float] = field(default_factory=dict)
    dividends: dict[date, float] = field(default_factory=dict)
    edits: dict[tuple[str, date], float | None] = field(default_factory=dict)
    leave_out: tuple[str, ...] = ()

    def opening(self, day: date) -> datetime:
        """When a day's session begins."""
        return datetime.combine(day, self.opens, ZoneInfo(self.zone))

    def days(self, now: datetime) -> list[date]:
        """Trading days whose session has begun."""
        last = now.astimezone(ZoneInfo(self.zone)).date()
        if self.opening(last) > now:
            last -= timedelta(days=1)
        last = min(last, self.last or last)
        days = (self.first + timedelta(days=number) for number in range((last - self.first).days + 1))
        return [day for day in days if day.weekday() < 5]

    def closes(self, now: datetime) -> dict[date, tuple[float, float]]:
        """Split-adjusted and fully adjusted closes, as they look at a time."""
        days = self.days(now)
        raw = {day: self.base * (1 + number % 37 / 50) for number, day in enumerate(days)}
        split, dividend, found = 1.0, 1.0, {}
        for number in range(len(days) - 1, -1, -1):
            day = days[number]
            close = raw[day] / split
            found[day] = (close, close * dividend)
            split *= self.splits.get(day, 1.0)
            if number and day in self.dividends:
                dividend *= 1 - self.dividends[day] / raw[days[number - 1]]
        return dict(reversed(found.items()))


class YahooServer:
    """The server; a context manager. Its attributes may be changed while it runs.

    Attributes:
        listings: by symbol. now: the time there.
        faults: by symbol: what happens instead of an answer, and how often; see ``_Handler.fail``.
        asked: chart requests for prices: symbol, first and last second, interval.
        stall_after: number of such requests after which none is answered until ``go_on`` is set.
    """

    def __init__(self, folder: Path, now: datetime) -> None:
        self.listings: dict[str, Listing] = {}
        self.now = now
        self.faults: dict[str, tuple[str, float]] = {}
        self.asked: list[tuple[str, int, int, str]] = []
        self.requests: Counter[str] = Counter()
        self.stall_after: int | None = None
        self.stalled, self.go_on = threading.Event(), threading.Event()
        self.lock = threading.Lock()
        self.certificate = folder / "yahoo.pem"
        _write_certificate(self.certificate)
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(self.certificate)
        self.tls.set_alpn_protocols(["http/1.1"])
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.yahoo = self

    def __enter__(self) -> YahooServer:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def environment(self) -> dict[str, str]:
        """Variables that lead a process here instead of to Yahoo."""
        proxy = f"http://127.0.0.1:{self._server.server_address[1]}"
        return {
            "https_proxy": proxy,
            "HTTPS_PROXY": proxy,
            "REQUESTS_CA_BUNDLE": str(self.certificate),
            "CURL_CA_BUNDLE": str(self.certificate),
            "no_proxy": "",
            "NO_PROXY": "",
        }

    def reset(self, now: datetime) -> None:
        """Forget everything."""
        self.listings, self.faults, self.asked, self.now = {}, {}, [], now
        self.requests.clear()
        self.stall_after = None
        self.stalled.clear()
        self.go_on.clear()

    def take_fault(self, symbol: str) -> str | None:
        """The fault of this request, if its times are not over."""
        with self.lock:
            kind, times = self.faults.get(symbol, ("", 0))
            if times <= 0:
                return None
            self.faults[symbol] = (kind, times - 1)
            return kind


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    yahoo: YahooServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that are killed, and connections that are cut, are what this is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def do_CONNECT(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection = self.server.yahoo.tls.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", buffering=0)
        self.close_connection = False

    def do_GET(self) -> None:
        yahoo = self.server.yahoo
        url = urlsplit(self.path)
        host = self.headers.get("Host", "")
        yahoo.requests[host] += 1
        if host.startswith("fc."):
            self.answer(404, "", {"Set-Cookie": "A3=abc; Domain=.yahoo.com; Path=/; Max-Age=31536000"})
        elif url.path.endswith("/getcrumb"):
            self.answer(200, "crumb")
        elif "/finance/chart/" in url.path:
            query = {key: values[0] for key, values in parse_qs(url.query).items()}
            self.chart(unquote(url.path.rsplit("/", 1)[1]), query)
        else:
            self.answer(404, "<html>not found</html>")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer(404, "")

    def chart(self, symbol: str, query: dict[str, str]) -> None:
        yahoo = self.server.yahoo
        if "period1" in query:
            with yahoo.lock:
                yahoo.asked.append((symbol, int(query["period1"]), int(query["period2"]), query["interval"]))
                stall = yahoo.stall_after is not None and len(yahoo.asked) > yahoo.stall_after
            if stall:
                yahoo.stalled.set()
                yahoo.go_on.wait(60)
        fault = yahoo.take_fault(symbol)
        if fault:
            self.fail(fault)
            return
        listing = yahoo.listings.get(symbol)
        if listing is None:
            self.refuse(404, "Not Found", "No data found, symbol may be delisted")
            return
        first, stop = int(query.get("period1", 0)), int(query.get("period2", 1 << 40))
        result = _chart(symbol, listing, yahoo.now, first, stop, query["interval"])
        if "period1" in query and not result["timestamp"]:
            said = f"Data doesn't exist for startDate = {first}, endDate = {stop}"
            self.refuse(400, "Bad Request", said)
            return
        self.answer(200, json.dumps({"chart": {"result": [result], "error": None}}))

    def refuse(self, status: int, code: str, description: str) -> None:
        error = {"code": code, "description": description}
        self.answer(status, json.dumps({"chart": {"result": None, "error": error}}))

    def fail(self, kind: str) -> None:
        """What goes wrong: by status, by the body, or by the connection."""
        if kind == "429":
            self.answer(429, "Too Many Requests")
        elif kind == "502":
            self.answer(502, "<html><body>Bad Gateway</body></html>")
        elif kind == "500":
            self.refuse(500, "Internal Server Error", "No data found, symbol may be delisted")
        elif kind == "401":
            error = {"code": "Unauthorized", "description": "Invalid Crumb"}
            self.answer(401, json.dumps({"finance": {"result": None, "error": error}}))
        elif kind == "html":
            self.answer(200, "<html><body>Will be right back...</body></html>")
        elif kind == "half":
            self.answer(200, '{"chart": {"result": [{"meta"')
        elif kind == "hang":
            self.server.yahoo.go_on.wait(5)
            self.close_connection = True
        elif kind == "drip":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            with suppress(OSError):
                while not self.server.yahoo.go_on.wait(0.05):
                    self.wfile.write(b" ")
            self.close_connection = True
        elif kind == "cut":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{")
            self.close_connection = True
            self.connection.close()
        else:
            raise ValueError(kind)

    def answer(self, status: int, body: str, headers: dict[str, str] | None = None) -> None:
        data = body.encode()
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


def _chart(
    symbol: str, listing: Listing, now: datetime, first: int, stop: int, interval: str
) -> dict[str, Any]:
    closes = listing.closes(now)
    days = list(closes)
    session = timedelta(hours=6)
    if interval in ("1wk", "1mo"):
        return _periods(symbol, listing, now, first, stop, interval)
    bars: list[tuple[int, date, float, float]] = []  # second, day, close, adjusted close
    for day in _asked_for(days, first):
        opening = listing.opening(day)
        if interval == "1d":
            live = now < opening + session
            bars.append((int((now if live else opening).timestamp()), day, *closes[day]))
            continue
        step = timedelta(minutes=_MINUTES[interval])
        if opening.timestamp() + 86400 < first or opening.timestamp() > stop:
            continue
        for number in range(session // step):
            at = opening + number * step
            if at <= now:
                close = closes[day][0] * (1 + number / 1000)
                bars.append((int(at.timestamp()), day, close, close))
    # The session in progress is added wherever the request ends.
    bars = [bar for bar in bars if first <= bar[0] < stop or (interval == "1d" and bar[0] == now.timestamp())]
    return _reply(symbol, listing, now, first, stop, interval, bars)


def _asked_for(days: list[date], first: int) -> list[date]:
    """Days from the second ``first`` on, wherever the exchange is, and a few before."""
    begin = datetime.fromtimestamp(first, timezone.utc).date() - timedelta(days=3)
    return [day for day in days if day >= begin]


def _periods(
    symbol: str, listing: Listing, now: datetime, first: int, stop: int, interval: str
) -> dict[str, Any]:
    """Weeks that begin on the weekday of the request's first second, or months; the one in progress has its day."""
    closes = listing.closes(now)
    zone = ZoneInfo(listing.zone)
    weekday = datetime.fromtimestamp(first, zone).weekday()
    bars: dict[date, tuple[int, date, float, float]] = {}
    for day, values in closes.items():
        start = (
            day.replace(day=1) if interval == "1mo" else day - timedelta(days=(day.weekday() - weekday) % 7)
        )
        at = int(datetime.combine(start, time(), zone).timestamp())
        if first <= at < stop:
            bars[start] = (at, day, *values)
    return _reply(symbol, listing, now, first, stop, interval, list(bars.values()))


def _reply(
    symbol: str,
    listing: Listing,
    now: datetime,
    first: int,
    stop: int,
    interval: str,
    bars: list[tuple[int, date, float, float]],
) -> dict[str, Any]:
    days = listing.days(now)

    def column(name: str, values: list[float]) -> list[float | None]:
        return [listing.edits.get((name, bar[1]), value) for bar, value in zip(bars, values, strict=True)]

    close = [bar[2] for bar in bars]
    quote = {
        "open": column("open", [value - 0.1 for value in close]),
        "high": column("high", [value + 1 for value in close]),
        "low": column("low", [value - 1 for value in close]),
        "close": column("close", close),
        "volume": column("volume", [1000 + number for number in range(len(bars))]),
    }
    events: dict[str, Any] = {"splits": {}, "dividends": {}}
    shown = set(days)
    for day, ratio in listing.splits.items():
        at = int(listing.opening(day).timestamp())
        if day in shown and first <= at < stop:
            events["splits"][str(at)] = {
                "date": at,
                "numerator": ratio,
                "denominator": 1,
                "splitRatio": f"{ratio:g}:1",
            }
    for day, amount in listing.dividends.items():
        at = int(listing.opening(day).timestamp())
        if day in shown and first <= at < stop:
            events["dividends"][str(at)] = {"date": at, "amount": amount}
    return {
        "meta": _meta(symbol, listing, now, days, first, interval),
        "timestamp": [bar[0] for bar in bars],
        "events": {name: found for name, found in events.items() if found},
        "indicators": {
            "quote": [quote],
            "adjclose": [{"adjclose": column("adj_close", [bar[3] for bar in bars])}],
        },
    }


def _meta(
    symbol: str, listing: Listing, now: datetime, days: list[date], first: int, interval: str
) -> dict[str, Any]:
    offset = int(now.astimezone(ZoneInfo(listing.zone)).utcoffset().total_seconds())  # type: ignore[union-attr]

    def period(day: date) -> dict[str, Any]:
        opening = int(listing.opening(day).timestamp())
        return {"timezone": "LOC", "start": opening, "end": opening + 6 * 3600, "gmtoffset": offset}

    today = period(days[-1]) if days else period(listing.first)
    meta = {
        "currency": "USD",
        "symbol": symbol,
        "exchangeName": "NMS",
        "instrumentType": "EQUITY",
        "firstTradeDate": 0,
        "regularMarketTime": int(now.timestamp()),
        "gmtoffset": offset,
        "timezone": "LOC",
        "exchangeTimezoneName": listing.zone,
        "regularMarketPrice": 1.0,
        "priceHint": 2,
        "currentTradingPeriod": {name: dict(today) for name in ("pre", "regular", "post")},
        "dataGranularity": interval,
        "range": "",
        "validRanges": ["1d", "5d", "max"],
    }
    if interval in _MINUTES:
        meta["tradingPeriods"] = [[period(day)] for day in _asked_for(days, first)]
    return {name: value for name, value in meta.items() if name not in listing.leave_out}


def _write_certificate(path: Path) -> None:
    """A certificate of its own authority, and its key, for yahoo.com."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "yahoo.com")])
    hosts = ("yahoo.com", "*.yahoo.com", "*.finance.yahoo.com")
    began = datetime.now(timezone.utc) - timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(began)
        .not_valid_after(began + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
