"""Which names, types and shapes the state of a rank may have: any other is refused before it is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

TEXT = "text"


@dataclass(frozen=True)
class Entry:
    """What one name of a state may hold.

    Attributes:
        kind: TEXT, or one of NumPy's kinds of numbers: "f", "i" (unsigned too), "b".
        shapes: one of them; None in one is any length.
    """

    kind: str
    shapes: tuple[tuple[int | None, ...], ...] = ((),)

    @classmethod
    def like(cls, value: Any) -> Entry:
        """Of the type and shape of a value."""
        if isinstance(value, str):
            return cls(TEXT)
        array = np.asarray(value)
        return cls(_kind(array.dtype.kind), (array.shape,))

    def holds(self, kind: str, shape: tuple[int, ...]) -> bool:
        """True for a value of this kind, TEXT or NumPy's, and this shape."""
        return _kind(kind) == self.kind and any(
            len(shape) == len(known) and all(k in (None, n) for k, n in zip(known, shape, strict=True))
            for known in self.shapes
        )


@dataclass(frozen=True)
class StateLayout:
    """All names that a state may have, and those that it must have."""

    entries: Mapping[str, Entry]
    required: frozenset[str]

    def check(self, name: str, kind: str, shape: tuple[int, ...]) -> None:
        """Refuse what is not of this layout.

        Raises:
            ValueError: the name is unknown, or the value is of another type or shape.
        """
        entry = self.entries.get(name)
        if entry is None:
            raise ValueError(f"it has {name[:80]!r}, which no state of this run has")
        if not entry.holds(kind, shape):
            raise ValueError(f"{name} is of another type or shape than in this run")

    def check_complete(self, names: Iterable[str]) -> None:
        """Refuse a state that lacks something.

        Raises:
            ValueError: it names the first.
        """
        if missing := sorted(self.required - set(names)):
            raise ValueError(f"it lacks {missing[0]}")


def _kind(kind: str) -> str:
    return "i" if kind == "u" else kind
