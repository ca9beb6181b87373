"""The interface of object stores: bytes under keys that are created once, read as a whole, listed and deleted.

``put_new`` creates atomically: of several writers of one key, one wins and the others are told. ``put`` is for objects
that are named by their content. What is listed can be read completely.
"""

from __future__ import annotations

import re
from typing import Protocol

from hpc_lstm.errors import HpcLstmError, StorageError

_PART = re.compile(r"[^/\0]+")


class NotFoundError(HpcLstmError):
    """No object of this key."""


class TooLargeError(StorageError):
    """An object has more bytes than its reader accepts."""


class ObjectStore(Protocol):
    """Keys are names separated by ``/``; a prefix may end anywhere in a key. Thread-safe.

    Besides the errors listed, every method raises StorageError if the store cannot be reached or refuses.
    """

    def check(self) -> None:
        """Make sure that the store can be used.

        Raises:
            StorageError: it is missing, refused or misconfigured; the message says what to do.
        """

    def put_new(self, key: str, data: bytes) -> bool:
        """Create an object; False if one with this key exists, which is left unchanged.

        Raises:
            OSError: it could not be written to a folder; ``errors.from_os_error`` tells permanent ones.
        """

    def put(self, key: str, data: bytes) -> None:
        """Create an object named by the hash of its content, so that it does not matter who puts it, or how often.

        Raises:
            OSError: as ``put_new``.
        """

    def get(self, key: str, limit: int | None = None) -> bytes:
        """An object's bytes.

        Args:
            limit: a larger object is not read.

        Raises:
            NotFoundError: there is none.
            TooLargeError: it is larger than ``limit``.
        """

    def list(self, prefix: str) -> list[tuple[str, int]]:
        """Keys with a prefix and their sizes in bytes, sorted by key; keys that are not valid are left out."""

    def delete(self, key: str) -> None:
        """Delete an object, if it is there."""

    def discard_unfinished(self, prefix: str) -> None:
        """Delete unfinished uploads under a prefix, which are never listed; one in progress fails."""


def is_key(key: str) -> bool:
    """True if ``key`` is valid: it names something inside the store."""
    return all(_is_plain(part) for part in key.split("/"))


def checked_key(key: str) -> str:
    """``key``, if it is valid.

    Raises:
        StorageError: it could lead out of the store.
    """
    if not is_key(key):
        raise StorageError(f"{key!r}: not a key of an object: each part between slashes must be a plain name")
    return key


def checked_prefix(prefix: str) -> str:
    """``prefix``, if valid keys can begin with it.

    Raises:
        StorageError: it leads out of the store.
    """
    *folders, last = prefix.split("/")
    if not all(_is_plain(part) for part in folders) or "\0" in last:
        raise StorageError(f"{prefix!r}: keys of objects cannot begin like this")
    return prefix


def _is_plain(part: str) -> bool:
    return part not in (".", "..") and _PART.fullmatch(part) is not None
