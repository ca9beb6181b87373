"""A token bucket: so many requests a second, shared by threads; slower for a while after Yahoo said "too many"."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class TokenBucket:
    """Makes the threads that take tokens wait, so that they take at most ``rate`` a second.

    Args:
        rate: tokens a second. burst: tokens that may be taken at once after a pause.
        clock, sleep: the time, and how to wait, in seconds.
    """

    def __init__(
        self,
        rate: float,
        burst: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._full_rate = self._rate = rate
        self._burst = max(1.0, burst)
        self._clock, self._sleep = clock, sleep
        self._tokens, self._then = self._burst, clock()
        self._lock = threading.Lock()

    @property
    def rate(self) -> float:
        """Tokens a second at present."""
        return self._rate

    def take(self) -> None:
        """Take a token; wait until there is one."""
        with self._lock:
            now = self._clock()
            self._tokens = min(self._burst, self._tokens + (now - self._then) * self._rate)
            self._then = now
            self._tokens -= 1
            wait = max(0.0, -self._tokens / self._rate)
        if wait:
            self._sleep(wait)

    def slow_down(self) -> None:
        """Halve the rate, down to an eighth: the other side is overloaded."""
        with self._lock:
            self._rate = max(self._rate / 2, self._full_rate / 8)
            self._tokens = min(self._tokens, 0.0)

    def speed_up(self) -> None:
        """Come back towards the full rate: a request was answered."""
        with self._lock:
            self._rate = min(self._rate * 1.1, self._full_rate)
