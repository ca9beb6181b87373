"""What the protocol asks of the outside world, one step at a time, each with the type of its answer.

The protocol is written as generators. ``yield from`` a step hands it to whoever runs the generator (``runner.Runner``,
or a simulation in a test) and evaluates to the answer:

    data = yield from Get(key, limit)  # bytes | None
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Step(Generic[T]):
    """A request that is answered by a ``T``."""

    def __iter__(self) -> Generator[Step[Any], Any, T]:
        answer: T = yield self
        return answer


# A generator that yields steps and returns a ``T``.
Steps = Generator[Step[Any], Any, T]


@dataclass(frozen=True)
class Put(Step[bool]):
    """Create an object; answered by whether it is new. Payloads may be put again: their name is their content."""

    key: str
    data: bytes


@dataclass(frozen=True)
class Get(Step["bytes | None"]):
    """Read an object; answered by None if there is none, by no bytes if it is larger than ``limit``."""

    key: str
    limit: int


@dataclass(frozen=True)
class List(Step["list[str]"]):
    """List the keys that begin with a prefix; a listing may lag behind."""

    prefix: str


@dataclass(frozen=True)
class Delete(Step[None]):
    """Delete an object, if it is there."""

    key: str


@dataclass(frozen=True)
class DiscardUnfinished(Step[None]):
    """Delete what killed writers left under a prefix and no listing shows."""

    prefix: str


@dataclass(frozen=True)
class Wait(Step[float]):
    """Wait before polling again, longer with each attempt; answered by this machine's clock in seconds.

    Attempt 0 does not wait.
    """

    attempt: int


@dataclass(frozen=True)
class Log(Step[None]):
    """Write a line into the log."""

    text: str


@dataclass(frozen=True)
class LogStoredRuns(Step[None]):
    """Write into the log which runs lie in the store, after ``text``."""

    text: str
