"""What all unit tests share.

The same examples at every start of the tests: whether a test passes must not depend on luck.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings
from inspector import Inspector

from hpc_lstm.hdf5 import reading

# No deadline for an example: on a busy machine it takes what it takes.
settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
# `make fuzz` and `make soak` look for new examples.
settings.register_profile("explore", derandomize=False, max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


@pytest.fixture(scope="session", autouse=True)
def inspect_alone() -> Iterator[Callable[..., Any]]:
    """HDF5 files are inspected by one process for all tests; the value is what starts a process for each."""
    alone, inspector = reading._inspect, Inspector(reading.CPU_S)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "_inspect", inspector)
        yield alone
    inspector.end()
