"""Forecasts of windows by their numbers: a network computes each batch once, whatever is measured of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from hpc_lstm.preprocess.windows import Windows

Predict = Callable[[np.ndarray], np.ndarray]
"""Scaled inputs float32 [B, window, features] to forecasts [B], or a network's outputs [B, O]."""
WindowForecast = Callable[["Windows", np.ndarray], np.ndarray]
"""A rank's windows of a part, and the numbers int64 [B] of some of them, to the same."""


def of_inputs(predict: Predict) -> WindowForecast:
    """The forecasts of windows by what takes their inputs."""
    return lambda windows, numbers: np.asarray(predict(windows.batch(numbers)[0]))


class RememberedOutputs:
    """A network's outputs for batches of windows, of which it computes each once.

    Args:
        predict: scaled inputs float32 [B, window, features] to outputs float32 [B, O].
    """

    def __init__(self, predict: Predict) -> None:
        self._compute = of_inputs(predict)
        self._known: dict[tuple[str, int, int], np.ndarray] = {}

    def __call__(self, windows: Windows, numbers: np.ndarray) -> np.ndarray:
        """Outputs [B, O].

        Args:
            windows: of one ``Prepared``, whichever target they look at.
            numbers: consecutive.
        """
        batch = windows.part.part, int(numbers[0]), len(numbers)
        if batch not in self._known:
            self._known[batch] = self._compute(windows, numbers)
        return self._known[batch]
