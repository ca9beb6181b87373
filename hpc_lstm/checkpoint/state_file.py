"""A rank's state as the bytes of an HDF5 file, and back bit for bit. No pickle."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np


def pack_state(state: Mapping[str, Any]) -> bytes:
    """Arrays, numbers and texts by name (``/`` makes groups) as an HDF5 file in memory."""
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        for name, value in state.items():
            if isinstance(value, str):
                file.create_dataset(name, data=value, dtype=h5py.string_dtype())
            else:
                file.create_dataset(name, data=np.asarray(value))
    return memory.getvalue()


def unpack_state(data: bytes) -> dict[str, Any]:
    """The state that ``pack_state`` was given: arrays as arrays, numbers as NumPy scalars.

    Verify a hash of ``data`` first: HDF5 itself does not detect altered bytes.

    Raises:
        ValueError: these are not the bytes of such a file.
    """
    state: dict[str, Any] = {}

    def take(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            # ``pack_state`` makes no dataset that reads another file, or that is larger in memory than here.
            if item.external or item.is_virtual or item.nbytes > len(data):
                raise ValueError(f"not the state of a rank: {name} lies outside it")
            value = item[()]
            state[name] = value.decode() if isinstance(value, bytes) else value

    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            file.visititems(take)
    except (OSError, RuntimeError, LookupError, TypeError, ArithmeticError) as error:  # all of them h5py's
        raise ValueError(f"not the state of a rank: {' '.join(str(error).split())}") from None
    return state
