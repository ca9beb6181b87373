"""What the tests of models share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from plain_keras import PlainKeras


@pytest.fixture(scope="session")
def plain_keras() -> Iterator[PlainKeras]:
    """Keras in a process of its own, without this package."""
    with PlainKeras() as keras:
        yield keras
