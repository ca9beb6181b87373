"""Object stores: named bytes that are put once, read whole, listed and deleted. A folder or a bucket of S3.

``put_new`` is create-once: of several writers of one key, one wins and the others learn of it. ``put`` is for objects
whose name says their content. What is listed can be read whole.
"""

from __future__ import annotations

import re
from typing import Protocol

from hpc_lstm.errors import HpcLstmError, StorageError

_PART = re.compile(r"[^/\0]+")


class NotFoundError(HpcLstmError):
    """No object of this key."""


class TooLargeError(StorageError):
    """An object has more bytes than its reader takes."""


class ObjectStore(Protocol):
    """Keys are ``/``-separated names; a prefix ends anywhere in a key. Threads may share a store.

    Beside what each method names, all raise StorageError where the store cannot be reached or refuses.
    """

    def check(self) -> None:
        """Make sure that the store can be used.

        Raises:
            StorageError: it is missing, refused or misconfigured: what to do.
        """

    def put_new(self, key: str, data: bytes) -> bool:
        """Create an object; False if one of this key is there already, which stays as it is.

        Raises:
            OSError: it could not be put into a folder; ``errors.from_os_error`` knows what will not pass.
        """

    def put(self, key: str, data: bytes) -> None:
        """Create an object whose name is the hash of its content, so that it does not matter who put it, or twice.

        Raises:
            OSError: as ``put_new``.
        """

    def get(self, key: str, limit: int | None = None) -> bytes:
        """An object's bytes.

        Args:
            limit: bytes beyond which it is not read.

        Raises:
            NotFoundError: there is none.
            TooLargeError: it is larger than ``limit``.
        """

    def list(self, prefix: str) -> list[tuple[str, int]]:
        """Keys under a prefix with their sizes in bytes, sorted by key; such that ``put`` would refuse are left out."""

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""

    def discard_unfinished(self, prefix: str) -> None:
        """Remove what killed writers left under a prefix, never to be listed; who still writes there has to again."""


def is_key(key: str) -> bool:
    """True if ``key`` can name something inside the store."""
    return all(_is_plain(part) for part in key.split("/"))


def checked_key(key: str) -> str:
    """``key``, if it names something inside the store.

    Raises:
        StorageError: it could lead out of it.
    """
    if not is_key(key):
        raise StorageError(f"{key!r}: not a key of an object: each part between slashes must be a plain name")
    return key


def checked_prefix(prefix: str) -> str:
    """``prefix``, if keys inside the store can begin with it.

    Raises:
        StorageError: it leads out of it.
    """
    *folders, last = prefix.split("/")
    if not all(_is_plain(part) for part in folders) or "\0" in last:
        raise StorageError(f"{prefix!r}: keys of objects cannot begin like this")
    return prefix


def _is_plain(part: str) -> bool:
    return part not in (".", "..") and _PART.fullmatch(part) is not None
