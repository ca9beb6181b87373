"""Object stores that fail, stop or dawdle as a test wants."""

from __future__ import annotations

import threading
from collections.abc import Callable

from hpc_lstm.errors import StorageError
from hpc_lstm.storage.objects import ObjectStore


class Wrapped:
    """An object store that hands everything on to another one."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store

    def check(self) -> None:
        self.store.check()

    def put_new(self, key: str, data: bytes) -> bool:
        return self.store.put_new(key, data)

    def put(self, key: str, data: bytes) -> None:
        self.store.put(key, data)

    def get(self, key: str, limit: int | None = None) -> bytes:
        return self.store.get(key, limit)

    def list(self, prefix: str) -> list[tuple[str, int]]:
        return self.store.list(prefix)

    def delete(self, key: str) -> None:
        self.store.delete(key)

    def discard_unfinished(self, prefix: str) -> None:
        self.store.discard_unfinished(prefix)


class StopsAfter(Wrapped):
    """Takes so many changes, and after the attempt at one more nothing, as if the program were killed there."""

    def __init__(self, store: ObjectStore, changes: float) -> None:
        super().__init__(store)
        self.left, self.made = changes, 0
        self._killed = False
        self._lock = threading.Lock()

    def put_new(self, key: str, data: bytes) -> bool:
        self._count()
        return super().put_new(key, data)

    def get(self, key: str, limit: int | None = None) -> bytes:
        self._require_alive()
        return super().get(key, limit)

    def list(self, prefix: str) -> list[tuple[str, int]]:
        self._require_alive()
        return super().list(prefix)

    def delete(self, key: str) -> None:
        self._count()
        super().delete(key)

    def _require_alive(self) -> None:
        if self._killed:
            raise StorageError("killed")

    def _count(self) -> None:
        with self._lock:
            self._killed = self._killed or self.made >= self.left
            self._require_alive()
            self.made += 1


class Intercepted(Wrapped):
    """Calls ``before`` with the method's name and the key ahead of every put, get and delete.

    ``before`` raises, waits, or returns False for a put that is to be lost without a word.
    """

    def __init__(self, store: ObjectStore, before: Callable[[str, str], object]) -> None:
        super().__init__(store)
        self.before = before

    def put_new(self, key: str, data: bytes) -> bool:
        return self.before("put", key) is False or super().put_new(key, data)

    def get(self, key: str, limit: int | None = None) -> bytes:
        self.before("get", key)
        return super().get(key, limit)

    def delete(self, key: str) -> None:
        self.before("delete", key)
        super().delete(key)
