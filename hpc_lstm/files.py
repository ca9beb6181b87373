"""Files: written whole or not at all; paths as users write them; the files that the package brings along."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from hpc_lstm.errors import WAY_OUT, InputError


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A temporary name beside ``path`` to write to; renamed to it if the block ends well, else removed.

    The file gets the permissions that the process's umask leaves to a new file.

    Raises:
        InputError: it cannot be written: the file and the reason.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        # Not by tempfile, whose files only their owner may read.
        name = path.parent / f".{path.name[:100]}.{secrets.token_hex(8)}{path.suffix}"
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        temporary = name
        yield temporary
        temporary.replace(path)
    except BaseException as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise InputError(f"{path}: cannot be written: {error.strerror or error}; {WAY_OUT}") from None
        raise


def append_text(path: Path, within: Path) -> IO[str]:
    """Open a text file for appending; neither it nor a folder below ``within`` may be a link.

    A run directory may come from somebody else, and whoever goes on with the run must not write elsewhere by it.

    Args:
        within: the folder that the file belongs to, of which the path is known to be meant.

    Raises:
        InputError: it is a link or no file, or cannot be written.
    """
    flags = os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        folder = os.open(within, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
        try:
            *folders, name = path.relative_to(within).parts
            for part in folders:
                below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | flags, dir_fd=folder)
                os.close(folder)
                folder = below
            # Without waiting for the reader of a FIFO.
            handle = os.open(
                name, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | flags, 0o666, dir_fd=folder
            )
        finally:
            os.close(folder)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise InputError(f"{path}: is not a regular file; remove it")
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
            raise InputError(
                f"{path}: nothing is written through a symbolic link, or into anything but a regular file; remove it"
            ) from None
        raise InputError(f"{path}: cannot be written: {error.strerror}; {WAY_OUT}") from None
    return os.fdopen(handle, "a", encoding="utf-8")


def open_text(path: Path, errors: str = "strict", newline: str | None = None) -> IO[str]:
    """Open a text file in UTF-8 for reading, without waiting for whoever writes into a FIFO.

    For files of run directories, which may come from somebody else; what a user names may be a pipe.

    Raises:
        OSError: it cannot be opened, or is not a regular file.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return os.fdopen(handle, encoding="utf-8", errors=errors, newline=newline)


def read_text(path: Path, errors: str = "strict") -> str:
    """All of a text file that ``open_text`` opens."""
    with open_text(path, errors) as file:
        return file.read()


def write_text(path: str | Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all.

    Raises:
        InputError: it cannot be written: the file and the reason.
    """
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def require_replaceable_text(path: str | Path, beginning: str, what: str) -> None:
    """Refuse to replace a file that is not of the kind to be written; an empty one may be replaced.

    Args:
        beginning: of all files of that kind, in any case of its letters; of what is in them if gzipped.
        what: the kind, such as "a report".

    Raises:
        InputError: it is another file, such as a model.
    """
    file = expanded(path)
    if not file.is_file() or not file.stat().st_size:
        return
    import gzip  # a run needs neither
    import zlib

    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as opened:
            found = opened.read(len(beginning))
    except (OSError, EOFError, zlib.error):
        found = b""
    if found.lower() != beginning.lower().encode():
        raise InputError(f"{path}: is not {what}, and would be replaced by one; give another name")


def expanded(path: str | Path) -> Path:
    """``path`` with a leading ``~`` or ``~user`` replaced by that home folder.

    Raises:
        InputError: there is no such home folder; or the path has a null byte, which no file system takes.
    """
    if "\0" in str(path):
        raise InputError(f"{path}: has a null byte, which no path can have")
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError(f"{path}: no such home folder; write the path out") from None


def checked_path(path: str | Path) -> Path:
    """``path`` expanded and absolute, if it can stand in files of UTF-8, as all of a run's are.

    Raises:
        InputError: it cannot; or as ``expanded``.
    """
    absolute = expanded(path).absolute()
    try:
        str(absolute).encode()
    except UnicodeEncodeError:
        raise InputError(f"{str(absolute)!a}: this path is not UTF-8; rename the folder or file") from None
    return absolute


def make_parent(path: str | os.PathLike[str]) -> Path:
    """The absolute path of a file to write, whose folder is made if it is missing.

    Raises:
        InputError: as ``checked_path``; or the folder cannot be made.
    """
    file = checked_path(os.fspath(path))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{file.parent}: the folder cannot be made: {error.strerror}") from None
    return file


def data_folder(name: str) -> Path:
    """``kernels`` or ``slurm``: inside the package where it is installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / name
    # A checkout without symbolic links has a text file of that name there: only a folder counts.
    return inside if inside.is_dir() else package.parent / name
