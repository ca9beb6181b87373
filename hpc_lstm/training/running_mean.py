"""The losses of the steps since the ranks last met, read back from the device only when asked for."""

from __future__ import annotations

from hpc_lstm.model.engine import Loss


class LossSum:
    """Windows trained on since the ranks last met, and the sum of their losses."""

    def __init__(self) -> None:
        self.samples = 0
        self._sum = 0.0
        self._pending: list[tuple[Loss, int]] = []

    def add(self, loss: Loss, samples: int) -> None:
        """Count ``samples`` windows whose mean loss is ``loss``."""
        self.samples += samples
        self._pending.append((loss, samples))

    def loss_sum(self) -> float:
        """The sum of the losses, waiting for the device."""
        for loss, samples in self._pending:
            self._sum += float(loss) * samples
        self._pending.clear()
        return self._sum

    def set(self, samples: int, loss_sum: float) -> None:
        """Start from a stored state; ``set(0, 0.0)`` from nothing."""
        self.samples, self._sum = samples, loss_sum
        self._pending.clear()
