"""An object store in a folder, on any file system with hard links, including NFS."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from hpc_lstm.config import StorageConfig
from hpc_lstm.errors import WAY_OUT, ConfigError, StorageError
from hpc_lstm.storage.objects import NotFoundError, TooLargeError, checked_key, checked_prefix

# Files being written, which are never listed.
_TEMPORARY = ".writing-"
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL = (errno.ENOSPC, errno.EDQUOT)
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
    system (also on NFS, where O_EXCL was once unreliable). No locks. Below the root no link is followed, and only
    regular files are objects: whoever may write there can neither have files elsewhere deleted nor let a reader wait.

    Args:
        root: the folder, created by ``check`` if it is missing.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def check(self) -> None:
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            probe = self._root / _temporary_name()
            os.close(os.open(probe, os.O_CREAT | os.O_EXCL | _WRITE, 0o600))
        except OSError as error:
            raise StorageError(
                f"{self._root}: checkpoints cannot be written there: {error.strerror}; "
                "choose another folder with storage.url or --run-dir"
            ) from None
        second = probe.with_name(f"{probe.name}-2")
        try:
            os.link(probe, second)
            os.unlink(second)
        except OSError as error:
            if error.errno in _FULL:
                raise StorageError(
                    f"{self._root}: checkpoints cannot be written there: {error.strerror}; {WAY_OUT}"
                ) from None
            raise StorageError(
                f"{self._root}: checkpoints need hard links, which this file system refuses: {error.strerror}; "
                "choose another folder with storage.url or --run-dir"
            ) from None
        finally:
            os.unlink(probe)

    def put_new(self, key: str, data: bytes) -> bool:
        *folders, name = checked_key(key).split("/")
        with self._opened(folders, create=True) as folder:
            temporary = _temporary_name()
            try:
                # Not by tempfile, whose files only their owner may read.
                handle = os.open(temporary, os.O_CREAT | os.O_EXCL | _WRITE, 0o666, dir_fd=folder)
                try:
                    with os.fdopen(handle, "wb") as file:
                        file.write(data)
                        file.flush()
                        os.fsync(file.fileno())
                    if not self._link(temporary, name, folder):
                        return False
                finally:
                    with contextlib.suppress(OSError):  # it is never listed
                        os.unlink(temporary, dir_fd=folder)
            except OSError as error:  # its names are of a folder that only this process has open
                raise OSError(error.errno, error.strerror, str(self._root / key)) from None
            _sync(folder)
        return True

    def put(self, key: str, data: bytes) -> None:
        self.put_new(key, data)

    def get(self, key: str, limit: int | None = None) -> bytes:
        *folders, name = checked_key(key).split("/")
        path = self._root / key
        try:
            with self._opened(folders) as folder:
                # A FIFO would be waited for, a device might never end.
                if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                    raise NotFoundError(f"{path}: not a regular file")
                with os.fdopen(os.open(name, _READ | os.O_NONBLOCK, dir_fd=folder), "rb") as file:
                    size = os.fstat(file.fileno()).st_size
                    if limit is not None and size > limit:
                        raise TooLargeError(f"{path}: {size} bytes, more than the {limit} expected: not read")
                    return file.read() if limit is None else file.read(limit)
        except OSError as error:
            if error.errno in _GONE:
                raise NotFoundError(f"{path}: no such object") from None
            raise StorageError(f"{path}: cannot be read: {error.strerror}") from None

    def list(self, prefix: str) -> list[tuple[str, int]]:
        return sorted((key, size) for key, size in self._files(prefix) if not _is_temporary(key))

    def delete(self, key: str) -> None:
        *folders, name = checked_key(key).split("/")
        try:
            with self._opened(folders) as folder:
                os.unlink(name, dir_fd=folder)
        except OSError as error:
            if error.errno not in _GONE:
                raise StorageError(f"{self._root / key}: cannot be deleted: {error.strerror}") from None
        self._remove_if_empty(folders)

    def discard_unfinished(self, prefix: str) -> None:
        for key, _ in self._files(prefix):
            if _is_temporary(key):
                self.delete(key)

    def _link(self, temporary: str, name: str, folder: int) -> bool:
        """Give a complete file its name; False if the name is taken."""
        try:
            os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError as error:
            # NFS may lose the response to a link that it has made, or repeat it and find its own name taken.
            if os.stat(temporary, dir_fd=folder).st_nlink != 2:
                if isinstance(error, FileExistsError):
                    return False
                raise
        return True

    def _remove_if_empty(self, folders: Sequence[str]) -> None:
        """Remove a folder, unless it is the root or has files in it."""
        if folders:
            with contextlib.suppress(OSError, StorageError), self._opened(folders[:-1]) as above:
                os.rmdir(folders[-1], dir_fd=above)

    @contextlib.contextmanager
    def _opened(self, folders: Sequence[str], *, create: bool = False) -> Iterator[int]:
        """A folder below the root, by its descriptor; reached without following a link.

        Raises:
            OSError: it does not exist, or cannot be opened or made.
            StorageError: a link is in its place.
        """
        if create:
            with contextlib.suppress(FileExistsError):  # not a folder: told below
                self._root.mkdir(parents=True, exist_ok=True)
        here = os.open(self._root, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
        try:
            for depth, name in enumerate(folders, 1):
                path = os.path.join(self._root, *folders[:depth])
                below = _open_folder(here, name, path, create=create)
                os.close(here)
                here = below
            yield here
        finally:
            os.close(here)

    def _files(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Keys that begin with ``prefix`` and sizes of regular files, including temporary ones."""
        folders = [part for part in checked_prefix(prefix).split("/")[:-1] if part]
        try:
            with self._opened(folders) as folder:
                for key, size in self._walk(folder, "".join(f"{name}/" for name in folders)):
                    if key.startswith(prefix):
                        yield key, size
        except OSError as error:
            # A folder that cannot be read must not be mistaken for an empty one.
            if error.errno not in _GONE:
                path = error.filename or self._root.joinpath(*folders)
                raise StorageError(f"{path}: cannot be read: {error.strerror}") from None

    def _walk(self, folder: int, place: str) -> Iterator[tuple[str, int]]:
        """Keys and sizes of the regular files of a folder and those below it; links are passed over."""
        for name in os.listdir(folder):
            key = f"{place}{name}"
            try:
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    yield key, status.st_size
                elif stat.S_ISDIR(status.st_mode):
                    below = _open_folder(folder, name, os.path.join(self._root, key))
                    try:
                        yield from self._walk(below, f"{key}/")
                    finally:
                        os.close(below)
            except OSError as error:
                if error.errno not in _GONE:  # not deleted by another meanwhile
                    raise StorageError(f"{self._root / key}: cannot be read: {error.strerror}") from None


def _open_folder(above: int, name: str, path: str, *, create: bool = False) -> int:
    """The descriptor of a folder in another one, made if asked for.

    Raises:
        OSError: it does not exist, or cannot be opened or made.
        StorageError: it is a link.
    """
    if create:
        try:
            os.mkdir(name, dir_fd=above)
            _sync(above)
        except FileExistsError:
            pass
        except OSError as error:
            error.filename = path
            raise
    try:
        return os.open(name, _READ | os.O_DIRECTORY, dir_fd=above)
    except OSError as error:
        error.filename = path
        with contextlib.suppress(OSError):
            if stat.S_ISLNK(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode):
                raise StorageError(
                    f"{path}: is a symbolic link, which is not followed; put the folder itself in its place"
                ) from None
        raise


def _temporary_name() -> str:
    return f"{_TEMPORARY}{secrets.token_hex(8)}"


def _is_temporary(key: str) -> bool:
    return key.rpartition("/")[2].startswith(_TEMPORARY)


def _sync(folder: int) -> None:
    # Some network file systems cannot; they order the operations themselves.
    with contextlib.suppress(OSError):
        os.fsync(folder)
