"""The engine in CUDA for GPUs: every part of a training step in kernels of our own, kernels/lstm_*.cu.

Network, order of the parameters, dropout masks and mathematics are those of the C engine.
"""

from __future__ import annotations

import logging
import weakref
from os import PathLike
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from hpc_lstm.config import RunConfig
from hpc_lstm.cuda.availability import cuda_problem
from hpc_lstm.cuda.device import Device
from hpc_lstm.cuda.device_array import DeviceArray, array_on_gpu
from hpc_lstm.cuda.graph import Graph
from hpc_lstm.errors import CudaError, InputError
from hpc_lstm.model.engine import TimedLoss
from hpc_lstm.model.engines.calls import steps_per_call
from hpc_lstm.model.engines.cuda.choice import choose_plan, keras_is_faster
from hpc_lstm.model.engines.cuda.forecasts import BatchForecaster
from hpc_lstm.model.engines.cuda.gather import Gather
from hpc_lstm.model.engines.cuda.network import TrainingStep, call_bytes
from hpc_lstm.model.engines.cuda.sources import Sources
from hpc_lstm.model.engines.cuda.vector import CudaVector
from hpc_lstm.model.engines.cuda.weights import Shape, Weights
from hpc_lstm.model.engines.device_vector import DeviceVector
from hpc_lstm.model.engines.head import Head
from hpc_lstm.model.engines.tensorflow_runtime import keras_has_gpu
from hpc_lstm.model.initial_weights import initial_weights
from hpc_lstm.model.keras_file import write_keras_file
from hpc_lstm.model.optimizers.registry import create_optimizer
from hpc_lstm.model.parameters import network_schema
from hpc_lstm.parallel.averages_within import AveragesWithin, Recorded
from hpc_lstm.preprocess.cuda_kernels import Resident, UncutWindows

log = logging.getLogger(__name__)

# Losses that may be on their way at the same time; older ones are waited for.
LOSSES = 64
# Numbers of each: the loss, and the nanoseconds of averages.
LOSS_NUMBERS = 2


