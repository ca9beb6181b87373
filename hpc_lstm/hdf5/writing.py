"""HDF5 files written whole or not at all, also where the disk is full."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hpc_lstm.files import whole_file
from hpc_lstm.hdf5.known_files import remember


@contextmanager
def whole_hdf5(
    path: str | Path, libver: str | tuple[str, str] | None = None, *, sync: bool = False
) -> Iterator[Any]:
    """An ``h5py.File`` to write to, which becomes ``path`` if the block ends well.

    HDF5 cannot close a file that it could not write (h5py issue 914): it raises a RuntimeError or ends the process. So
    it writes to a file that tells of a full disk afterwards.

    Args:
        libver: oldest and newest versions of HDF5's format, as h5py takes them; None: what h5py takes by itself.
        sync: wait until the disk has it.

    Raises:
        InputError: it cannot be written: the file and the reason.
    """
    import h5py

    with whole_file(path) as temporary, _Disk(temporary) as disk:
        try:
            with h5py.File(disk, "w", libver=libver) as file:
                yield file
        finally:
            if disk.failure is not None:
                raise disk.failure
        if sync:
            os.fsync(disk.fileno())
    remember(Path(path))


class _Disk(io.FileIO):
    """A file to write to that never fails; ``failure`` is the first error that it has met."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+b")
        self.failure: OSError | None = None

    def write(self, data: Any) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        try:
            while len(left) and self.failure is None:
                left = left[super().write(left) or 0 :]
        except OSError as error:
            self.failure = error
        if self.failure is not None:
            self.seek(len(left), os.SEEK_CUR)
        return size

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.failure = self.failure or error
            return size or 0
