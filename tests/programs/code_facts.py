"""What tests ask of the code of kernels: recorded, or else asked of the compiler.

A case is found by a digest of everything that the answer depends on: the code (``usage_record.digest``) and how it is
asked. So a record cannot be out of date: what has changed since is not in it, and is compiled. After a change:

    python tests/programs/test_kernel_record.py --record
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Generic, TypeVar

from hpc_lstm.cuda import compiler
from hpc_lstm.files import write_text

sys.path.append(str(Path(__file__).parents[1] / "unit" / "cuda"))
from resource_usage import first_compiler
from usage_record import digest

__all__ = ["Case", "CodeFacts", "first_compiler"]

Fact = TypeVar("Fact")
# Source, defines, architecture.
Case = tuple[Path, compiler.Defines, str]


class CodeFacts(Generic[Fact]):
    """One kind of fact, with its record.

    Args:
        ask: asks the compiler; the answer is what JSON can hold.
        looked_for: what ``ask`` looks for or adds, if its own lines do not say.
    """

    def __init__(
        self, record: Path, ask: Callable[[Path, compiler.Defines, str], Fact], looked_for: str = ""
    ) -> None:
        self._record = record
        self.ask = ask
        self._question = f"{inspect.getsource(ask)}\0{looked_for}"
        self._asked: dict[str, Fact] = {}

    @functools.cached_property
    def recorded(self) -> dict[str, Fact]:
        """The record, by digest."""
        found: dict[str, Fact] = json.loads(self._record.read_text())
        return found

    def key(self, path: Path, defines: compiler.Defines, architecture: str) -> str:
        """By which a fact is recorded."""
        code = digest(path, defines, architecture)
        return hashlib.sha256(f"{code}\0{self._question}".encode()).hexdigest()

    def of(self, path: Path, defines: compiler.Defines, architecture: str) -> Fact:
        """The fact of a source file: recorded, or else asked for, once."""
        key = self.key(path, defines, architecture)
        if key in self.recorded:
            return self.recorded[key]
        if key not in self._asked:
            self._asked[key] = self.ask(path, defines, architecture)
        return self._asked[key]

    def write(self, cases: Iterable[Case]) -> None:
        """Replace the record by one of these cases, a line each, so that two changes can be merged."""
        found = {self.key(*case): self.of(*case) for case in cases}
        lines = (f'"{key}": {json.dumps(fact)}' for key, fact in sorted(found.items()))
        write_text(self._record, "{\n" + ",\n".join(lines) + "\n}\n")
