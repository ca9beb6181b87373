"""Vectors of weights as bytes: little-endian float32, or bfloat16 at half the size."""

from __future__ import annotations

from typing import Literal

import numpy as np

Encoding = Literal["float32", "bfloat16"]
BYTES_PER_NUMBER = {"float32": 4, "bfloat16": 2}


def encode_vector(vector: np.ndarray, encoding: Encoding) -> bytes:
    """A float32 vector [P] as bytes; bfloat16 rounds to nearest, ties to even.

    Raises:
        ValueError: a number is not finite, or overflows bfloat16.
    """
    if not np.isfinite(vector).all():
        raise ValueError("a number is not finite")
    if encoding == "float32":
        return vector.astype("<f4").tobytes()
    rounded = vector.astype(_bfloat16())
    if not np.isfinite(rounded).all():
        raise ValueError("a number is beyond bfloat16")
    return rounded.view(np.uint16).astype("<u2").tobytes()


def decode_vector(data: bytes, encoding: Encoding, length: int) -> np.ndarray:
    """The vector that ``encode_vector`` was given, float32 [length], as its encoding has rounded it.

    Raises:
        ValueError: another number of bytes, or a number that is not finite.
    """
    if len(data) != length * BYTES_PER_NUMBER[encoding]:
        raise ValueError(
            f"{len(data)} bytes where {length} numbers of {encoding} have {length * BYTES_PER_NUMBER[encoding]}"
        )
    if encoding == "float32":
        vector = np.frombuffer(data, "<f4").astype(np.float32)
    else:
        vector = np.frombuffer(data, "<u2").astype(np.uint16).view(_bfloat16()).astype(np.float32)
    if not np.isfinite(vector).all():
        raise ValueError("a number is not finite")
    return vector


def _bfloat16() -> type[np.generic]:
    import ml_dtypes

    return ml_dtypes.bfloat16
