"""The network's weights in GPU memory: the flat vector, the optimizer's slots, and copies as the kernels read them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpc_lstm.cuda.device import Device
from hpc_lstm.cuda.device_array import DeviceArray
from hpc_lstm.model.engines.cuda.plan import Plan
from hpc_lstm.model.engines.head import Head
from hpc_lstm.model.parameters import Schema


@dataclass(frozen=True)
class Shape:
    """The network and batch, not padded.

    Attributes:
        layers, units, features, rows: of the network and its windows.
        dropout: share of each layer's outputs that is dropped.
        batch: windows of a step.
        head: outputs and loss.
    """

    layers: int
    units: int
    features: int
    rows: int
    dropout: float
    batch: int
    head: Head


@dataclass(frozen=True)
class LayerWeights:
    """A layer's weights as the kernels read them.

    Attributes:
        u, w: the recurrent and the input's weights.
        u_back, w_back: the same for the backward pass of the kernels for small batches, which read them in another
            order; None for other kernels and forecasts, ``w_back`` also in the first layer, below which no gradient is
            needed.
        bias: float32.
    """

    u: DeviceArray
    u_back: DeviceArray | None
    w: DeviceArray
    w_back: DeviceArray | None
    bias: DeviceArray


class Weights:
    """Weights, optimizer's slots and their packed copies in GPU memory.

    Args:
        slots: vectors that the optimizer remembers; None: the network is not trained.
    """

    def __init__(
        self, device: Device, plan: Plan, shape: Shape, schema: Schema, slots: int | None = None
    ) -> None:
        self.flat = device.zeros((schema.length,), np.float32)
        self.moments = device.zeros(((slots or 0) * schema.length,), np.float32)
        self.layers = []
        back = slots is not None and not plan.tiles
        rows = plan.parts * 4 * plan.units
        for layer in range(shape.layers):
            width = plan.input_width(layer)
            self.layers.append(
                LayerWeights(
                    u=device.zeros((rows * plan.units,), np.uint16),
                    u_back=device.zeros((rows * plan.units,), np.uint16) if back else None,
                    w=device.zeros((rows * width,), np.uint16),
                    w_back=device.zeros((rows * width,), np.uint16) if back and layer else None,
                    bias=device.zeros((4 * plan.units,), np.float32),
                )
            )
        self.dense = device.zeros(((plan.units + 1) * shape.head.outputs,), np.float32)


def forward_drops(shape: Shape) -> bool:
    """Whether a layer below the last one drops outputs."""
    return shape.dropout > 0 and shape.layers > 1
