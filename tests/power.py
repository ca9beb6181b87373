"""A fixture for tests that write many files; a conftest.py takes it by its name."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def no_power_is_lost() -> Iterator[None]:
    """Files need not reach the disk: to wait for it takes longer than most tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield
