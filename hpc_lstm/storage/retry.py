"""Retries with exponential backoff and full jitter, so that many ranks do not retry at the same moment.

tenacity's ``wait_random_exponential`` draws from Python's global generator, which training seeds: all ranks would wait
equally long, and a retry would change later random numbers.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
FIRST_S, MAX_S = 0.2, 20.0


def retry(
    work: Callable[[], T],
    is_transient: Callable[[Exception], bool],
    timeout_s: float,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> T:
    """Call ``work``, again after transient errors, within a single deadline for all attempts and pauses.

    See M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.

    Args:
        is_transient: whether an error may go away.
        timeout_s: seconds after which the last error is raised.
    """
    deadline = clock() + timeout_s
    longest = FIRST_S
    while True:
        try:
            return work()
        except Exception as error:
            # Not the global generator, which training seeds equally on all ranks.
            pause = random.SystemRandom().uniform(0, longest)
            if not is_transient(error) or clock() + pause > deadline:
                raise
        sleep(pause)
        longest = min(2 * longest, MAX_S)
