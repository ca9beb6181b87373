"""The passes for large batches of layers whose weights pass through shared memory: 129 to 512 units, in float32 any.

upwards, all layers in one launch:
    h, cells, gates      = lstm_wide_forward(x, W, U, b)
downwards, as many layers in a launch as run at the same time:
    dz, dx               = lstm_wide_backward(cells, gates, dh, W, U)
    dU, dW, db           = lstm_tile_gradients(dz, h before, x), for each layer
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hpc_lstm.cuda.device import Device
from hpc_lstm.cuda.device_array import DeviceArray
from hpc_lstm.model.engines.cuda.passes import masks_of, pointer_table
from hpc_lstm.model.engines.cuda.plan import Plan
from hpc_lstm.model.engines.cuda.tile_plan import (
    WIDE_BACKWARD_THREADS,
    WIDE_FORWARD_THREADS,
    WIDE_PAIR,
    TileShared,
    wide_shared,
)
from hpc_lstm.model.engines.cuda.tiles import TileBackward, TileForward
from hpc_lstm.model.engines.cuda.weights import Shape, Weights

# Words of ``struct Progress`` of the two kernels.
FORWARD_PROGRESS, BACKWARD_PROGRESS = 2, 6


class WideForward(TileForward):
    """The forward pass by kernels/lstm_wide_forward.cu.

    Attributes:
        gates: what the gates of each layer are of, kept for the backward pass; empty where there is none.
        counters: by which the blocks of both passes tell each other how far they are.
    """

    def __init__(self, device: Device, plan: Plan, shape: Shape, weights: Weights, *, training: bool) -> None:
        super().__init__(device, plan, shape, weights, training=training)
        self.gates: list[DeviceArray] = []
        if training:
            size = 4 * self.length * plan.units
            self.gates = [
                device.empty((size,), np.uint16, "the gates of a batch") for _ in range(shape.layers)
            ]
        self.counters = _Counters(device, plan, shape.layers)
        rows = []
        for layer, (own, trace) in enumerate(zip(weights.layers, self.traces, strict=True)):
            gates = self.gates[layer] if training else None
            rows.append(
                (own.u, own.w, own.bias, self.input_of(layer), trace.h, trace.cells, gates, trace.dropped)
            )
        self._table = pointer_table(device, rows)

    def run_layers(self, masks: list[DeviceArray] | None) -> None:
        plan, counters = self.plan, self.counters
        self.device.clear(counters.all)
        kernel, shared = self._kernels[0]
        self.device.launch_grid(
            kernel,
            (plan.windows // plan.forward.windows * plan.forward.split * self.shape.layers,),
            WIDE_FORWARD_THREADS,
            shared,
            *(self._table, *masks_of(masks, 0), self.keep, counters.tickets(0), counters.forward),
            *(np.int32(0), np.int32(self.shape.rows), np.int32(plan.windows)),
        )

    def _load_kernels(self, training: bool) -> list[tuple[Any, int]]:
        drops = self.drops and self.shape.layers > 1
        shared = _shared(self.plan, narrow=False, drops=drops).forward
        module = self.device.load(*self.sources.forward(0, training=training))
        return [(module.get_function("lstm_wide_forward", shared), shared)]


class WideBackward(TileBackward):
    """The backward pass by kernels/lstm_wide_backward.cu and lstm_tile_gradients.cu; see ``BackwardPass``."""

    def __init__(self, forward: WideForward) -> None:
        plan, layers = forward.plan, forward.shape.layers
        groups = plan.windows // plan.backward.windows
        together = max(1, min(layers, plan.at_once(forward.device.resident_clusters) // groups))
        super().__init__(forward, parts_above=1, together=together)
        self._counters = forward.counters
        rows = []
        for layer, (own, trace) in enumerate(zip(forward.weights.layers, forward.traces, strict=True)):
            gates, dz = forward.gates[layer], self._dz[layer % together]
            above, below = self._outputs_of(layer), self._outputs_of(layer - 1)
            rows.append((own.u, own.w, trace.cells, gates, above, dz, below))
        self._table = pointer_table(forward.device, rows)

    def _load_kernels(self) -> list[tuple[Any, int]]:
        forward = self._forward
        shared = max(_shared(forward.plan, narrow=narrow, drops=False).backward for narrow in (True, False))
        module = forward.device.load(*forward.sources.backward(0))
        return [(module.get_function("lstm_wide_backward", shared), shared)]

    def _run_layers(self, layer: int, count: int, last: DeviceArray, masks: list[DeviceArray]) -> None:
        forward, plan, counters = self._forward, self._forward.plan, self._counters
        kernel, shared = self._kernels[0]
        forward.device.launch_grid(
            kernel,
            (plan.windows // plan.backward.windows * plan.backward.split * count,),
            WIDE_BACKWARD_THREADS,
            shared,
            *(
                self._table,
                last,
                *masks_of(masks, 0),
                forward.keep,
                counters.tickets(1 + layer),
                counters.backward,
            ),
            *(np.int32(layer), np.int32(forward.shape.rows), np.int32(plan.windows)),
        )


class _Counters:
    """Of both kernels: ``struct Progress`` of each layer and group of windows, and a ticket counter for each launch.

    Attributes:
        all: to be set to zero before the forward pass.
        forward, backward: the progress of each kernel.
    """

    def __init__(self, device: Device, plan: Plan, layers: int) -> None:
        forward = FORWARD_PROGRESS * layers * WIDE_PAIR * (plan.windows // plan.forward.windows)
        backward = BACKWARD_PROGRESS * layers * WIDE_PAIR * (plan.windows // plan.backward.windows)
        self._first = forward + backward
        self.all = device.zeros((self._first + 1 + layers,), np.uint32)
        self.forward, self.backward = self.all.part(0, forward), self.all.part(forward, backward)

    def tickets(self, launch: int) -> DeviceArray:
        """Of a launch: 0 forward, 1 + layer backward."""
        return self.all.part(self._first + launch, 1)


def _shared(plan: Plan, *, narrow: bool, drops: bool) -> TileShared:
    return wide_shared(plan.tiles, plan.backward_tiles, plan.parts, narrow=narrow, drops=drops)
