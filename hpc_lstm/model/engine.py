"""What training and forecasting ask of a network, whichever engine computes it."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from hpc_lstm.config import RunConfig
from hpc_lstm.model.engines.device_vector import DeviceVector
from hpc_lstm.model.parameters import Schema
from hpc_lstm.parallel.work import Work

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from hpc_lstm.parallel.averages_within import AveragesWithin


class LossValue(Protocol):
    """A loss that may still be on the device."""

    def __float__(self) -> float: ...


class Engine(Protocol):
    """Trains one rank's copy of the network.

    Vectors are flat float32 in the order of ``schema``. Parameters, moments and state together are all that a run
    needs to be resumed bit-identically.

    Args:
        config: its ``data``, ``model`` and ``train`` sections count.
        rank: of this process; moves the dropout masks.
        threads: CPU threads; 0: all that this process may use.

    Attributes:
        name: as in ``train.engine``.
        arithmetic: what computes, in words; where it is another, results are not the same to the bit.
        reads_device_batches: ``step`` reads batches in GPU memory where they are; otherwise it copies them to the host.
        cuts_windows: ``step`` cuts and scales windows itself where it is given the rows, ``cuda_kernels.UncutWindows``.
        asynchronous: ``step`` returns before the steps are taken, so that the host may queue more meanwhile.
        averages_within_calls: ``step`` is that of an ``AveragingEngine``.
        schema: what lies where in the parameter vector.
        steps_per_call: the number of steps a call of ``step`` is most efficient with; fewer give the same bits.
    """

    name: ClassVar[str]
    arithmetic: ClassVar[str]
    reads_device_batches: ClassVar[bool]
    cuts_windows: ClassVar[bool]
    asynchronous: ClassVar[bool]
    averages_within_calls: ClassVar[bool]
    schema: Schema
    steps_per_call: int

    def __init__(self, config: RunConfig, *, rank: int = 0, threads: int = 0) -> None: ...

    @staticmethod
    def problem(config: RunConfig, *, threads: int, auto: bool) -> str:
        """Why this engine cannot train what ``config`` describes on this machine, or "".

        Args:
            threads: CPU threads of this rank.
            auto: nobody asked for this engine by name, so it is also a problem if one of less preference is better
                here.
        """

    def step(self, inputs: Any, targets: Any, learning_rate: ArrayLike) -> LossValue:
        """Take K optimizer steps on the loss of ``train.loss``.

        Args:
            inputs: float32 [K, B, T, F], B being ``train.batch_size``; K may differ from call to call. NumPy arrays,
                or arrays in GPU memory that support DLPack and must not change until the loss is known; or
                ``UncutWindows``, with no targets, for an engine that ``cuts_windows``.
            targets: float32 [K, B, targets], scaled.
            learning_rate: one for all steps, or [K].

        Returns:
            The mean of the K losses; ``float()`` of it waits for the device.
        """

    def parameters(self) -> np.ndarray:
        """The weights: a new float32 [P]."""

    def set_parameters(self, flat: np.ndarray) -> None:
        """Copy in weights [P]."""

    def moments(self) -> np.ndarray:
        """The optimizer's slots one after the other, float32 [slots * P]: [2P] for Adam, [0] for SGD."""

    def set_moments(self, flat: np.ndarray) -> None:
        """Copy in what ``moments`` returned."""

    def device_vectors(self, *, moments: bool) -> list[DeviceVector]:
        """The weights, and with ``moments`` the optimizer's slots, in GPU memory; empty for an engine on CPUs."""

    def state(self) -> dict[str, np.ndarray]:
        """What else a bit-identical resumption needs, by name."""

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore what ``state`` returned."""

    def predict(self, inputs: Any) -> Any:
        """Outputs, float32 [n, O], of windows float32 [n, T, F], on the same device; without dropout."""

    def save(self, path: str | PathLike[str]) -> None:
        """Write the network with its present weights as a Keras file, whole or not at all.

        Raises:
            InputError: it cannot be written.
        """


class TimedLoss(LossValue, Work, Protocol):
    """The loss of a call, and the time that its averages took."""


class AveragingEngine(Engine, Protocol):
    """An engine that can average its weights with other ranks' within a call, between the steps."""

    def step(
        self, inputs: Any, targets: Any, learning_rate: ArrayLike, within: AveragesWithin | None = None
    ) -> TimedLoss:
        """Take K optimizer steps, at most ``steps_per_call``, and the averages that ``within`` asks for."""


class Forecaster(Protocol):
    """A trained network read back from a file.

    Attributes:
        window, features: rows and columns of a window.
        outputs: numbers that it gives, O: what they mean, its loss says.
        shapes: of the arrays in its vector of weights.
    """

    window: int
    features: int
    outputs: int
    shapes: tuple[tuple[int, ...], ...]

    def parameters(self) -> np.ndarray:
        """The weights, float32 [P], in the order of ``parameters.Schema``."""

    def predict(self, inputs: Any) -> Any:
        """Outputs, float32 [n, O], of windows float32 [n, T, F], on the same device."""
