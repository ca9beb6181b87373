"""The record of what kernels take, by which most are not compiled again, is what the compiler says."""

from __future__ import annotations

import sys
from pathlib import Path

from hpc_lstm.cuda import compiler

sys.path.append(str(Path(__file__).parents[1] / "unit" / "cuda"))
from resource_usage import resource_usage
from test_kernels_compile import CASE_VALUES
from usage_record import digest, recorded

# Recorded cases that are compiled all the same.
SAMPLED = 3


def test_the_record_holds_what_the_compiler_says() -> None:
    """Of a few recorded cases, which change with the sources."""
    cases = {digest(compiler.kernel_source(case[0]), *case[1:]): case for case in CASE_VALUES}
    known = sorted(cases.keys() & recorded().keys())
    assert len(known) >= SAMPLED
    for key in known[:SAMPLED]:
        name, defines, architecture = cases[key]
        assert resource_usage(compiler.kernel_source(name), defines, architecture) == recorded()[key]
