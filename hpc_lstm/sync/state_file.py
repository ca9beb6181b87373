"""A rank's state as the bytes of an HDF5 file, and back to the bit. No pickle."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np


def pack(state: Mapping[str, Any]) -> bytes:
    """Arrays, numbers and texts by name (``/`` makes groups) as an HDF5 file in memory."""
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        for name, value in state.items():
            if isinstance(value, str):
                file.create_dataset(name, data=value, dtype=h5py.string_dtype())
            else:
                file.create_dataset(name, data=np.asarray(value))
    return memory.getvalue()


def unpack(data: bytes) -> dict[str, Any]:
    """What ``pack`` was given: arrays as arrays, numbers as NumPy scalars.

    Raises:
        ValueError: these are not the bytes of such a file.
    """
    state: dict[str, Any] = {}

    def take(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            value = item[()]
            state[name] = value.decode() if isinstance(value, bytes) else value

    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            file.visititems(take)
    except OSError as error:
        raise ValueError(f"not the state of a rank: {error}") from None
    return state
