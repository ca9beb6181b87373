"""What asks a run to stop, and what does not."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from hpc_lstm.parallel.stop_signals import FROM_SYSTEM, remembered_signals


@pytest.fixture(autouse=True)
def handlers_are_put_back() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in FROM_SYSTEM}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", FROM_SYSTEM)
def test_a_signal_is_remembered_and_afterwards_ignored(number: signal.Signals) -> None:
    signal.signal(number, signal.SIG_DFL)
    with remembered_signals() as signals:
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
        assert signals.first == number.name
    os.kill(os.getpid(), number)


def test_a_run_under_nohup_outlives_its_terminal() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with remembered_signals() as signals:
        os.kill(os.getpid(), signal.SIGHUP)
        assert signals.first == ""
