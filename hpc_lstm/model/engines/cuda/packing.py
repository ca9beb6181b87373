"""The network's weights in the order in which the kernels of a plan read them: kernels/lstm_update.cu."""

from __future__ import annotations

import numpy as np

from hpc_lstm.cuda.device import Device
from hpc_lstm.cuda.device_array import DeviceArray
from hpc_lstm.model.engines.cuda.plan import Plan
from hpc_lstm.model.engines.cuda.sources import Sources
from hpc_lstm.model.engines.cuda.update_plan import FEW_NUMBERS, TILE_INPUTS, tile_units
from hpc_lstm.model.engines.cuda.weights import Shape, Weights
from hpc_lstm.model.parameters import Schema

# ``struct Array`` of kernels/lstm_update.cu, and its kinds and orders.
ARRAY = np.dtype(
    [
        ("begin", "i8"),
        ("flat", "i8"),
        ("kind", "i4"),
        ("inputs", "i4"),
        ("parts", "i4"),
        ("width", "i4"),
        ("part_size", "i8"),
        ("gradients", "u8"),
        ("by_gate", "u8"),
        ("by_input", "u8"),
        ("copy", "u8"),
        ("order", "i4"),
        ("unused", "i4"),
    ]
)
MATRIX, BIAS, DENSE = 0, 1, 2
BY_UNIT, BY_GATE, IN_TILES = 0, 1, 2


class Packing:
    """From the flat vector of the weights to their packed copies.

    Attributes:
        table: of all arrays of the network, without what a training step knows of their gradients.
        blocks: that handle them.
    """

    def __init__(self, device: Device, plan: Plan, shape: Shape, schema: Schema, weights: Weights) -> None:
        self._device, self._plan, self._shape, self._weights = device, plan, shape, weights
        sources = Sources(plan, shape.layers, shape.dropout > 0, shape.head)
        update = device.load(*sources.update)
        self._pack, self._take_mean = (update.get_function(name) for name in ("pack", "take_mean"))
        self.blocks = 0
        self.table = self._array_table(schema)
        self._on_device = device.to_device(self.table.view(np.uint8))

    def pack(self) -> None:
        """Launch the packing."""
        self._device.launch(
            self._pack,
            self.blocks,
            *(self._on_device, np.int32(len(self.table))),
            *(np.int32(self._shape.units), self._weights.flat),
        )

    def take_mean(self, mean: DeviceArray, averages: DeviceArray) -> None:
        """Launch what makes a mean over ranks the weights, and packs them.

        Args:
            averages: ``struct Averages`` of kernels/lstm_update.cu.
        """
        self._device.launch(
            self._take_mean,
            self.blocks,
            *(self._on_device, np.int32(len(self.table)), np.int32(self._shape.units)),
            *(mean, self._weights.flat, averages),
        )

    def _array_table(self, schema: Schema) -> np.ndarray:
        units, plan = self._shape.units, self._plan
        across = -(-units // tile_units(plan, self._shape.layers))
        table = np.zeros(len(schema.names) - 1, ARRAY)  # the dense layer's two arrays are one
        for number, one in enumerate(table):
            layer, which = divmod(number, 3)
            one["begin"], one["flat"] = self.blocks, schema.offsets[number]
            if layer == self._shape.layers:
                one["kind"], one["copy"] = DENSE, self._weights.dense.pointer
                self.blocks += -(-(units + 1) * self._shape.head.outputs // FEW_NUMBERS)
                continue
            own = self._weights.layers[layer]
            if which == 2:
                one["kind"], one["copy"] = BIAS, own.bias.pointer
                self.blocks += -(-4 * units // FEW_NUMBERS)
                continue
            by_gate, by_input = ((own.w, own.w_back), (own.u, own.u_back))[which]
            one["kind"], one["inputs"] = MATRIX, units if which or layer else self._shape.features
            one["width"] = plan.units if which else plan.input_width(layer)
            one["by_gate"], one["by_input"] = by_gate.pointer, by_input.pointer if by_input is not None else 0
            multiplied_in_chain = (layer == 0 and plan.folded) or plan.forward.layers > 1
            grouped = which == 1 or multiplied_in_chain or plan.tiles > 0
            one["order"] = IN_TILES if plan.wide else BY_GATE if grouped else BY_UNIT
            self.blocks += -(-int(one["inputs"]) // TILE_INPUTS) * across
        return table
