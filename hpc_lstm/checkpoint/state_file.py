"""A rank's state as the bytes of an HDF5 file, and back bit for bit. No pickle."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any

import h5py
import numpy as np

from hpc_lstm.checkpoint.state_layout import TEXT, StateLayout
from hpc_lstm.hdf5.reading import UNREADABLE, require_sound_bytes

# A state has some forty names, in groups of groups.
MOST_NAMES = 1000
DEEPEST = 4


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


def unpack_state(data: bytes, layout: StateLayout | None = None) -> dict[str, Any]:
    """The state that ``pack_state`` was given: arrays as arrays, numbers as NumPy scalars.

    Verify a hash of ``data`` first: HDF5 itself does not detect altered bytes. They are inspected by another process
    before they are opened here. All values together are no larger than ``data``: a name, type, shape or size that
    ``pack_state`` cannot have written is refused before it is read.

    Args:
        layout: what the state may hold; None: any names, types and shapes.

    Raises:
        ValueError: these are not the bytes of such a file, or the state is not of this layout.
    """
    state: dict[str, Any] = {}
    try:
        require_sound_bytes(data)
        with h5py.File(io.BytesIO(data), "r") as file:
            room = len(data)
            for name, dataset in _datasets(file):
                value, size = _value(name, dataset, layout, room)
                room -= size
                state[name] = value
        if layout is not None:
            layout.check_complete(state)
    except UNREADABLE as error:
        raise ValueError(f"not the state of a rank: {' '.join(str(error).split())[:200]}") from None
    return state


def _datasets(file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """All datasets by their names, those of groups with a slash."""
    groups = [("", file)]
    links = 0
    while groups:
        prefix, group = groups.pop()
        links += len(group)
        if links > MOST_NAMES or prefix.count("/") > DEEPEST:
            raise ValueError("it has more names than any state")
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ValueError(f"{prefix}{name} is a link")
            item = group[name]
            if isinstance(item, h5py.Group):
                groups.append((f"{prefix}{name}/", item))
            elif isinstance(item, h5py.Dataset):
                yield f"{prefix}{name}", item
            else:
                raise ValueError(f"{prefix}{name} is not a dataset")


def _value(name: str, dataset: h5py.Dataset, layout: StateLayout | None, room: int) -> tuple[Any, int]:
    """A dataset's value, and its size in bytes."""
    if dataset.external or dataset.is_virtual or dataset.chunks or dataset.nbytes > room:
        raise ValueError(f"{name} lies outside it")
    text = h5py.check_string_dtype(dataset.dtype) is not None
    if not (dataset.shape == () if text else dataset.dtype.kind in "fiub"):
        raise ValueError(f"{name} is of a type that no state has")
    if layout is not None:
        layout.check(name, TEXT if text else dataset.dtype.kind, dataset.shape)
    value = dataset[()]
    if not text:
        return value, dataset.nbytes
    if len(value) > room:
        raise ValueError(f"{name} lies outside it")
    return value.decode(), len(value)
