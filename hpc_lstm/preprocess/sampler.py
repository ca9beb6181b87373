"""The order in which a rank takes its windows: a random permutation computed element by element.

A keyed bijection on [0, length) needs no memory, so that an order of any length starts at once and resumes
from two numbers. It is a Feistel network on just enough bits, its halves mixed by 32-bit products in turn; a
number that falls outside is encrypted again until it falls inside (cycle walking).

Mitchell, Stokes, Frank and Holmes 2021, Bandwidth-Optimal Random Shuffling for GPUs (the method); Salmon,
Moraes, Dror and Shaw 2011, Parallel Random Numbers: As Easy as 1, 2, 3 (counter-based generation); Black and
Rogaway 2002, Ciphers with Arbitrary Finite Domains (cycle walking). Only unsigned 32-bit products, shifts and
exclusive ors are used, on halves of at most 32 bits: a kernel gives the same numbers.
"""

from __future__ import annotations

import numpy as np

ROUNDS = 16
# Positions permuted at once: a call costs as much for one as for a thousand.
POSITIONS_AT_ONCE = 16_384
_MASK64 = 2**64 - 1


class ShuffledSampler:
    """Endless order of a rank's train windows: each pass takes every window once, in another random order.

    The order depends on the seed, the rank and the number of windows alone, not on how it is asked for.

    Args:
        length: windows, at least 1.
        batch_size: windows a step; a batch may begin in one pass and end in the next.
        seed, rank: keys of the order.
    """

    def __init__(self, length: int, batch_size: int, seed: int, rank: int = 0) -> None:
        if length < 1:
            raise ValueError("a sampler needs at least one window")
        self.length, self.batch_size, self.seed, self.rank = length, batch_size, seed, rank
        self._pass, self._position = 0, 0
        self._block = (-1, -1)  # pass and number of the block of positions that is held
        self._held = np.empty(0, np.int64)

    def take(self, steps: int) -> np.ndarray:
        """Window numbers of the next ``steps`` batches, int64 [steps, batch_size]."""
        count = steps * self.batch_size
        numbers = np.empty(count, np.int64)
        done = 0
        while done < count:
            block, inside = divmod(self._position, POSITIONS_AT_ONCE)
            if self._block != (self._pass, block):
                start = block * POSITIONS_AT_ONCE
                positions = np.arange(start, min(start + POSITIONS_AT_ONCE, self.length))
                self._held = permute(positions, self.length, self.seed, self.rank, self._pass)
                self._block = (self._pass, block)
            found = self._held[inside : inside + count - done]
            numbers[done : done + len(found)] = found
            done += len(found)
            self._position += len(found)
            if self._position == self.length:
                self._pass, self._position = self._pass + 1, 0
        return numbers.reshape(steps, self.batch_size)

    def advance(self, steps: int) -> None:
        """Skip the next ``steps`` batches, whose windows were found elsewhere, such as on a GPU."""
        passes, self._position = divmod(self._position + steps * self.batch_size, self.length)
        self._pass += passes

    def state(self) -> tuple[int, int]:
        """Pass and position in it of the next window."""
        return self._pass, self._position

    def set_state(self, state: tuple[int, int]) -> None:
        """Continue from a ``state``."""
        if state[0] < 0 or not 0 <= state[1] < self.length:
            raise ValueError(f"no such position in an order of {self.length} windows: {state}")
        self._pass, self._position = state


def permute(
    positions: np.ndarray, length: int, seed: int, stream: int = 0, pass_number: int = 0
) -> np.ndarray:
    """Numbers at ``positions`` of the permutation of 0..length-1 that the three keys name.

    Args:
        positions: integers [n] in [0, length).
        length: at least 1, below 2**63.
        seed, stream, pass_number: keys; each triple is another permutation.

    Returns:
        int64 [n].
    """
    bits = (length - 1).bit_length()
    values = np.array(positions, dtype=np.uint64)
    if values.size and int(values.max()) >= length:
        raise IndexError(f"position {int(values.max())} is outside of [0, {length})")
    keys = round_keys(seed, stream, pass_number)
    values = _encrypt(values, bits, keys)
    outside = np.flatnonzero(values >= length)
    while outside.size:
        values[outside] = _encrypt(values[outside], bits, keys)
        outside = outside[values[outside] >= length]
    return values.astype(np.int64)


def round_keys(seed: int, stream: int, pass_number: int) -> list[int]:
    """One 32-bit key a round, by the SplitMix64 mixing of the three keys (Steele, Lea and Flood 2014)."""
    state = 0
    for key in (seed, stream, pass_number):
        state = _mix64((state + key + 1) * 0x9E3779B97F4A7C15)
    return [_mix64(state + (i + 1) * 0x9E3779B97F4A7C15) >> 32 for i in range(ROUNDS)]


def _encrypt(values: np.ndarray, bits: int, keys: list[int]) -> np.ndarray:
    """The Feistel network on ``bits`` bits: uint64 [n] to uint64 [n]."""
    low_bits = (bits + 1) // 2
    low_mask, high_mask = np.uint32((1 << low_bits) - 1), np.uint32((1 << (bits - low_bits)) - 1)
    low = (values & np.uint64(low_mask)).astype(np.uint32)
    high = (values >> np.uint64(low_bits)).astype(np.uint32)
    for number, key in enumerate(keys):
        if number % 2:
            low ^= _mix32(high, key) & low_mask
        else:
            high ^= _mix32(low, key) & high_mask
    return (high.astype(np.uint64) << np.uint64(low_bits)) | low


def _mix32(values: np.ndarray, key: int) -> np.ndarray:
    """A hash of uint32 values: every input bit reaches every output bit."""
    mixed = values ^ np.uint32(key)
    mixed ^= mixed >> np.uint32(16)
    mixed *= np.uint32(0x7FEB352D)
    mixed ^= mixed >> np.uint32(15)
    mixed *= np.uint32(0x846CA68B)
    mixed ^= mixed >> np.uint32(16)
    return mixed


def _mix64(value: int) -> int:
    value &= _MASK64
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & _MASK64
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & _MASK64
    return value ^ (value >> 31)