class CudaEngine:
    """Trains the network on this rank's GPU; see ``engine.Engine`` for its arguments and methods.

    A call of ``step`` is one CUDA graph. Sums are added in a fixed order: results are bit-identical on the same kind of
    GPU with the same compiler. A dropout mask depends on seed, rank, step, layer, unit, row and the window's index in
    the batch alone.

    Args:
        kernels: those for small batches or for large ones, of ``speed_table``; "": the faster ones.

    Raises:
        CudaError: there is no GPU that can be used, or too little of its memory is free.
        InputError: the engine cannot train this network.
    """

    name: ClassVar[str] = "fused"
    arithmetic: ClassVar[str] = "fused on a GPU"
    reads_device_batches: ClassVar[bool] = True
    cuts_windows: ClassVar[bool] = True
    asynchronous: ClassVar[bool] = True
    averages_within_calls: ClassVar[bool] = True

    def __init__(self, config: RunConfig, *, rank: int = 0, threads: int = 0, kernels: str = "") -> None:
        self._device = Device()
        found = choose_plan(config, self._device, kernels)
        if isinstance(found, str):
            raise InputError(f'train.engine: "fused" {found}; use "auto"')
        self._plan, train, self._model = found, config.train, config.model
        if found.forward.alone and rank == 0:
            log.warning(
                "%d units in %s take %d multiprocessors at the same time, and this GPU has %d: enough for one process; "
                "let no other use it at the same time through MPS, or both may wait for ever",
                *(config.model.units, train.precision, found.forward.split, self._device.multiprocessors),
            )
        self._shape = _shape(config)
        self.schema = network_schema(config.model, self._shape.features, self._shape.head.outputs)
        self.steps_per_call = steps_per_call(train.batch_size, self._shape.rows, self._shape.features)
        shape = self._shape
        self._device.compile(Sources(self._plan, shape.layers, shape.dropout > 0, shape.head).all())
        self._optimizer = create_optimizer(train.optimizer, train.model_dump())
        self._weights = Weights(
            self._device, self._plan, self._shape, self.schema, len(self._optimizer.slots)
        )
        self._call = self._device.zeros((len(call_bytes(0, 0, 0, 0, [()] * self.steps_per_call)),), np.uint8)
        self._step = TrainingStep(
            self._device,
            self._plan,
            self._shape,
            self.schema,
            self._weights,
            call=self._call,
            steps=self.steps_per_call,
            kernel=self._optimizer.device_kernel,
            clip_norm=train.clip_norm,
        )
        self._graphs: dict[int, Recorded] = {}  # of calls whose batches lie ready, by their steps
        self._gathers: weakref.WeakKeyDictionary[Resident, Gather] = weakref.WeakKeyDictionary()
        self._losses = _LossSlots(self._device)
        self._inputs, self._targets = (
            _HostCopy(self._device, np.float32, "a batch from the host") for _ in range(2)
        )
        self._order_keys = _HostCopy(self._device, np.uint32, "the keys of the random order")
        self._step_count = 0
        self._dropout_key = int(np.random.SeedSequence([train.seed, rank]).generate_state(1)[0])
        self.set_parameters(initial_weights(self.schema, train.seed))
        # Now, before the rows are placed: later there may be no room.
        self._forecaster = BatchForecaster(self._device, self._plan, self._shape, self._weights)

    @staticmethod
    def problem(config: RunConfig, *, threads: int, auto: bool) -> str:
        if problem := cuda_problem():
            return problem
        try:
            device = Device()
            found = choose_plan(config, device)
        except CudaError as error:
            return str(error)
        if isinstance(found, str):
            return found
        if auto and keras_is_faster(config, device) and keras_has_gpu(threads, config.train.deterministic):
            return "the Keras engine is faster for this many units and windows"
        return ""

    def step(
        self, inputs: Any, targets: Any, learning_rate: ArrayLike, within: AveragesWithin | None = None
    ) -> TimedLoss:
        shape = self._shape
        if within is not None and within.ranks == 1:
            within = None
        if isinstance(inputs, UncutWindows):
            return self._cut_and_step(inputs, learning_rate, within)
        count = len(inputs) if isinstance(inputs, np.ndarray) else int(inputs.shape[0])
        if tuple(inputs.shape[1:]) != (shape.batch, shape.rows, shape.features):
            raise ValueError(
                f"batches of shape {(shape.batch, shape.rows, shape.features)} expected, got {tuple(inputs.shape[1:])}"
            )
        if tuple(targets.shape) != (count, shape.batch, shape.head.targets):
            raise ValueError(
                f"targets of shape {tuple(targets.shape)} for inputs of shape {tuple(inputs.shape)}"
            )
        if count < 1:
            raise ValueError("no steps to take")
        rates = np.broadcast_to(np.asarray(learning_rate, np.float32), count)
        most = self.steps_per_call
        if count <= most:
            return self._take_steps(inputs, targets, rates, within)
        if not isinstance(inputs, np.ndarray) or within is not None:
            raise ValueError(
                f"{count} steps in a call, at most {most} are taken from GPU memory or with averages"
            )
        losses = [
            self._take_steps(inputs[at : at + most], targets[at : at + most], rates[at : at + most], None)
            for at in range(0, count, most)
        ]
        weights = [min(most, count - at) for at in range(0, count, most)]
        return _MeanLoss(losses, weights)

    def parameters(self) -> np.ndarray:
        return self._weights.flat.numpy()

    def set_parameters(self, flat: np.ndarray) -> None:
        if np.shape(flat) != (self.schema.length,):
            raise ValueError(f"weights of shape {(self.schema.length,)} expected, got {np.shape(flat)}")
        self._weights.flat.set(flat)
        self._step.pack()

    def moments(self) -> np.ndarray:
        return self._weights.moments.numpy()

    def set_moments(self, flat: np.ndarray) -> None:
        if np.shape(flat) != self._weights.moments.shape:
            raise ValueError(f"moments of shape {self._weights.moments.shape} expected, got {np.shape(flat)}")
        self._weights.moments.set(flat)

    def device_vectors(self, *, moments: bool) -> list[DeviceVector]:
        length = self.schema.length
        vectors: list[DeviceVector] = [CudaVector(self._device, self._step, self._weights.flat, packed=True)]
        if moments:
            for slot in range(len(self._optimizer.slots)):
                part = self._weights.moments.part(slot * length, length)
                vectors.append(CudaVector(self._device, self._step, part, packed=False))
        return vectors

    def state(self) -> dict[str, np.ndarray]:
        return {"steps": np.asarray(self._step_count)}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        self._step_count = int(state["steps"])

    def predict(self, inputs: Any) -> Any:
        return self._forecaster.predict(inputs)

    def save(self, path: str | PathLike[str]) -> None:
        shape, arrays = self._shape, self.schema.unflatten(self.parameters())
        write_keras_file(path, self._model, shape.rows, shape.features, arrays)

    def gradient(self) -> np.ndarray:
        """The gradient of the last step, before it was clipped: float32 [P]."""
        return self._step.gradient()

    def _take_steps(
        self, inputs: Any, targets: Any, rates: np.ndarray, within: AveragesWithin | None
    ) -> DeviceLoss:
        given, wanted = self._inputs.on_device(inputs), self._targets.on_device(targets)
        return self._launch(given.pointer, wanted.pointer, rates, (inputs, targets, given, wanted), within)

    def _cut_and_step(
        self, windows: UncutWindows, learning_rate: ArrayLike, within: AveragesWithin | None
    ) -> DeviceLoss:
        shape, count = self._shape, windows.shape[0]
        expected = (shape.batch, shape.rows, shape.features, shape.head.targets)
        if (*windows.shape[1:], windows.targets) != expected:
            raise ValueError(f"windows of {expected} expected, got {(*windows.shape[1:], windows.targets)}")
        if windows.resident.rows.dtype != np.float64:
            raise TypeError(f"rows of {windows.resident.rows.dtype} where float64 is expected")
        if not 0 < count <= self.steps_per_call:
            raise ValueError(f"{count} steps in a call, 1 to {self.steps_per_call} are taken")
        if windows.resident not in self._gathers:
            self._gathers[windows.resident] = Gather(
                *(self._device, self._step.forward, windows.resident, self._call, self.steps_per_call)
            )
        gather = self._gathers[windows.resident]
        rates = np.broadcast_to(np.asarray(learning_rate, np.float32), count)
        order = (self._order_keys.on_device(windows.keys).pointer, windows.position, windows.length)
        return self._launch(0, gather.targets.pointer, rates, None, within, gather, order)

    def _launch(
        self,
        inputs: int,
        targets: int,
        rates: np.ndarray,
        kept: Any,
        within: AveragesWithin | None,
        gather: Gather | None = None,
        order: tuple[int, int, int] = (0, 0, 0),
    ) -> DeviceLoss:
        """Queue a step for each of ``rates``.

        Args:
            inputs, targets: addresses of what is there.
            kept: what the steps read, and nobody else keeps.
            within: the averages to take between them.
            gather, order: what cuts the windows, and which.
        """
        count, first = len(rates), self._step_count
        constants = [
            self._optimizer.kernel_constants(float(rate), first + 1 + number)
            for number, rate in enumerate(rates)
        ]
        call = call_bytes(inputs, targets, self._dropout_key, first, constants, order)
        self._device.upload_async(self._call.pointer, call)
        self._graph(count, gather, within).launch()
        self._step_count += count
        return self._losses.of(self._step, count, kept)

    def _graph(self, count: int, gather: Gather | None, within: AveragesWithin | None) -> Recorded:
        """A call of ``count`` steps, recorded when it is first wanted."""
        if within is None:
            graphs: dict[Any, Recorded] = self._graphs if gather is None else gather.graphs
            key: Any = count
        else:
            graphs, key = within.calls, (self, gather, count)
            self._step.room_for_average()  # not while it is recorded
        if key not in graphs:
            graphs[key] = Graph(
                self._device, lambda: self._step.launch_all(count, gather, within), self._step.early
            )
        return graphs[key]


