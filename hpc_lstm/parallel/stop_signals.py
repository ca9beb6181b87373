"""Signals that ask a run to stop: remembered until all ranks can act on them together."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# What batch systems and service managers send, and a terminal that is closed; then what a terminal's user sends.
FROM_SYSTEM = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
FROM_USER = (signal.SIGINT,)


class StopSignals:
    """Remembers the signals that this process has received since it began to listen.

    Attributes:
        listening: it has begun to.
    """

    def __init__(self) -> None:
        self._received: list[int] = []
        self.listening = False

    def listen(self, numbers: tuple[signal.Signals, ...] = FROM_SYSTEM + FROM_USER) -> None:
        """Remember these signals instead of ending; a second SIGINT still ends the process at once.

        SIGHUP stays ignored where it is, as under ``nohup``: the run is to outlive its terminal.

        Raises:
            ValueError: this is not the main thread.
        """
        self.listening = True
        for number in numbers:
            if not (number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN):
                signal.signal(number, self._on_signal)

    @property
    def first(self) -> str:
        """Name of the first signal, or ''."""
        return signal.Signals(self._received[0]).name if self._received else ""

    def ignore(self) -> None:
        """From now on ignore what the system sends, if this has listened: Python drops its handlers as it exits.

        Slurm and service managers repeat SIGTERM, which would then kill the process and change its exit code. SIGINT
        still ends a process that does not come to its end.
        """
        if self.listening:
            for number in FROM_SYSTEM:
                signal.signal(number, signal.SIG_IGN)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and signal.SIGINT in self._received:
            os._exit(130)
        self._received.append(number)


@contextmanager
def remembered_signals() -> Iterator[StopSignals]:
    """Remember what the system sends from here on, before there are ranks; ignore it from the end of the block on."""
    signals = StopSignals()
    signals.listen(FROM_SYSTEM)
    try:
        yield signals
    finally:
        signals.ignore()
