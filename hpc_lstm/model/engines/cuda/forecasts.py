"""Forecasts on a GPU: the forward pass over windows of any number, by a network in training or a trained one."""

from __future__ import annotations

from typing import Any

import numpy as np

from hpc_lstm.cuda.device import Device
from hpc_lstm.cuda.device_array import array_on_gpu
from hpc_lstm.errors import CudaError
from hpc_lstm.model.engines.cuda.choice import plan_to_forecast
from hpc_lstm.model.engines.cuda.network import forward_pass
from hpc_lstm.model.engines.cuda.packing import Packing
from hpc_lstm.model.engines.cuda.plan import Plan, with_windows
from hpc_lstm.model.engines.cuda.sources import Sources
from hpc_lstm.model.engines.cuda.weights import Shape, Weights
from hpc_lstm.model.engines.head import Head
from hpc_lstm.model.keras_file import SavedNetwork
from hpc_lstm.model.parameters import network_schema

# Most windows of a trained network that are forecast together: as many as evaluation asks for at a time.
MOST_WINDOWS = 1024
# Most memory for the values of windows that are forecast together, and which part of what is free.
FORECAST_BYTES, FORECAST_SHARE = 2**30, 16


class BatchForecaster:
    """Forecasts in batches of one size, the largest that fills the GPU once.

    Args:
        most: windows of a call; 0: any number.
    """

    def __init__(self, device: Device, plan: Plan, shape: Shape, weights: Weights, most: int = 0) -> None:
        blocks = plan.at_once(device.resident_clusters)
        if most:
            blocks = min(blocks, -(-most // plan.forward.windows))
        row_bytes = 2 * plan.parts * shape.rows * (plan.units * 7 * shape.layers + plan.width)
        room = min(FORECAST_BYTES, device.free_bytes() // FORECAST_SHARE)
        fitting = max(1, room // (row_bytes * plan.forward.windows))
        windows = plan.forward.windows * min(blocks, fitting)
        self._device, self._rows = device, (shape.rows, shape.features)
        self._outputs = shape.head.outputs
        self._batch = windows
        self._forward = forward_pass(device, with_windows(plan, windows), shape, weights, training=False)
        self._inputs = device.empty((0,), np.float32)

    def predict(self, inputs: Any) -> Any:
        """Outputs, float32 [n, O], of windows float32 [n, T, F], on the same device."""
        if tuple(inputs.shape[1:]) != self._rows:
            raise ValueError(f"windows of {self._rows} rows and features expected, got {tuple(inputs.shape)}")
        count, size, device = int(inputs.shape[0]), int(np.prod(self._rows)), self._device
        out = device.empty((count, self._outputs), np.float32)
        there = array_on_gpu(device, inputs)
        host = np.ascontiguousarray(inputs, np.float32).reshape(-1) if there is None else None
        if host is not None and self._inputs.size < self._batch * size:
            self._inputs = device.empty((self._batch * size,), np.float32, "windows to forecast")
        for first in range(0, count, self._batch):
            batch = min(self._batch, count - first)
            if host is not None:
                device.upload_async(self._inputs.pointer, host[first * size : (first + batch) * size])
            windows = self._inputs if there is None else there.part(first * size, batch * size)
            self._forward.forecast(windows, np.uint64(out.pointer + 4 * first * self._outputs), batch)
        # Whoever reads the forecasts, or overwrites the windows, does so on a stream of their own.
        device.synchronize()
        return out if there is not None else out.numpy()


class CudaForecaster:
    """A trained network on this process's GPU, in float32; see ``engine.Forecaster``.

    Args:
        network: as a file holds it.

    Raises:
        CudaError: there is no GPU that can be used, too little of its memory is free, or its kernels do not take this
            network.
    """

    def __init__(self, network: SavedNetwork) -> None:
        self.window, self.features, self.outputs = network.window, network.features, network.outputs
        self._flat, model, device = network.flat, network.config, Device()
        plan = plan_to_forecast(model, self.features, MOST_WINDOWS, device)
        if isinstance(plan, str):
            raise CudaError(f"the fused engine {plan}")
        shape = Shape(
            layers=model.layers,
            units=model.units,
            features=self.features,
            rows=self.window,
            dropout=0.0,
            batch=plan.windows,
            head=Head.to_forecast(self.outputs),
        )
        device.compile(Sources(plan, shape.layers, dropout=False, head_of_network=shape.head).to_forecast())
        schema = network_schema(model, self.features, self.outputs)
        self.shapes, self.location = schema.shapes, device.name
        weights = Weights(device, plan, shape, schema)
        weights.flat.set(network.flat)
        Packing(device, plan, shape, schema, weights).pack()
        self._forecaster = BatchForecaster(device, plan, shape, weights, MOST_WINDOWS)

    def parameters(self) -> np.ndarray:
        """The weights, float32 [P]."""
        return self._flat.copy()

    def predict(self, inputs: Any) -> Any:
        """Outputs, float32 [n, O], of windows float32 [n, T, F], on the same device."""
        return self._forecaster.predict(inputs)
