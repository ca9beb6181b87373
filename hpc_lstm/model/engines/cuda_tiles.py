"""The passes by kernels that multiply whole tiles of 64 windows by wgmma, for large batches.

for each layer, upwards:
    h, cells             = lstm_tile_forward(x, W, U, b)
for each layer, downwards:
    dz, dx               = lstm_tile_backward(x, h, cells, dh, W, U, b)
    dU, dW, db           = lstm_tile_gradients(dz, h before, x)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hpc_lstm.cuda.device import Device, DeviceArray
from hpc_lstm.model.engines.cuda_passes import ForwardPass
from hpc_lstm.model.engines.cuda_plan import TILE, TILE_THREADS, Plan, tile_shared
from hpc_lstm.model.engines.cuda_weights import Shape, Weights


@dataclass(frozen=True)
class TileTrace:
    """What a layer computes for one batch, in tiles.

    Attributes:
        h: outputs, after a row of zeros.
        cells: cell states, after a row of zeros.
        dropped: outputs after dropout; None where nothing is dropped, or it is done by the head.
    """

    h: DeviceArray
    cells: DeviceArray
    dropped: DeviceArray | None


class TileForward(ForwardPass):
    """The forward pass by kernels/lstm_tile_forward.cu.

    Attributes:
        traces: what the layers compute, from the lowest one up.
    """

    def __init__(self, device: Device, plan: Plan, shape: Shape, weights: Weights, *, training: bool) -> None:
        super().__init__(device, plan, shape, weights, training=training)
        self.traces: list[TileTrace] = []
        self._kernels = []
        row = plan.windows * plan.units
        for layer in range(shape.layers):
            drops = self.drops and layer + 1 < shape.layers
            shared = tile_shared(plan.units, plan.tiles, narrow=layer == 0, drops=drops).forward
            module = device.load(*self.sources.forward(layer, training=training))
            self._kernels.append((module.get_function("lstm_tile_forward", shared), shared))
            what = f"layer {layer + 1}'s values of a batch"
            self.traces.append(
                TileTrace(
                    h=device.zeros(((shape.rows + 1) * row,), np.uint16),
                    cells=device.zeros(((shape.rows + 1) * row,), np.uint16),
                    dropped=device.empty((shape.rows * row,), np.uint16, what) if drops else None,
                )
            )

    def run_layer(self, layer: int, masks: list[DeviceArray] | None) -> None:
        plan, trace, own = self.plan, self.traces[layer], self.weights.layers[layer]
        kernel, shared = self._kernels[layer]
        self.device.launch_grid(
            kernel,
            (plan.windows // (TILE * plan.tiles) * plan.forward.split,),
            TILE_THREADS,
            shared,
            *(own.u, own.w, own.bias, self.input_of(layer), trace.h, trace.cells, trace.dropped),
            masks[layer] if masks and trace.dropped else None,
            *(self.keep, np.int32(self.shape.rows), np.int32(plan.windows)),
        )

    @property
    def outputs(self) -> DeviceArray:
        return self.traces[-1].h

    def input_of(self, layer: int) -> DeviceArray:
        """A layer's input."""
        if layer == 0:
            return self.x
        below, row = self.traces[layer - 1], self.plan.windows * self.plan.units
        return below.h.part(row, below.h.size - row) if below.dropped is None else below.dropped


class TileBackward:
    """The backward pass by kernels/lstm_tile_backward.cu and lstm_tile_gradients.cu; see ``BackwardPass``."""

    def __init__(self, forward: TileForward) -> None:
        self._forward = forward
        device, plan, shape = forward.device, forward.plan, forward.shape
        units, split, values = plan.units, plan.forward.split, forward.length * plan.units
        self._kernels, self._gradients = [], []
        for layer in range(shape.layers):
            drops = forward.drops and layer + 1 < shape.layers
            shared = tile_shared(units, plan.tiles, narrow=layer == 0, drops=drops)
            chain = device.load(*forward.sources.backward(layer))
            self._kernels.append((chain.get_function("lstm_tile_backward", shared.backward), shared.backward))
            sums = device.load(*forward.sources.gradients(layer))
            self._gradients.append(
                (sums.get_function("lstm_tile_gradients", shared.gradients), shared.gradients)
            )
        self._dz = device.empty((4 * values,), np.uint16, "gradients of a layer's gates")
        # Of the layer above and the layer below.
        self._outputs = [
            device.empty((split * values,), np.uint16, "gradients of a layer's outputs")
            for _ in range(min(2, shape.layers - 1))
        ]
        parts = [self._parts(layer) for layer in range(shape.layers)]
        self.bias_parts = [device.empty((count, 4 * units), np.float32) for count in parts]
        self.matrix_parts = {
            (layer, name): device.empty((parts[layer], 4 * units, width), np.float32, "gradients")
            for layer in range(shape.layers)
            for name, width in (("w", plan.input_width(layer)), ("u", units))
        }

    def run(self, last: DeviceArray, masks: list[DeviceArray], beside: Callable[[int, int], None]) -> None:
        forward, plan = self._forward, self._forward.plan
        device, top = forward.device, forward.shape.layers - 1
        rows, windows = np.int32(forward.shape.rows), np.int32(plan.windows)
        for layer in reversed(range(top + 1)):
            own, trace, x = forward.weights.layers[layer], forward.traces[layer], forward.input_of(layer)
            kernel, shared = self._kernels[layer]
            device.launch_grid(
                kernel,
                (plan.windows // (TILE * plan.tiles) * plan.forward.split,),
                TILE_THREADS,
                shared,
                *(own.u, own.w, own.bias, x, trace.h, trace.cells),
                None if layer == top else self._outputs[layer % 2],
                *(last, masks[layer] if masks and layer < top else None, forward.keep),
                *(self._dz, self._outputs[(layer - 1) % 2] if layer else None, rows, windows),
            )
            kernel, shared = self._gradients[layer]
            beside(top - layer, top + 1)
            device.launch_grid(
                kernel,
                (len(self.bias_parts[layer]), plan.forward.split, 2 if self._apart(layer) else 1),
                TILE_THREADS,
                shared,
                *(self._dz, trace.h, x, self.matrix_parts[layer, "u"], self.matrix_parts[layer, "w"]),
                *(self.bias_parts[layer], rows, windows),
            )

    def _apart(self, layer: int) -> bool:
        """Whether h before and x are multiplied by blocks of their own."""
        return layer > 0 and self._forward.plan.units == 2 * TILE

    def _parts(self, layer: int) -> int:
        """Parts that the windows of all rows are cut into for a layer's gradients."""
        blocks = self._forward.plan.forward.split * (2 if self._apart(layer) else 1)
        return max(1, min(self._forward.device.multiprocessors // blocks, self._forward.length // TILE))
