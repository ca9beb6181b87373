"""C functions that return a status code, declared in one table and called by name through ctypes."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class LibraryError(Exception):
    """A function is missing from a library, or returned a status other than 0.

    Attributes:
        status: what the function returned; None if there is no such function.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class SharedLibrary:
    """A C library whose functions return 0, or an error code.

    A subclass declares what it needs of the library; a library without one of these functions is refused.

    Attributes:
        functions: argument types, by function.
        error_string: the function ``const char *f(int status)`` that describes a status.

    Args:
        path: a file, or a name that the dynamic loader finds.

    Raises:
        OSError: it cannot be loaded.
        LibraryError: it lacks a declared function.
    """

    functions: ClassVar[Mapping[str, Sequence[Any]]] = {}
    error_string: ClassVar[str] = ""

    def __init__(self, path: str) -> None:
        self.path = path
        self._library = ctypes.CDLL(path)
        for name, argument_types in self.functions.items():
            self._function(name).argtypes = argument_types

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function.

        Raises:
            LibraryError: it returned an error.
        """
        status = self._function(name)(*arguments)
        if status:
            raise LibraryError(f"{name}: {self.describe_status(status)}", status)

    def describe_status(self, status: int) -> str:
        """The library's own text for a status."""
        function = self._function(self.error_string)
        function.restype = ctypes.c_char_p
        return (function(status) or b"unknown error").decode(errors="replace")

    def _function(self, name: str) -> Any:
        try:
            return getattr(self._library, name)
        except AttributeError:
            raise LibraryError(f"there is no {name}: the library is too old") from None
