"""Fixtures that put signal handlers back; a conftest.py takes them by their names."""

from __future__ import annotations

import signal
from typing import Any

import pytest


@pytest.fixture(scope="session", autouse=True)
def first_handlers() -> dict[signal.Signals, Any]:
    """The handlers before the first test."""
    return {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)}


@pytest.fixture(autouse=True)
def signals_are_put_back(first_handlers: dict[signal.Signals, Any]) -> None:
    """`train` ignores signals from its end on, as would every process that a later test starts here."""
    for number, handler in first_handlers.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)
