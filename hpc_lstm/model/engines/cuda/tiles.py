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
from typing import Any

import numpy as np

from hpc_lstm.cuda.device import Device
from hpc_lstm.cuda.device_array import DeviceArray
from hpc_lstm.model.engines.cuda.passes import ForwardPass
from hpc_lstm.model.engines.cuda.plan import Plan
from hpc_lstm.model.engines.cuda.tile_plan import TILE, TILE_THREADS, gradients_shared, tile_shared
from hpc_lstm.model.engines.cuda.weights import Shape, Weights


@dataclass(frozen=True)
class TileTrace:
    """What a layer computes for one batch, in tiles.

    Attributes:
        h: outputs, after a row of zeros, in the parts of the plan.
        cells: cell states, after a row of zeros, in bfloat16 or float32.
        dropped: outputs after dropout, in parts as far apart as those of ``h``; None where nothing is dropped, or it is
            done by the head.
    """

    h: DeviceArray
    cells: DeviceArray
    dropped: DeviceArray | None


def cell_type(plan: Plan) -> type[np.generic]:
    """Of cells, and of gradients of outputs: float32, or for bfloat16, 16 bits."""
    return np.uint16 if plan.parts == 1 else np.float32


class TileForward(ForwardPass):
    """The forward pass by kernels/lstm_tile_forward.cu.

    Attributes:
        traces: what the layers compute, from the lowest one up.
    """

    def __init__(self, device: Device, plan: Plan, shape: Shape, weights: Weights, *, training: bool) -> None:
        super().__init__(device, plan, shape, weights, training=training)
        self.traces: list[TileTrace] = []
        self._kernels = self._load_kernels(training)
        numbers = (shape.rows + 1) * plan.windows * plan.units
        for layer in range(shape.layers):
            drops = self.drops and layer + 1 < shape.layers
            what = f"layer {layer + 1}'s values of a batch"
            self.traces.append(
                TileTrace(
                    h=device.zeros((plan.parts * numbers,), np.uint16),
                    cells=device.zeros((numbers,), cell_type(plan)),
                    dropped=device.empty((plan.parts * numbers,), np.uint16, what) if drops else None,
                )
            )

    def run_layers(self, masks: list[DeviceArray] | None) -> None:
        plan = self.plan
        for layer, (kernel, shared) in enumerate(self._kernels):
            trace, own = self.traces[layer], self.weights.layers[layer]
            self.device.launch_grid(
                kernel,
                (plan.windows // plan.forward.windows * plan.forward.split,),
                TILE_THREADS,
                shared,
                *(own.u, own.w, own.bias, self.input_of(layer), trace.h, trace.cells, trace.dropped),
                masks[layer] if masks and trace.dropped else None,
                *(self.keep, np.int32(self.shape.rows), np.int32(plan.windows)),
            )

    def _load_kernels(self, training: bool) -> list[tuple[Any, int]]:
        """The kernels of the layers, or one for all, and the bytes of their shared memory."""
        found = []
        for layer in range(self.shape.layers):
            drops = self.drops and layer + 1 < self.shape.layers
            shared = tile_shared(self.plan.units, self.plan.tiles, narrow=layer == 0, drops=drops).forward
            module = self.device.load(*self.sources.forward(layer, training=training))
            found.append((module.get_function("lstm_tile_forward", shared), shared))
        return found

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

    def __init__(self, forward: TileForward, parts_above: int = 0, together: int = 1) -> None:
        """Args:
        forward: whose batch it goes back through.
        parts_above: parts that the gradient of a layer's outputs is the sum of; 0: one by each block of a cluster.
        together: layers of one launch.
        """
        self._forward, self._together = forward, together
        device, plan, shape = forward.device, forward.plan, forward.shape
        units, values = plan.units, forward.length * plan.units
        self._kernels = self._load_kernels()
        self._gradients = []
        for layer in range(shape.layers):
            shared = gradients_shared(units, narrow=layer == 0)
            sums = device.load(*forward.sources.gradients(layer))
            self._gradients.append((sums.get_function("lstm_tile_gradients", shared), shared))
        self._dz = [
            device.empty((plan.parts * 4 * values,), np.uint16, "gradients of a layer's gates")
            for _ in range(together)
        ]
        # Of the layer above those of a launch, and of theirs.
        self._outputs = [
            device.empty(
                ((parts_above or plan.forward.split) * values,),
                cell_type(plan),
                "gradients of a layer's outputs",
            )
            for _ in range(min(together + 1, shape.layers - 1))
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
        top = forward.shape.layers - 1
        for layer in reversed(range(top + 1)):
            if (top - layer) % self._together == 0:
                self._run_layers(layer, min(self._together, layer + 1), last, masks)
            kernel, shared = self._gradients[layer]
            beside(top - layer, top + 1)
            forward.device.launch_grid(
                kernel,
                (len(self.bias_parts[layer]), plan.units // TILE, self._pairs(layer)),
                TILE_THREADS,
                shared,
                *(self._dz[layer % self._together], forward.traces[layer].h, forward.input_of(layer)),
                *(self.matrix_parts[layer, "u"], self.matrix_parts[layer, "w"], self.bias_parts[layer]),
                *(np.int32(forward.shape.rows), np.int32(plan.windows)),
            )

    def _load_kernels(self) -> list[tuple[Any, int]]:
        """The kernels of the layers, or one for all, and the bytes of their shared memory."""
        forward = self._forward
        plan, layers = forward.plan, forward.shape.layers
        found = []
        for layer in range(layers):
            drops = forward.drops and layer + 1 < layers
            shared = tile_shared(plan.units, plan.tiles, narrow=layer == 0, drops=drops).backward
            module = forward.device.load(*forward.sources.backward(layer))
            found.append((module.get_function("lstm_tile_backward", shared), shared))
        return found

    def _run_layers(self, layer: int, count: int, last: DeviceArray, masks: list[DeviceArray]) -> None:
        """Launch the gradients of the gates and of the inputs of ``count`` layers from ``layer`` down; here, of one."""
        forward, plan = self._forward, self._forward.plan
        top = forward.shape.layers - 1
        own, trace, x = forward.weights.layers[layer], forward.traces[layer], forward.input_of(layer)
        kernel, shared = self._kernels[layer]
        forward.device.launch_grid(
            kernel,
            (plan.windows // plan.backward.windows * plan.backward.split,),
            TILE_THREADS,
            shared,
            *(own.u, own.w, own.bias, x, trace.h, trace.cells, self._outputs_of(layer)),
            *(last, masks[layer] if masks and layer < top else None, forward.keep),
            *(self._dz[0], self._outputs_of(layer - 1)),
            *(np.int32(forward.shape.rows), np.int32(plan.windows)),
        )

    def _outputs_of(self, layer: int) -> DeviceArray | None:
        """Where the gradient of a layer's outputs is; None: of the last layer, and of the windows."""
        inside = 0 <= layer < self._forward.shape.layers - 1
        return self._outputs[layer % len(self._outputs)] if inside else None

    def _pairs(self, layer: int) -> int:
        """Pairs of tiles of 64 columns of h before and x."""
        plan = self._forward.plan
        return -(-(plan.units + (plan.units if layer else 0)) // (2 * TILE))

    def _parts(self, layer: int) -> int:
        """Parts that the windows of all rows are cut into for a layer's gradients."""
        blocks = self._forward.plan.units // TILE * self._pairs(layer)
        return max(1, min(self._forward.device.multiprocessors // blocks, self._forward.length // TILE))
