"""The engine on Keras and TensorFlow: trains the network on CPUs or a GPU."""

from __future__ import annotations

import os
from os import PathLike
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from hpc_lstm.config import RunConfig
from hpc_lstm.model import network
from hpc_lstm.model.engine import LossValue
from hpc_lstm.model.engines.calls import steps_per_call
from hpc_lstm.model.engines.device_vector import DeviceVector
from hpc_lstm.model.engines.head import Head
from hpc_lstm.model.engines.keras_forward import Forward
from hpc_lstm.model.engines.keras_optimizer import VariableOptimizer
from hpc_lstm.model.engines.keras_vector import KerasVector
from hpc_lstm.model.engines.tensorflow_runtime import keras_installed, start_tensorflow, threads_in_force
from hpc_lstm.model.initial_weights import initial_weights
from hpc_lstm.model.keras_file import write_keras_file
from hpc_lstm.model.optimizers.registry import create_optimizer
from hpc_lstm.model.parameters import network_schema

# Windows forecast together.
PREDICT_BATCH, PREDICT_BATCH_GPU = 256, 1024


class KerasEngine:
    """Trains a Keras model; see ``engine.Engine`` for its arguments and methods.

    The weights are one flat variable, and one compiled function takes any number of steps on it without returning to
    the interpreter.

    TensorFlow is configured by the first engine of a process; see ``start_tensorflow``.

    Results are bit-identical for the same number of threads: another number splits the batch into other parts, whose
    gradients are then added in another order.
    """

    name: ClassVar[str] = "keras"
    arithmetic: ClassVar[str] = "keras"
    reads_device_batches: ClassVar[bool] = True
    cuts_windows: ClassVar[bool] = False
    asynchronous: ClassVar[bool] = False
    averages_within_calls: ClassVar[bool] = False

    def __init__(self, config: RunConfig, *, rank: int = 0, threads: int = 0) -> None:
        tf = start_tensorflow(threads or len(os.sched_getaffinity(0)), config.train.deterministic)
        train, window, features = config.train, config.data.window, len(config.data.features)
        self._tf, self._clip_norm, self._config = tf, train.clip_norm, config
        self._head = Head.of(config)
        self._model = network.build_network(
            config.model, window, features, train.seed, train.precision, self._head.outputs
        )
        self.schema = network_schema(config.model, features, self._head.outputs)
        self._flat = tf.Variable(initial_weights(self.schema, train.seed))
        self._step_count = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._forward = Forward(tf, self._model, self.schema, threads_in_force(tf))
        optimizer = create_optimizer(train.optimizer, train.model_dump())
        self._optimizer = VariableOptimizer(tf, optimizer, self.schema.length)
        self._dropout_seed = (train.seed << 32) + rank
        self.steps_per_call = steps_per_call(train.batch_size, window, features)
        self._steps = tf.function(
            self._take_steps,
            input_signature=[
                tf.TensorSpec([None, train.batch_size, window, features], tf.float32),
                tf.TensorSpec([None, train.batch_size, self._head.targets], tf.float32),
                tf.TensorSpec([None], tf.float32),
            ],
            autograph=False,
        )
        self._forecast = _forecast_function(tf, self._forward, self._flat, window, features)

    @staticmethod
    def problem(config: RunConfig, *, threads: int, auto: bool) -> str:
        return (
            ""
            if keras_installed()
            else 'Keras and TensorFlow are not installed; pip install "hpc-lstm[keras]"'
        )

    def step(self, inputs: Any, targets: Any, learning_rate: ArrayLike) -> LossValue:
        rates = np.broadcast_to(np.asarray(learning_rate, np.float32), inputs.shape[0])
        return self._steps(tensor(self._tf, inputs), tensor(self._tf, targets), rates)

    def parameters(self) -> np.ndarray:
        return self._flat.numpy()

    def set_parameters(self, flat: np.ndarray) -> None:
        # A copy: TensorFlow may otherwise keep, and later write into, the caller's memory.
        self._flat.assign(np.array(flat, np.float32))

    def moments(self) -> np.ndarray:
        return self._optimizer.moments()

    def set_moments(self, flat: np.ndarray) -> None:
        self._optimizer.set_moments(np.array(flat, np.float32))

    def device_vectors(self, *, moments: bool) -> list[DeviceVector]:
        if not self._tf.config.list_physical_devices("GPU"):
            return []
        return [KerasVector(one) for one in (self._flat, *(self._optimizer.slots if moments else ()))]

    def state(self) -> dict[str, np.ndarray]:
        # Dropout masks depend on seed, rank and the number of steps alone.
        return {"steps": np.asarray(self._step_count.numpy())}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        self._step_count.assign(int(state["steps"]))

    def predict(self, inputs: Any) -> Any:
        return _forecast_all(self._tf, self._forecast, inputs, self._head.outputs)

    def save(self, path: str | PathLike[str]) -> None:
        arrays = self.schema.unflatten(self.parameters())
        write_keras_file(
            path, self._config.model, self._config.data.window, len(self._config.data.features), arrays
        )

    def _take_steps(self, inputs: Any, targets: Any, rates: Any) -> Any:
        tf = self._tf
        count = tf.shape(inputs)[0]

        def one(number: Any, loss_sum: Any) -> tuple[Any, Any]:
            loss = self._take_step(inputs[number], targets[number], rates[number])
            return number + 1, loss_sum + loss

        _, loss_sum = tf.while_loop(
            lambda number, _: number < count, one, (tf.constant(0), tf.constant(0.0)), parallel_iterations=1
        )
        return loss_sum / tf.cast(count, tf.float32)

    def _take_step(self, inputs: Any, targets: Any, rate: Any) -> Any:
        tf = self._tf
        count = self._step_count.read_value()
        flat = self._flat.read_value()
        seed = tf.stack([tf.constant(self._dropout_seed, tf.int64), count])
        loss, gradient = self._forward.loss(flat, inputs, targets, seed, self._head.loss)
        if self._clip_norm > 0:
            norm = tf.norm(gradient)
            gradient *= self._clip_norm / tf.maximum(norm, self._clip_norm)
        self._optimizer.apply(self._flat, gradient, rate, count + 1)
        self._step_count.assign(count + 1)
        return loss


