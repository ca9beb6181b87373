"""What the tests of changed inputs share."""

from __future__ import annotations

import pytest
from power import no_power_is_lost

__all__ = ["no_power_is_lost"]

# Kinds of inputs, and a test, that take longest: begun last, they would keep one process busy while others have ended.
LONGEST = (
    *("timing-lines", "sweep-record", "model", "timing-file", "round-document", "rank-state", "prices"),
    "not_run_again",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what takes longest first."""
    items.sort(
        key=lambda item: next((n for n, name in enumerate(LONGEST) if name in item.name), len(LONGEST))
    )
