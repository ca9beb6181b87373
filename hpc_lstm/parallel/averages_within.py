"""Averages that an engine takes between the steps of one call, without returning to the host."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from hpc_lstm.parallel.device_allreduce import DeviceAllreduce


class Recorded(Protocol):
    """What launches the work of a call, averages included, such as a CUDA graph."""

    def launch(self) -> None: ...

    def close(self) -> bool:
        """Free it, once it has run; idempotent. Returns False if that failed."""


@dataclass(frozen=True)
class AveragesWithin:
    """How an engine averages within a call: after steps ``every``, 2 ``every`` and so on.

    Attributes:
        every: steps between averages.
        ranks: that take part; each has trained on as many windows. 1: there is nothing to average.
        moments: the optimizer's moments are averaged, too.
        on_device: sums vectors over the ranks; its sums may be recorded.
        calls: what engines have recorded, by what they know it again by. It refers to ``on_device``, which cannot be
            closed before all of it is.
    """

    every: int
    ranks: int
    moments: bool
    on_device: DeviceAllreduce | None
    calls: dict[Any, Recorded] = field(default_factory=dict)

    def allreduce_sum(self, address: int, length: int, stream: int) -> None:
        """Queue the sum over all ranks of a float32 [length] at a device address on a stream; collective."""
        assert self.on_device is not None
        self.on_device.allreduce_sum(address, length, stream)

    def close(self) -> bool:
        """Free what was recorded; idempotent. Returns False if that failed."""
        freed = [call.close() for call in self.calls.values()]
        self.calls.clear()
        return all(freed)