def tensor(tf: Any, array: Any) -> Any:
    """An argument for TensorFlow: a NumPy array as it is, an array in GPU memory without a copy."""
    if isinstance(array, np.ndarray):
        return array
    if tf.config.list_physical_devices("GPU"):
        return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    return np.asarray(array)  # a TensorFlow without CUDA


def _forecast_function(tf: Any, forward: Forward, flat: Any, window: int, features: int) -> Any:
    """A compiled function: windows [batch, T, F] to outputs [batch, O], of one batch size."""
    size = PREDICT_BATCH_GPU if tf.config.list_physical_devices("GPU") else PREDICT_BATCH
    signature = [tf.TensorSpec([size, window, features], tf.float32)]
    return tf.function(
        lambda inputs: forward(flat.read_value(), inputs), input_signature=signature, autograph=False
    )


def _forecast_all(tf: Any, forecast: Any, inputs: Any, outputs: int) -> Any:
    """Outputs [n, O] in batches of one shape, the last one padded, so that nothing is compiled twice.

    They are a NumPy array if the inputs are, else a tensor on the GPU.
    """
    count, size = inputs.shape[0], forecast.input_signature[0].shape[0]
    if not count:
        return np.empty((0, outputs), np.float32)
    missing = -count % size
    filled = tf.pad(tensor(tf, inputs), [[0, missing], [0, 0], [0, 0]])
    found = tf.concat([forecast(batch) for batch in tf.split(filled, len(filled) // size)], 0)[:count]
    return found.numpy() if isinstance(inputs, np.ndarray) else found
