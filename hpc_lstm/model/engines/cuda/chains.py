"""The passes by kernels that keep the recurrent weights in registers, for every size of network and batch.

for each layer, upwards:
    x W                  = multiply_rows(x, W)                       unless folded into the next
    gates, h, cells      = lstm_forward(x W, U, b)
for each layer, downwards:
    dz, db               = lstm_backward(gates, cells, dh, U)
    dU, dW               = multiply_columns(dz, [h before, x])       beside the layer below
    dh of the layer below = multiply_rows(dz, W)

Where there is room for the blocks of all layers, they run in one launch, and multiply W themselves:

    gates, h, cells of all layers = lstm_forward(x, W, U, b)
    dz, db of all layers          = lstm_backward(gates, cells, dh, U, W)
    dU, dW of each layer          = multiply_columns(dz, [h before, x])

Where the blocks that share a layer's units are no cluster, lstm_exchange_forward and lstm_exchange_backward take the
place of lstm_forward and lstm_backward of one layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpc_lstm.cuda.device import Device
from hpc_lstm.cuda.device_array import DeviceArray
from hpc_lstm.cuda.modules import Source
from hpc_lstm.model.engines.cuda.chain_plan import PORTABLE_CLUSTER, ChainShape
from hpc_lstm.model.engines.cuda.counters import Counters
from hpc_lstm.model.engines.cuda.passes import ForwardPass, masks_of, pointer_table, row_of
from hpc_lstm.model.engines.cuda.plan import Plan
from hpc_lstm.model.engines.cuda.products import Matrix, products
from hpc_lstm.model.engines.cuda.weights import Shape, Weights


@dataclass(frozen=True)
class LayerTrace:
    """What a layer computes for one batch.

    Attributes:
        gates: x W, then activated gates, then their gradients.
        h: outputs, after a row of zeros.
        cells: cell states.
        dropped: outputs after dropout; None where nothing is dropped, or it is done by the head.
    """

    gates: DeviceArray
    h: DeviceArray
    cells: DeviceArray
    dropped: DeviceArray | None


class ChainForward(ForwardPass):
    """The forward pass by kernels/lstm_forward.cu, or lstm_exchange_forward.cu where blocks are no cluster.

    Attributes:
        traces: what the layers compute, from the lowest one up.
        products: over all rows at once.
    """

    def __init__(self, device: Device, plan: Plan, shape: Shape, weights: Weights, *, training: bool) -> None:
        super().__init__(device, plan, shape, weights, training=training)
        # The gradients of two layers at a time, on two streams: ``ChainBackward.run``.
        self.products = products(device, plan, self.sources, min(2, plan.backward.layers))
        self._chains = [
            _chain(device, self.sources.forward(layer, training=training), plan.forward)
            for layer in range(0, shape.layers, plan.forward.layers)
        ]
        groups = plan.windows // plan.forward.windows
        self._counters = Counters(device, [groups] * shape.layers if plan.forward.through_memory else [])
        length, units = shape.rows * plan.windows, plan.units
        cell_type = np.uint16 if plan.parts == 1 else np.float32
        self.traces = []
        for layer in range(shape.layers):
            drops = self.drops and layer + 1 < shape.layers
            what = f"layer {layer + 1}'s values of a batch"
            self.traces.append(
                LayerTrace(
                    gates=device.empty((plan.parts * length * 4 * units,), np.uint16, what),
                    h=device.zeros((plan.parts * (length + plan.windows) * units,), np.uint16),
                    cells=device.zeros(((length + plan.windows) * units,), cell_type),
                    dropped=device.empty((plan.parts * length * units,), np.uint16, what) if drops else None,
                )
            )

        self._table = pointer_table(
            device,
            [
                (own.u, own.w, own.bias, self.x, trace.gates, trace.h, trace.cells, trace.dropped)
                for own, trace in zip(weights.layers, self.traces, strict=True)
            ],
        )

    def run_layers(self, masks: list[DeviceArray] | None) -> None:
        plan = self.plan
        self._counters.clear()
        for number, chain in enumerate(self._chains):
            layer = number * plan.forward.layers
            if layer > 0 or not plan.folded:
                own = self.weights.layers[layer]
                gates = self.traces[layer].gates
                self.products.multiply_rows(
                    self.input_of(layer),
                    self.length,
                    own.w,
                    gates,
                    4 * plan.units,
                    own.bias,
                    last_first=True,
                )
            self.device.launch_grid(
                chain,
                (plan.windows // plan.forward.windows * plan.forward.group,),
                plan.forward.warps * 32,
                plan.forward.shared,
                *(row_of(self._table, layer), *_masks_and_counters(masks, layer, self._counters.of(number))),
                *(self.keep, np.int32(self.shape.rows), np.int32(plan.windows)),
            )

    @property
    def outputs(self) -> DeviceArray:
        return self.traces[-1].h

    def input_of(self, layer: int) -> Matrix:
        """A layer's input."""
        plan, length = self.plan, self.shape.rows * self.plan.windows
        if layer == 0:
            return Matrix(self.x, 0, length * plan.width, plan.width)
        below = self.traces[layer - 1]
        if below.dropped is not None:
            return Matrix(below.dropped, 0, length * plan.units, plan.units)
        return Matrix(below.h, plan.windows * plan.units, (length + plan.windows) * plan.units, plan.units)


