"""How many training steps a call of an engine takes."""

from __future__ import annotations

# Measured (benchmarks/engines.py): more gain nothing, and all batches of a call are in memory together.
STEPS_PER_CALL = 16
CALL_BYTES = 64 * 2**20


def steps_per_call(batch: int, window: int, features: int) -> int:
    """The number of steps a call is most efficient with, for batches of these shapes."""
    return max(1, min(STEPS_PER_CALL, CALL_BYTES // (4 * batch * window * features)))
