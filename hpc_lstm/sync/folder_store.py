"""An object store in a folder, on a disk of any kind that knows hard links, NFS too."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from hpc_lstm.errors import StorageError
from hpc_lstm.sync.objects import NotFoundError, checked_key

# Files being written; never listed, whatever becomes of their writer.
_TEMPORARY = ".writing-"


class FolderStore:
    """Objects are files; see ``objects.ObjectStore``.

    ``link`` makes a whole file appear under its name, or fails if the name is taken, in one step on every POSIX
    file system (on NFS as well, where O_EXCL once was not reliable). No locks.

    Args:
        root: the folder, made if it is missing.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def check(self) -> None:
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            handle, probe = tempfile.mkstemp(dir=self._root, prefix=_TEMPORARY)
            os.close(handle)
            os.unlink(probe)
        except OSError as error:
            raise StorageError(
                f"{self._root}: checkpoints cannot be written there: {error.strerror}; "
                "choose another folder by storage.url or --run-dir"
            ) from None

    def put_new(self, key: str, data: bytes) -> bool:
        path = self._root / checked_key(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=_TEMPORARY)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
        finally:
            os.unlink(temporary)
        _sync_folder(path.parent)
        return True

    def get(self, key: str, limit: int | None = None) -> bytes:
        path = self._root / checked_key(key)
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if limit is not None and size > limit:
                    raise StorageError(f"{path}: {size} bytes, more than the {limit} expected: not read")
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            raise NotFoundError(f"{path}: no such object") from None

    def list(self, prefix: str) -> list[tuple[str, int]]:
        start = self._root / prefix.rpartition("/")[0]
        found = []
        for folder, _, names in os.walk(start):
            for name in names:
                path = Path(folder) / name
                key = path.relative_to(self._root).as_posix()
                if name.startswith(_TEMPORARY) or not key.startswith(prefix):
                    continue
                with contextlib.suppress(FileNotFoundError):  # deleted by another while we look
                    found.append((key, path.stat().st_size))
        return sorted(found)

    def delete(self, key: str) -> None:
        path = self._root / checked_key(key)
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        # An emptied folder goes too; one that is not empty, or is being filled, stays.
        with contextlib.suppress(OSError):
            path.parent.rmdir()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        pass  # some network file systems cannot sync a folder; they order the operations themselves
    finally:
        os.close(handle)
