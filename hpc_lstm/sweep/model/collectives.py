"""The cost of an all-reduce (sum): as a formula, and message by message.

With a latency alpha for each message and a time per byte 1 / beta, n bytes over N ranks take
(Thakur, Rabenseifner and Gropp 2005, Optimization of Collective Communication Operations in MPICH, IJHPCA 19(1)):

    recursive doubling     log2 N * (alpha + n / beta)
    Rabenseifner           2 log2 N * alpha + 2 (N - 1) / N * n / beta
    ring                   2 (N - 1) * alpha + 2 (N - 1) / N * n / beta

Adding the numbers up is counted in 1 / beta. Where N is no power of two, the first two fold the ranks beyond it onto
others first and send them the result at the end: two messages more of all n bytes.

``arrivals`` takes the time at which each rank enters and returns that at which it has the sum: a rank sends its next
message when it has received the one before. It agrees with the formulas where all ranks enter together.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

Algorithm = Literal["recursive-doubling", "rabenseifner", "ring"]


def terms(algorithm: Algorithm, ranks: int) -> tuple[float, float]:
    """Coefficients of the cost: seconds = first * alpha + second * n / beta."""
    if ranks == 1:
        return 0.0, 0.0
    if algorithm == "ring":
        return 2.0 * (ranks - 1), 2.0 * (ranks - 1) / ranks
    stages = ranks.bit_length() - 1
    core = 1 << stages
    fold = 0 if core == ranks else 2
    if algorithm == "recursive-doubling":
        return float(stages + fold), float(stages + fold)
    return 2.0 * stages + fold, 2.0 * (core - 1) / core + fold


def arrivals(algorithm: Algorithm, at: np.ndarray, alpha: float, bytes_s: float) -> np.ndarray:
    """Seconds at which each rank has the sum, float64 [..., N].

    Args:
        at: float64 [..., N], seconds at which each rank enters; of as many collectives as the axes before say.
        alpha: seconds of latency of a message.
        bytes_s: seconds for all n bytes of the vector.
    """
    ranks = at.shape[-1]
    if ranks == 1:
        return at
    if algorithm == "ring":
        return _ring(at, alpha + bytes_s / ranks)
    core = 1 << (ranks.bit_length() - 1)
    extra = ranks - core
    now = at.copy()
    # Ranks from ``core`` on send their vector to ranks 0 to extra - 1, and wait for the result.
    now[..., :extra] = np.maximum(now[..., :extra], now[..., core:]) + (alpha + bytes_s) * (extra > 0)
    now[..., :core] = _doubling(now[..., :core], _stage_seconds(algorithm, core, alpha, bytes_s))
    now[..., core:] = now[..., :extra] + alpha + bytes_s
    return now


def _stage_seconds(algorithm: Algorithm, core: int, alpha: float, bytes_s: float) -> list[float]:
    stages = core.bit_length() - 1
    if algorithm == "recursive-doubling":
        return [alpha + bytes_s] * stages
    halves = [alpha + bytes_s / 2 ** (stage + 1) for stage in range(stages)]
    return halves + halves[::-1]


def _doubling(at: np.ndarray, seconds: list[float]) -> np.ndarray:
    """In stage s, ranks r and r xor 2^s exchange messages: both continue when the later one has arrived."""
    ranks = at.shape[-1]
    numbers, stages = np.arange(ranks), ranks.bit_length() - 1
    for number, takes in enumerate(seconds):
        partner = numbers ^ (1 << (number if number < stages else 2 * stages - 1 - number))
        at = np.maximum(at, at[..., partner]) + takes
    return at


def _ring(at: np.ndarray, takes: float) -> np.ndarray:
    """In each of 2 (N - 1) stages a rank needs what the one before it had in the stage before."""
    for _ in range(2 * (at.shape[-1] - 1)):
        at = np.maximum(at, np.roll(at, 1, axis=-1)) + takes
    return at
