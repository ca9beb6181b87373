"""The passes for layers of 129 to 512 units and large batches, whose weights pass through shared memory.

for each layer, upwards:
    h, cells, gates      = lstm_wide_forward(x, W, U, b)
for each layer, downwards:
    dz, dx               = lstm_wide_backward(cells, gates, dh, W, U)
    dU, dW, db           = lstm_tile_gradients(dz, h before, x)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hpc_lstm.cuda.device import Device, DeviceArray
from hpc_lstm.model.engines.cuda_plan import TILE, WIDE_THREADS, Plan, wide_shared
from hpc_lstm.model.engines.cuda_tiles import TileBackward, TileForward
from hpc_lstm.model.engines.cuda_weights import Shape, Weights


class WideForward(TileForward):
    """The forward pass by kernels/lstm_wide_forward.cu.

    Attributes:
        gates: what the gates of each layer are of, kept for the backward pass; empty where there is none.
    """

    def __init__(self, device: Device, plan: Plan, shape: Shape, weights: Weights, *, training: bool) -> None:
        super().__init__(device, plan, shape, weights, training=training)
        self.gates: list[DeviceArray] = []
        if training:
            size = 4 * self.length * plan.units
            self.gates = [
                device.empty((size,), np.uint16, "the gates of a batch") for _ in range(shape.layers)
            ]

    def run_layer(self, layer: int, masks: list[DeviceArray] | None) -> None:
        plan, trace, own = self.plan, self.traces[layer], self.weights.layers[layer]
        kernel, shared = self.kernels[layer]
        self.device.launch_grid(
            kernel,
            (plan.windows // (TILE * plan.tiles) * plan.forward.split,),
            WIDE_THREADS,
            shared,
            *(own.u, own.w, own.bias, self.input_of(layer), trace.h, trace.cells),
            *(self.gates[layer] if self.gates else None, trace.dropped),
            masks[layer] if masks and trace.dropped else None,
            *(self.keep, np.int32(self.shape.rows), np.int32(plan.windows)),
        )

    def _load_kernel(self, layer: int, *, training: bool, drops: bool) -> tuple[Any, int]:
        shared = wide_shared(self.plan.tiles, narrow=layer == 0, drops=drops).forward
        module = self.device.load(*self.sources.forward(layer, training=training))
        return module.get_function("lstm_wide_forward", shared), shared


class WideBackward(TileBackward):
    """The backward pass by kernels/lstm_wide_backward.cu and lstm_tile_gradients.cu; see ``BackwardPass``."""

    parts_above = 1

    def __init__(self, forward: WideForward) -> None:
        super().__init__(forward)
        self._gates = forward.gates

    def _load_kernel(self, layer: int) -> tuple[Any, int]:
        forward = self._forward
        shared = wide_shared(forward.plan.tiles, narrow=layer == 0, drops=False).backward
        module = forward.device.load(*forward.sources.backward(layer))
        return module.get_function("lstm_wide_backward", shared), shared

    def _run_layer(self, layer: int, last: DeviceArray, masks: list[DeviceArray]) -> None:
        forward, plan = self._forward, self._forward.plan
        top = forward.shape.layers - 1
        own, trace = forward.weights.layers[layer], forward.traces[layer]
        kernel, shared = self._kernels[layer]
        forward.device.launch_grid(
            kernel,
            (plan.windows // (TILE * plan.tiles) * plan.forward.split,),
            WIDE_THREADS,
            shared,
            *(own.u, own.w, trace.cells, self._gates[layer]),
            None if layer == top else self._outputs[layer % 2],
            *(last, masks[layer] if masks and layer < top else None, forward.keep),
            *(self._dz, self._outputs[(layer - 1) % 2] if layer else None),
            *(np.int32(forward.shape.rows), np.int32(plan.windows)),
        )
