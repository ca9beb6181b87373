"""The mean loss of the steps since the ranks last agreed, read from the device only when asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hpc_lstm.model.engine import LossValue


class RunningMean:
    """Windows trained on since the ranks last agreed, and the sum of their losses.

    Attributes:
        samples: the windows.
    """

    def __init__(self) -> None:
        self.samples = 0
        self._sum = 0.0
        self._pending: list[tuple[LossValue, int]] = []

    def add(self, loss: LossValue, samples: int) -> None:
        """Add ``samples`` windows whose mean loss is ``loss``, which may still be on the device."""
        self.samples += samples
        self._pending.append((loss, samples))

    def loss_sum(self) -> float:
        """The sum of the losses; waits for the device."""
        for loss, samples in self._pending:
            self._sum += float(loss) * samples
        self._pending.clear()
        return self._sum

    def reset(self, samples: int = 0, loss_sum: float = 0.0) -> None:
        """Start anew, from nothing or from a checkpoint's numbers."""
        self.samples, self._sum = samples, loss_sum
        self._pending.clear()
