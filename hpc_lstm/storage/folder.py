"""An object store in a folder, on any file system with hard links, including NFS."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hpc_lstm.config import StorageConfig
from hpc_lstm.errors import ConfigError, StorageError
from hpc_lstm.storage.objects import NotFoundError, TooLargeError, checked_key, checked_prefix

# Files being written, which are never listed.
_TEMPORARY = ".writing-"
# Missing, or deleted meanwhile: on NFS, a file that another machine deletes leaves a stale handle.
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ESTALE)


def check_config(config: StorageConfig) -> None:
    """See ``stores.StoreModule``; an empty URL is the run directory."""
    if config.url and not config.url.removeprefix("file://").startswith("/"):
        raise ConfigError('storage.url: a folder must be absolute; write "file:///folder"')
    for name in ("endpoint_url", "sse", "sse_kms_key"):
        if getattr(config, name):
            raise ConfigError(f'storage.{name}: is for S3 only; set url = "s3://bucket/prefix" or remove it')


def open_url(config: StorageConfig) -> FolderStore:
    """The store of ``file:///folder``; not yet checked."""
    return FolderStore(Path(config.url.removeprefix("file://")))


class FolderStore:
    """Objects are files; see ``objects.ObjectStore``.

    ``link`` makes a complete file appear under its name, or fails if the name is taken, atomically on every POSIX file
    system (also on NFS, where O_EXCL was once unreliable). No locks.

    Args:
        root: the folder, created by ``check`` if it is missing.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def check(self) -> None:
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            handle, probe = tempfile.mkstemp(dir=self._root, prefix=_TEMPORARY)
            os.close(handle)
        except OSError as error:
            raise StorageError(
                f"{self._root}: checkpoints cannot be written there: {error.strerror}; "
                "choose another folder by storage.url or --run-dir"
            ) from None
        second = f"{probe}-2"
        try:
            os.link(probe, second)
            os.unlink(second)
        except OSError as error:
            raise StorageError(
                f"{self._root}: checkpoints need hard links, which this file system refuses: {error.strerror}; "
                "choose another folder by storage.url or --run-dir"
            ) from None
        finally:
            os.unlink(probe)

    def put_new(self, key: str, data: bytes) -> bool:
        path = self._root / checked_key(key)
        new = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
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
            except OSError as error:
                # NFS may lose the response to a link that it has made, or repeat it and find its own name taken.
                if os.stat(temporary).st_nlink != 2:
                    if isinstance(error, FileExistsError):
                        return False
                    raise
        finally:
            with contextlib.suppress(OSError):  # it is never listed
                os.unlink(temporary)
        for folder in (path.parent, *(made.parent for made in new)):
            _sync_folder(folder)
        return True

    def put(self, key: str, data: bytes) -> None:
        self.put_new(key, data)

    def get(self, key: str, limit: int | None = None) -> bytes:
        path = self._root / checked_key(key)
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if limit is not None and size > limit:
                    raise TooLargeError(f"{path}: {size} bytes, more than the {limit} expected: not read")
                return file.read()
        except OSError as error:
            if error.errno in _GONE:
                raise NotFoundError(f"{path}: no such object") from None
            raise StorageError(f"{path}: cannot be read: {error.strerror}") from None

    def list(self, prefix: str) -> list[tuple[str, int]]:
        found = []
        for path in self._files(prefix):
            if not path.name.startswith(_TEMPORARY):
                try:
                    found.append((path.relative_to(self._root).as_posix(), path.stat().st_size))
                except OSError as error:
                    if error.errno not in _GONE:  # deleted by another meanwhile
                        raise StorageError(f"{path}: cannot be read: {error.strerror}") from None
        return sorted(found)

    def delete(self, key: str) -> None:
        path = self._root / checked_key(key)
        try:
            path.unlink()
        except OSError as error:
            if error.errno not in _GONE:
                raise StorageError(f"{path}: cannot be deleted: {error.strerror}") from None
        self._remove_if_empty(path.parent)

    def discard_unfinished(self, prefix: str) -> None:
        for path in self._files(prefix):
            if path.name.startswith(_TEMPORARY):
                with contextlib.suppress(OSError):
                    path.unlink()
                self._remove_if_empty(path.parent)

    def _remove_if_empty(self, folder: Path) -> None:
        """Remove a folder, unless it is the root or has files in it."""
        if folder != self._root:
            with contextlib.suppress(OSError):
                folder.rmdir()

    def _files(self, prefix: str) -> Iterator[Path]:
        """Files whose keys begin with ``prefix``, including temporary ones."""

        def refuse(error: OSError) -> None:
            # A folder that cannot be read must not be mistaken for an empty one.
            if error.errno not in _GONE:
                raise StorageError(f"{error.filename}: cannot be read: {error.strerror}") from None

        start = self._root / checked_prefix(prefix).rpartition("/")[0]
        for folder, _, names in os.walk(start, onerror=refuse):
            for name in names:
                path = Path(folder) / name
                if path.relative_to(self._root).as_posix().startswith(prefix):
                    yield path


def _sync_folder(folder: Path) -> None:
    # Some network file systems cannot; they order the operations themselves.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
