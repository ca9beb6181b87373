"""What clusters make of their weights when they meet: pure arithmetic on vectors, the same bytes on every machine.

Sums are of float64, one member after the other, and no operation adds up along a vector: whoever merges the same
members gets the same bytes.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

Encoding = Literal["float32", "bfloat16"]
BYTES = {"float32": 4, "bfloat16": 2}


class Mean:
    """The mean of changes, weighted by samples, of which only one is in memory at a time.

    Args:
        base: float32 [P], what all members started from.
    """

    def __init__(self, base: np.ndarray) -> None:
        self._base, self._sum, self._samples = base, np.zeros(len(base)), 0

    def add(self, change: np.ndarray, samples: int) -> None:
        """Add a member's change, float64 [P], which is used up; in an order that all mergers take."""
        change *= samples
        self._sum += change
        self._samples += samples

    def result(self) -> np.ndarray:
        """``base`` plus the mean change, float64 [P]; ``base`` itself where nobody has seen any sample. Once."""
        self._sum /= max(self._samples, 1)
        self._sum += self._base
        return self._sum


def nesterov(
    base: np.ndarray, averaged: np.ndarray, momentum: np.ndarray, rate: float, decay: float
) -> tuple[np.ndarray, np.ndarray]:
    """One step of SGD with Nesterov momentum on ``base - averaged`` as the gradient (DiLoCo: arXiv 2311.08105).

    Args:
        base: float32 [P]; ``averaged``: float64 [P], from ``Mean``.
        momentum: float32 [P], of the round before; zeros in the first.
        rate, decay: ``sync.outer_lr`` and ``sync.outer_momentum``.

    Returns:
        New weights float64 [P] and momentum float32 [P].
    """
    # In place: vectors may be of hundreds of megabytes.
    gradient = base.astype(np.float64)
    gradient -= averaged
    step = momentum.astype(np.float64)
    step *= decay
    step += gradient
    momentum = step.astype(np.float32)
    step[:] = momentum
    step *= decay
    step += gradient
    step *= rate
    return np.subtract(base, step, out=step), momentum


def encode(vector: np.ndarray, encoding: Encoding) -> bytes:
    """A float32 vector as little-endian bytes; bfloat16 rounds to the nearest, ties to even.

    Raises:
        ValueError: some number is not finite, or is beyond what bfloat16 holds.
    """
    if not np.isfinite(vector).all():
        raise ValueError("a number is not finite")
    if encoding == "float32":
        return vector.astype("<f4").tobytes()
    bits = vector.astype("<f4").view("<u4").astype(np.uint64)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
    if ((rounded & 0x7F80) == 0x7F80).any():
        raise ValueError("a number is beyond bfloat16")
    return rounded.tobytes()


def decode(data: bytes, encoding: Encoding, length: int) -> np.ndarray:
    """The float32 vector of ``length`` numbers that ``encode`` was given, rounded if to bfloat16.

    Raises:
        ValueError: another number of bytes, or a number that is not finite.
    """
    if len(data) != length * BYTES[encoding]:
        raise ValueError(
            f"{len(data)} bytes where {length} numbers of {encoding} have {length * BYTES[encoding]}"
        )
    if encoding == "float32":
        vector = np.frombuffer(data, "<f4").astype(np.float32)
    else:
        vector = (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").astype(np.float32)
    if not np.isfinite(vector).all():
        raise ValueError("a number is not finite")
    return vector
