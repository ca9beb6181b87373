"""The records of what kernels take and do, by which most are not compiled again, are what the compiler says.

After a change of a kernel, write those of this folder anew:

    python tests/programs/test_kernel_record.py --record
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import test_early_kernels
import test_kernel_sizes
from code_facts import Case, CodeFacts
from resource_usage import resource_usage
from test_kernels_compile import CASE_VALUES
from usage_record import digest, recorded

from hpc_lstm.cuda import compiler

# Recorded cases that are compiled all the same.
SAMPLED = 3
FACTS: list[tuple[CodeFacts[Any], Callable[[], Sequence[Case]]]] = [
    (test_early_kernels.STEPS, test_early_kernels.all_cases),
    (test_kernel_sizes.SIZES, test_kernel_sizes.all_cases),
]


def holds_what_the_compiler_says(
    record: dict[str, Any],
    cases: Sequence[Case],
    key_of: Callable[[Path, compiler.Defines, str], str],
    ask: Callable[[Path, compiler.Defines, str], Any],
) -> None:
    """A few recorded cases, which change with the sources."""
    by_digest = {key_of(*case): case for case in cases}
    known = sorted(by_digest.keys() & record.keys())
    assert len(known) >= SAMPLED
    for key in known[:SAMPLED]:
        assert ask(*by_digest[key]) == record[key]


def test_the_record_of_resources_holds_what_the_compiler_says() -> None:
    cases = [(compiler.kernel_source(name), *rest) for name, *rest in CASE_VALUES]
    holds_what_the_compiler_says(recorded(), cases, digest, resource_usage)


@pytest.mark.parametrize(("facts", "cases"), FACTS, ids=["early kernels", "sizes"])
def test_records_of_the_code_hold_what_the_compiler_says(
    facts: CodeFacts[Any], cases: Callable[[], Sequence[Case]]
) -> None:
    holds_what_the_compiler_says(facts.recorded, cases(), facts.key, facts.ask)


def test_what_is_not_recorded_is_asked_for_once(tmp_path: Path) -> None:
    asked: list[str] = []

    def ask(path: Path, *_: Any) -> int:
        asked.append(path.read_text())
        return len(asked)

    record, source = tmp_path / "facts.json", tmp_path / "k.cu"
    record.write_text("{}")
    facts = CodeFacts(record, ask)
    for text in ("// 1\n", "// 2\n", "// 1\n"):
        source.write_text(text)
        facts.of(source, {}, "sm_80")
    assert asked == ["// 1\n", "// 2\n"]
    facts.write([(source, {}, "sm_80")])
    read = CodeFacts(record, ask)
    assert read.of(source, {}, "sm_80") == 1
    assert len(asked) == 2
    source.write_text("// 3\n")
    assert read.of(source, {}, "sm_80") == 3
    source.write_text("// 1\n")
    assert CodeFacts(record, ask, "something else").of(source, {}, "sm_80") == 4


if __name__ == "__main__":
    if sys.argv[1:] != ["--record"]:
        sys.exit(f"usage: python {sys.argv[0]} --record")
    for facts, cases in FACTS:
        facts.write(cases())