class DeviceLoss:
    """The mean loss of a call of steps, and the time that its averages took, on their way from the GPU."""

    def __init__(self, ready: Any, slot: np.ndarray, device: Device) -> None:
        self._ready, self._slot, self._device = ready, slot, device
        self._values: tuple[float, int] | None = None

    def __float__(self) -> float:
        return self._wait()[0]

    def wait(self) -> int:
        """Wait for the call; nanoseconds that its averages took on this GPU."""
        return self._wait()[1]

    def _wait(self) -> tuple[float, int]:
        if self._values is None:
            self._device.wait(self._ready)
            self._values = float(self._slot[0]), int(self._slot[1])
        return self._values


class _MeanLoss:
    """The mean of the losses of several calls of different numbers of steps."""

    def __init__(self, losses: list[DeviceLoss], steps: list[int]) -> None:
        self._losses, self._steps = losses, steps

    def __float__(self) -> float:
        return float(np.average([float(loss) for loss in self._losses], weights=self._steps))

    def wait(self) -> int:
        """Wait for the calls; 0, since there are no averages between them."""
        return max(loss.wait() for loss in self._losses)


class _LossSlots:
    """Pinned memory that losses are copied to without stopping the GPU; used in turn."""

    def __init__(self, device: Device) -> None:
        self._device, self._turn = device, 0
        self._on_device = device.zeros((LOSSES * LOSS_NUMBERS,), np.float32)
        _, self._host = device.empty_pinned((LOSSES, LOSS_NUMBERS), np.float32, "the losses")
        self._owners: list[weakref.ref[DeviceLoss] | None] = [None] * LOSSES
        self._kept: list[Any] = [None] * LOSSES
        self._events = [device.event() for _ in range(LOSSES)]

    def of(self, step: TrainingStep, count: int, kept: Any) -> DeviceLoss:
        """The mean loss of the last call's ``count`` steps, which read what is ``kept``."""
        turn, self._turn = self._turn, (self._turn + 1) % LOSSES
        owner = self._owners[turn]
        if owner is not None and (waiting := owner()) is not None:
            float(waiting)
        elif self._kept[turn] is not None:
            self._device.wait(self._events[turn])
        self._kept[turn] = kept  # also where nobody asks for the loss
        place = self._on_device.part(turn * LOSS_NUMBERS, LOSS_NUMBERS)
        step.launch_mean_loss(count, place)
        slot = self._host[turn]
        self._device.download_async(slot, place.pointer)
        self._device.record(self._events[turn])
        loss = DeviceLoss(self._events[turn], slot, self._device)
        self._owners[turn] = weakref.ref(loss)
        return loss


class _HostCopy:
    """Memory on the GPU for arrays that come from the host.

    Args:
        purpose: what they are, for an error message.
    """

    def __init__(self, device: Device, dtype: Any, purpose: str) -> None:
        self._device, self._dtype, self._purpose = device, dtype, purpose
        self._memory = device.empty((0,), dtype)

    def on_device(self, array: Any) -> DeviceArray:
        """An array in GPU memory: as it is if it lies there, else a copy, ordered behind earlier steps."""
        if (there := array_on_gpu(self._device, array)) is not None:
            return there
        host = np.ascontiguousarray(array, self._dtype)
        if self._memory.size < host.size:
            self._device.synchronize()  # earlier steps may still read it
            self._memory = self._device.empty((host.size,), self._dtype, self._purpose)
        self._device.upload_async(self._memory.pointer, host)
        return self._memory


def _shape(config: RunConfig) -> Shape:
    return Shape(
        layers=config.model.layers,
        units=config.model.units,
        features=len(config.data.features),
        rows=config.data.window,
        dropout=config.model.dropout,
        batch=config.train.batch_size,
        head=Head.of(config),
    )
