"""What the training loop asks of a model, whichever engine computes it."""

from __future__ import annotations

from os import PathLike
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from hpc_lstm.model.engines.device_vector import DeviceVector
from hpc_lstm.model.parameters import Schema


class Loss(Protocol):
    """A loss that may still be on the device."""

    def __float__(self) -> float: ...


class Engine(Protocol):
    """Trains one rank's copy of the network.

    Vectors are flat float32 in the order of ``schema``. Parameters, moments and state together are all that a
    run needs to go on to the bit.

    Attributes:
        name: as in ``train.engine``.
        schema: what lies where in the parameter vector.
        steps_per_call: steps that ``step`` likes to take at once; fewer are right, and as exact.
    """

    name: str
    schema: Schema
    steps_per_call: int

    def step(self, inputs: Any, targets: Any, learning_rate: ArrayLike) -> Loss:
        """Take K optimizer steps on the mean squared error.

        Args:
            inputs: float32 [K, B, T, F], B being ``train.batch_size``; K may differ from call to call. Of NumPy,
                or in GPU memory (speaks DLPack), which must stay as it is until the loss is known.
            targets: float32 [K, B, 1], scaled.
            learning_rate: one for all steps, or [K].

        Returns:
            The mean of the K losses; ``float()`` of it waits for the device.
        """

    def parameters(self) -> np.ndarray:
        """The weights: a new float32 [P]."""

    def set_parameters(self, flat: np.ndarray) -> None:
        """Copy in weights [P]."""

    def moments(self) -> np.ndarray:
        """The optimizer's moments: float32 [2P] for Adam (means, then mean squares), [0] for SGD."""

    def set_moments(self, flat: np.ndarray) -> None:
        """Copy in what ``moments`` gave."""

    def device_vectors(self, *, moments: bool) -> list[DeviceVector]:
        """The weights, and with ``moments`` the optimizer's, where they lie on a GPU; empty if they do not."""

    def state(self) -> dict[str, np.ndarray]:
        """Everything else that going on to the bit needs."""

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Put back what ``state`` gave."""

    def predict(self, inputs: Any) -> Any:
        """Scaled forecasts, float32 [n], of windows float32 [n, T, F], where those lie; without dropout."""

    def save(self, path: str | PathLike[str]) -> None:
        """Write the network with its present weights as a Keras file, whole or not at all.

        Raises:
            InputError: it cannot be written.
        """


class Forecaster(Protocol):
    """A trained network read back from a file.

    Attributes:
        window, features: rows and columns of a window.
    """

    window: int
    features: int

    def predict(self, inputs: Any) -> Any:
        """Scaled forecasts, float32 [n], of windows float32 [n, T, F], where those lie."""
