"""What tests of kernels share: the compiler, without its cache."""

from __future__ import annotations

import pytest

from hpc_lstm.cuda import compiler
from hpc_lstm.cuda.nvrtc import Nvrtc


@pytest.fixture(scope="session")
def nvrtc() -> Nvrtc:
    broken: list[str] = []
    found = next(compiler._compilers(broken), None)
    assert found is not None, broken
    return found
