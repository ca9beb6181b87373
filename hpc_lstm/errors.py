"""The errors that a user sees, one class per kind of problem, each with its exit code.

A message is one line: what is wrong, where, and how to put it right. ``cli.main`` prints it on stderr
without a traceback and exits with ``exit_code``.
"""

from __future__ import annotations

import errno
import os
import shlex
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class HpcLstmError(Exception):
    """Base of all errors whose message is meant for the user.

    Attributes:
        on_all_ranks: every rank raises this error at the same place, so nobody has to abort the others.
        quiet: another rank prints it.
    """

    exit_code = 1
    on_all_ranks = False
    quiet = False


class InputError(HpcLstmError):
    """Something the user gave is wrong: a key, a file, a row, a folder, an address."""

    exit_code = 2


class ConfigError(InputError):
    """The configuration is wrong: the message names the key and what it takes."""


class StoreError(InputError):
    """A market store cannot be read or written: the message names the file."""


class NotAStoreError(StoreError):
    """A file is HDF5, but no market store."""


class PriceFileError(InputError):
    """A file of prices cannot be imported: the message names the file and, where there is one, the row."""


CsvError = PriceFileError  # its name while CSV was the only format


class StorageError(InputError):
    """The object store (folder or S3) is missing, refused or misconfigured."""


class CheckpointError(InputError):
    """Checkpoints could not be kept: uploads failed more often than ``storage.max_failures``."""


class CheckpointWriteError(CheckpointError):
    """A checkpoint cannot be written."""


class TakenError(InputError):
    """Another job that is alive is at the same run directory, or trains under the same cluster's name."""


class RoundLostError(HpcLstmError):
    """The weights of a closed round can no longer be read anywhere: this cluster cannot continue with the others."""


class CudaError(InputError):
    """The GPU, its driver or its tools cannot be used: the message says what is missing."""


class GpuMemoryError(CudaError):
    """The GPU's memory is too small for what is asked of it: how much is needed, and how much is free."""


class StopRequested(HpcLstmError):
    """The run was asked to stop and has written a checkpoint: run again with ``--resume``."""

    exit_code = 75


# What to do where something cannot be written.
WAY_OUT = "make room or choose a folder that you may write to"
# Error numbers for which the user's disk, folder or quota is the cause, not this program.
_DISK_ERRORS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EFBIG,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.EIO,
    errno.ESTALE,
}


def from_os_error(error: OSError) -> InputError | None:
    """The user's error behind an operating system's one: disk full, no permission; None for any other."""
    if error.errno not in _DISK_ERRORS:
        return None
    place = f"{os.fspath(error.filename)!s}: " if isinstance(error.filename, (str, os.PathLike)) else ""
    return InputError(f"{place}{os.strerror(error.errno)}; {WAY_OUT}")


def why_unreadable(error: BaseException, otherwise: str) -> str:
    """What is wrong with a file that could not be read, and what to do.

    Args:
        otherwise: is said unless only the permission is missing: then nothing is wrong with the file itself.
    """
    denied = isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM)
    if denied and "unable to lock" not in str(error):
        return "no permission to read it; ask its owner for it"
    return otherwise


def is_out_of_memory(error: BaseException) -> bool:
    """True if Python, NumPy or TensorFlow could not get the memory that it asked for."""
    return isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError"


# What a file's content makes code raise that expects the content of its own files.
_DAMAGE = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RecursionError)


@contextmanager
def damage_in(path: str | os.PathLike[str], advice: str) -> Iterator[None]:
    """For a block that does nothing but read or lay out a file's content: what it raises is the file's damage.

    Raises:
        InputError: in its place; it names the file and says what to do.
    """
    try:
        yield
    except _DAMAGE as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(f"{os.fspath(path)}: is damaged ({what}); {advice}") from None


def _escaped(letter: str) -> str:
    code = ord(letter)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 1 << 16 else f"\\U{code:08x}"


def printable(text: str, escaped: Callable[[str], str] = _escaped) -> str:
    """``text`` with control characters but the line feed, and marks of direction, as escapes.

    Names and texts in files, stores and settings are whatever somebody put there: a terminal would obey them.

    Args:
        escaped: writes such a character in another way.
    """
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return "".join(letter if _is_harmless(letter) else escaped(letter) for letter in text)


def in_shell(value: str) -> str:
    """``value`` in quotes, as the shell takes it back where a message is pasted."""
    return shlex.quote(value) if set(value) & set('"$`\\!') else f'"{value}"'


def in_pandas(code: str) -> str:
    """A command of the shell that calls a function of pandas; single quotes stand in strings alone."""
    escaped = code.replace("'", "\\u0027")
    return f"python -c 'import pandas; pandas.{escaped}'"


def _is_harmless(letter: str) -> bool:
    return letter == "\n" or unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Cn", "Zl", "Zp")
