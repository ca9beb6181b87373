"""A server in between that makes a connection slow: latency each way, and so many bytes a second."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

CHUNK = 1 << 16


class _Pipe:
    """One direction of one connection: what comes in goes out later."""

    def __init__(self, source: socket.socket, sink: socket.socket, delay_s: float, line: _Line) -> None:
        self._source, self._sink, self._delay_s, self._line = source, sink, delay_s, line
        self._under_way: queue.Queue[tuple[float, bytes]] = queue.Queue()
        for work in (self._take, self._give):
            threading.Thread(target=work, daemon=True).start()

    def _take(self) -> None:
        data = b"x"
        while data:
            try:
                data = self._source.recv(CHUNK)
            except OSError:
                data = b""
            self._under_way.put((self._line.sent(len(data)) + self._delay_s, data))

    def _give(self) -> None:
        while True:
            when, data = self._under_way.get()
            time.sleep(max(0.0, when - time.monotonic()))
            with suppress(OSError):
                if not data:
                    self._sink.shutdown(socket.SHUT_WR)
                    return
                self._sink.sendall(data)


class _Line:
    """The bandwidth that all connections of one direction share."""

    def __init__(self, bytes_per_s: float) -> None:
        self._bytes_per_s, self._free_at, self._lock = bytes_per_s, 0.0, threading.Lock()

    def sent(self, size: int) -> float:
        """When ``size`` bytes that are to go now have left."""
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic()) + size / self._bytes_per_s
            return self._free_at


@contextmanager
def shaped(address: str, latency_s: float, bytes_per_s: float) -> Iterator[str]:
    """An address that leads to ``address``, ``latency_s`` there and back, at ``bytes_per_s`` each way."""
    host, port = address.removeprefix("http://").rsplit(":", 1)
    lines = _Line(bytes_per_s), _Line(bytes_per_s)
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.create_connection((host, int(port)))
            for one in (near, far):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _Pipe(near, far, latency_s / 2, lines[0])
            _Pipe(far, near, latency_s / 2, lines[1])

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()