class ChainBackward:
    """The backward pass by kernels/lstm_backward.cu or lstm_exchange_backward.cu; see ``BackwardPass``."""

    def __init__(self, forward: ChainForward) -> None:
        self._forward = forward
        device, plan, shape = forward.device, forward.plan, forward.shape
        self._device, self._plan, self._shape = device, plan, shape
        self._chains = [
            _chain(device, forward.sources.backward(layer), plan.backward)
            for layer in range(0, shape.layers, plan.backward.layers)
        ]
        units = plan.units
        above = plan.parts * forward.length * units if plan.backward.layers < shape.layers else 0
        self._above = device.empty((above,), np.uint16, "gradients of a layer's outputs")
        self._blocks = plan.windows // plan.backward.windows
        self._counters = Counters(
            device, [self._blocks] * shape.layers if plan.backward.through_memory else []
        )
        self.bias_parts = [device.empty((self._blocks, 4 * units), np.float32) for _ in range(shape.layers)]
        self.matrix_parts = {
            (layer, name): device.empty((self._splits(layer), 4 * units, width), np.float32, "gradients")
            for layer in range(shape.layers)
            for name, width in (("w", plan.input_width(layer)), ("u", units))
        }
        self._table = pointer_table(
            device,
            [
                (own.u_back, own.w_back, trace.gates, trace.cells, bias)
                for own, trace, bias in zip(
                    forward.weights.layers, forward.traces, self.bias_parts, strict=True
                )
            ],
        )
        self._branch = device.branch()

    def run(self, last: DeviceArray, masks: list[DeviceArray], beside: Callable[[int, int], None]) -> None:
        plan, shape, forward = self._plan, self._shape, self._forward
        self._counters.clear()
        for layer in reversed(range(0, shape.layers, plan.backward.layers)):
            own, top = forward.weights.layers[layer], layer + plan.backward.layers == shape.layers
            self._device.launch_grid(
                self._chains[layer // plan.backward.layers],
                (self._blocks * plan.backward.group,),
                plan.backward.warps * 32,
                plan.backward.shared,
                *(row_of(self._table, layer), None if top else self._above, last),
                *_masks_and_counters(masks, layer, self._counters.of(layer)),
                *(forward.keep, np.int32(shape.rows), np.int32(plan.windows)),
            )
            if top:
                # Not before: what is drawn would keep the chain's blocks waiting for the whole GPU.
                beside(0, 1)
            with self._branch:
                self._multiply_columns(layer)
            for other in range(layer + 1, layer + plan.backward.layers):
                self._multiply_columns(other)
            if own.w_back is not None:
                forward.products.multiply_rows(
                    self._gates(layer), forward.length, own.w_back, self._above, plan.units
                )
        self._branch.join()

    def _splits(self, layer: int) -> int:
        """Parts that a layer's weight gradients are summed in."""
        units, apart = self._plan.units, self._plan.backward.layers == 1
        return self._forward.products.splits(
            *(4 * units, units, self._plan.input_width(layer), self._forward.length),
            beside_rows=apart and layer > 0,
        )

    def _gates(self, layer: int) -> Matrix:
        """The gradients of a layer's gates."""
        width = 4 * self._plan.units
        return Matrix(self._forward.traces[layer].gates, 0, self._forward.length * width, width)

    def _multiply_columns(self, layer: int) -> None:
        """The parts of a layer's weight gradients: dz [length, 4 units]^T [h before, x]."""
        units, windows, forward = self._plan.units, self._plan.windows, self._forward
        h = Matrix(forward.traces[layer].h, 0, (forward.length + windows) * units, units)
        forward.products.multiply_columns(
            self._gates(layer),
            forward.length,
            (h, self.matrix_parts[layer, "u"]),
            (forward.input_of(layer), self.matrix_parts[layer, "w"]),
        )


def _chain(device: Device, source: Source, cut: ChainShape) -> Any:
    """A kernel over a chain of rows, which has the name of its file."""
    return device.load(*source).get_function(source[0], cut.shared, cut.cluster > PORTABLE_CLUSTER)


def _masks_and_counters(
    masks: list[DeviceArray] | None, layer: int, counters: DeviceArray | None
) -> tuple[DeviceArray | None, DeviceArray | np.int64]:
    """Arguments of a kernel over a chain of rows: its masks, and the counters of blocks that exchange through memory.

    In place of these clusters get the words from one layer's masks to the next one's: they may have several layers.
    """
    kept, apart = masks_of(masks, layer)
    return kept, apart if counters is None else counters
