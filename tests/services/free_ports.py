"""Ports of this machine for servers of the tests' own, so that several copies of the tests do not meet."""

from __future__ import annotations

import contextlib
import random
import socket


def free_ports(count: int) -> int:
    """The first of ``count`` ports in a row that nobody listens to, below those that systems give to clients."""
    for first in random.SystemRandom().sample(range(16000, 32000 - count), 100):
        with contextlib.ExitStack() as sockets, contextlib.suppress(OSError):
            for port in range(first, first + count):
                sockets.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
    raise AssertionError(f"no {count} free ports in a row")
