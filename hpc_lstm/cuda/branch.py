"""A second stream, for work that need not wait for the first."""

from __future__ import annotations

from hpc_lstm.cuda.context import Context


class Branch:
    """Work beside the device's stream: what is launched in ``with branch`` follows all that was launched before, and
    what comes after it need not wait, until ``join``."""

    def __init__(self, device: Context) -> None:
        self._device, self._main = device, device.stream
        self._begun, self._done = device.event(), device.event()
        with device.current():
            self._stream = device.cuda.Stream()

    def __enter__(self) -> None:
        with self._device.current():
            self._begun.record(self._main)
            self._stream.wait_for_event(self._begun)
        self._device.stream = self._stream

    def __exit__(self, *_: object) -> None:
        self._device.stream = self._main

    def join(self) -> None:
        """Make the device's stream wait for the branch."""
        with self._device.current():
            self._done.record(self._stream)
            self._main.wait_for_event(self._done)
