"""Trying again, later and later, at random moments, so that many ranks do not come back all at once."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
FIRST_S, LONGEST_S = 0.2, 20.0


def retry(
    work: Callable[[], T],
    is_transient: Callable[[Exception], bool],
    timeout_s: float,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> T:
    """``work()``, tried again after transient errors with exponential backoff and full jitter.

    (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.)

    Args:
        is_transient: whether an error may go away.
        timeout_s: seconds after which the last error is raised instead.
    """
    deadline = clock() + timeout_s
    longest = FIRST_S
    while True:
        try:
            return work()
        except Exception as error:
            # Not the global generator: training seeds that one, the same on all ranks.
            pause = random.SystemRandom().uniform(0, longest)
            if not is_transient(error) or clock() + pause > deadline:
                raise
        sleep(pause)
        longest = min(2 * longest, LONGEST_S)
