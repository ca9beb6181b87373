"""An HTTP server in between that does with requests what bad days do: refuses, forgets, delays, breaks off."""

from __future__ import annotations

import http.client
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Of a hundred requests, as many meet each of these. "cut after": it is carried out, and the answer is lost.
RATES = {"500": 4, "503": 4, "409": 4, "cut before": 4, "cut after": 6, "late": 4}
LATE_S = 0.3
CONFLICT = b"<Error><Code>ConditionalRequestConflict</Code><Message>try again</Message></Error>"
ANSWERS = {
    "500": b"<Error><Code>InternalError</Code></Error>",
    "503": b"Service Unavailable",
    "409": CONFLICT,
}


class Faults:
    """What befalls one request after the other, by a seed; told afterwards. Threads may share it."""

    def __init__(self, seed: int) -> None:
        self._random, self._lock = random.Random(seed), threading.Lock()
        self._met: list[str] = []
        self._conflicts = 0

    def next(self, conditional: bool) -> str:
        """The next request's fault, "" for none; a conflict waits for a ``conditional`` put: others cannot meet one."""
        with self._lock:
            fault = self._random.choices(["", *RATES], [100 - sum(RATES.values()), *RATES.values()])[0]
            if fault == "409":
                fault, self._conflicts = "", self._conflicts + 1
            if conditional and not fault and self._conflicts:
                fault, self._conflicts = "409", self._conflicts - 1
            self._met.append(fault)
            return fault

    def kinds(self) -> set[str]:
        """The faults that were met so far."""
        return set(self._met) - {""}


@contextmanager
def faulty(address: str, faults: Faults) -> Iterator[str]:
    """An address that leads to ``address``, through ``faults``."""
    target = address.removeprefix("http://")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            if self.headers.get("Expect", "").lower() == "100-continue":
                self.send_response_only(100)
                self.end_headers()
            body = self.rfile.read(length)
            fault = faults.next("If-None-Match" in self.headers)
            if fault == "cut before":
                self.cut()
                return
            if fault == "late":
                time.sleep(LATE_S)
            if fault in ANSWERS:
                self.answer(int(fault), {"Content-Type": "application/xml"}, ANSWERS[fault])
                return
            far = http.client.HTTPConnection(target)
            # The host is signed, and stays what the client called it.
            headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
            far.request(self.command, self.path, body, headers)
            answer = far.getresponse()
            data = answer.read()
            far.close()
            if fault == "cut after":
                self.cut()
            else:
                self.answer(answer.status, dict(answer.getheaders()), data)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = pass_on

        def answer(self, status: int, headers: dict[str, str], data: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                    self.send_header(name, value)
            size = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(data))
            self.send_header("Content-Length", size)
            self.end_headers()
            self.wfile.write(data)

        def cut(self) -> None:
            """End the connection in the midst of an answer, or without any."""
            self.close_connection = True
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

        def log_message(self, *_: object) -> None:
            """Nothing."""

        def handle(self) -> None:
            with suppress(ConnectionError, BrokenPipeError, http.client.HTTPException):
                super().handle()

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
