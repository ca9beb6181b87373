"""A limit on the size of files, which stands for a full disk."""

from __future__ import annotations

import contextlib
import resource
import sys
from collections.abc import Iterator

import pytest


@contextlib.contextmanager
def files_limited(size: int) -> Iterator[None]:
    """Files that this process writes end at ``size`` bytes.

    Python would not notice that the bytecode of a module which it imports meanwhile is cut off, too, and every later
    process would stumble over it.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
