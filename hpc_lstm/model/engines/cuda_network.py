"""A training step of the network on a GPU: its arrays, and the kernels that turn one into the next.

The whole way of a step, as it is launched (kernels/lstm_*.cu say what each does):

    x                        = stage_inputs(windows)
    for each layer, upwards:
        x W                  = multiply_rows(x, W)                       unless folded into the next
        gates, h, cells      = lstm_forward(x W, U, b)
    dh, loss                 = head(h of the last row, targets)
    for each layer, downwards:
        dz, db               = lstm_backward(gates, cells, dh, U)
        dU, dW               = multiply_columns(dz, [h before, x])
        dh of the layer below = multiply_rows(dz, W)
    gradient                 = collect(parts of all gradients)
    weights                  = adam(weights, gradient), packed for the next step

Beside it, on a second stream: the dropout masks of the step after, and the gradients of a layer's weights while the
layer below goes on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpc_lstm.cuda.device import THREADS, Device, DeviceArray
from hpc_lstm.model.engines.cuda_plan import (
    BLOCK_M,
    EXTRA,
    INNER,
    Plan,
    columns_shared,
    product_block,
    rows_shared,
)
from hpc_lstm.model.engines.cuda_sources import Sources
from hpc_lstm.model.parameters import Schema

# Parts that the inner dimension of a weight gradient is cut into: blocks for every multiprocessor twice, and enough
# work in each.
PRODUCT_WAVES, LEAST_INNER = 2, 256
HEAD_WARPS = 8
# Of a block of kernels/lstm_update.cu.
TILE_INPUTS, TILE_UNITS, COLLECT_THREADS = 8, 32, 1024
# ``struct Operand`` of kernels/lstm_products.cu.
OPERAND = np.dtype([("values", "u8"), ("out", "u8"), ("plane", "i8"), ("n", "i4"), ("unused", "i4")])
# ``struct Array`` of kernels/lstm_update.cu, and its kinds.
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
        ("tiled", "i4"),
        ("unused", "i4"),
    ]
)
MATRIX, BIAS, DENSE = 0, 1, 2
# ``struct Call`` of kernels/lstm_common.cuh.
CONSTANTS = 8
HEADER = np.dtype([("inputs", "u8"), ("targets", "u8"), ("key", "u4"), ("first", "u4")])


@dataclass(frozen=True)
class Shape:
    """The network and batch, not padded.

    Attributes:
        layers, units, features, rows: of the network and its windows.
        dropout: share of each layer's outputs that is dropped.
        batch: windows of a step.
    """

    layers: int
    units: int
    features: int
    rows: int
    dropout: float
    batch: int


@dataclass(frozen=True)
class LayerWeights:
    """A layer's weights as the kernels read them.

    Attributes:
        u, u_back: the recurrent weights for lstm_forward and lstm_backward.
        w, w_back: the input's weights; ``w_back`` is None in the first layer, below which no gradient is needed.
        bias: float32.
    """

    u: DeviceArray
    u_back: DeviceArray
    w: DeviceArray
    w_back: DeviceArray | None
    bias: DeviceArray


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


class Weights:
    """Weights, optimizer's slots and their packed copies in GPU memory.

    Args:
        slots: vectors that the optimizer remembers.
    """

    def __init__(self, device: Device, plan: Plan, shape: Shape, schema: Schema, slots: int) -> None:
        self.flat = device.zeros((schema.length,), np.float32)
        self.moments = device.zeros((slots * schema.length,), np.float32)
        self.layers = []
        rows = plan.parts * 4 * plan.units
        for layer in range(shape.layers):
            width = plan.width if layer == 0 else plan.units
            self.layers.append(
                LayerWeights(
                    u=device.zeros((rows * plan.units,), np.uint16),
                    u_back=device.zeros((rows * plan.units,), np.uint16),
                    w=device.zeros((rows * width,), np.uint16),
                    w_back=device.zeros((rows * width,), np.uint16) if layer else None,
                    bias=device.zeros((4 * plan.units,), np.float32),
                )
            )
        self.dense = device.zeros((plan.units + 1,), np.float32)


class Forward:
    """The way from windows to the last layer's outputs, for batches of one size.

    Attributes:
        traces: what the layers compute, from the lowest one up.
    """

    def __init__(self, device: Device, plan: Plan, shape: Shape, weights: Weights, *, training: bool) -> None:
        self.device, self.plan, self.shape, self.weights = device, plan, shape, weights
        self.drops = training and shape.dropout > 0
        self.threshold = int(np.float32(shape.dropout) * np.float32(2**24))
        self.keep = np.float32(1) / (np.float32(1) - np.float32(shape.dropout))
        sources = Sources(plan, shape.layers, shape.dropout > 0)
        self.head_kernels, self.products = device.load(*sources.head), device.load(*sources.products)
        self._chains = [
            device.load(*sources.forward(layer, training=training)).get_function(
                "lstm_forward", plan.forward.shared, plan.forward.split > 8
            )
            for layer in range(shape.layers)
        ]
        length, units = shape.rows * plan.windows, plan.units
        cell_type = np.uint16 if plan.parts == 1 else np.float32
        self.x = device.empty((plan.parts * length * plan.width,), np.uint16, "a batch's inputs")
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

    def run(
        self,
        given: DeviceArray | None,
        call: DeviceArray,
        step: int,
        batch: int,
        masks: list[DeviceArray] | None = None,
    ) -> None:
        """Launch the forward pass.

        Args:
            given: windows [batch, rows, features]; None: those of a step of ``call``.
            step: within the call.
            batch: windows that count, at most the plan's.
            masks: of dropout, of all layers but the last; None: no dropout.
        """
        plan, shape, device = self.plan, self.shape, self.device
        device.launch(
            self.head_kernels.get_function("stage_inputs"),
            max(1, min(device.multiprocessors * 8, shape.rows * plan.windows * plan.width // 2 // THREADS)),
            *(given, call, np.int32(step), self.x, np.int32(batch), np.int32(plan.windows)),
            *(np.int32(shape.rows), np.int32(shape.features), np.int32(plan.width)),
        )
        for layer, trace in enumerate(self.traces):
            own = self.weights.layers[layer]
            folded = layer == 0 and plan.folded
            if not folded:
                self.multiply_rows(*self.input_of(layer), own.w, trace.gates, 4 * plan.units, own.bias)
            device.launch_grid(
                self._chains[layer],
                (plan.windows // plan.forward.windows * plan.forward.split,),
                plan.forward.warps * 32,
                plan.forward.shared,
                *(own.u, own.w if folded else None, own.bias, self.x if folded else None),
                *(trace.gates, trace.h, trace.cells, trace.dropped),
                masks[layer] if masks and trace.dropped else None,
                *(self.keep, np.int32(shape.rows), np.int32(plan.windows)),
            )

    def input_of(self, layer: int) -> tuple[DeviceArray, int, int, int]:
        """A layer's input: the array, where in it the input begins, numbers of a plane, and width."""
        plan, length = self.plan, self.shape.rows * self.plan.windows
        if layer == 0:
            return self.x, 0, length * plan.width, plan.width
        below = self.traces[layer - 1]
        if below.dropped is not None:
            return below.dropped, 0, length * plan.units, plan.units
        return below.h, plan.windows * plan.units, (length + plan.windows) * plan.units, plan.units

    def last_output(self) -> tuple[np.uint64, np.int64]:
        """Address of the last layer's outputs at the last row, and numbers of a plane."""
        h, units, windows = self.traces[-1].h, self.plan.units, self.plan.windows
        at = h.pointer + 2 * self.shape.rows * windows * units
        return np.uint64(at), np.int64((self.shape.rows + 1) * windows * units)

    def multiply_rows(
        self,
        a: DeviceArray,
        begin: int,
        plane: int,
        inner: int,
        b: DeviceArray,
        out: DeviceArray,
        n: int,
        bias: DeviceArray | None = None,
    ) -> None:
        """out [m, n] = a [m, inner] b [n, inner]^T + bias for all rows of all windows."""
        m, block = self.shape.rows * self.plan.windows, product_block(n)
        shared = rows_shared(block, self.plan.parts, self.plan.product_stages)
        self.device.launch_grid(
            self.products.get_function(f"multiply_rows_{block}", shared),
            (-(-n // block) * -(-m // BLOCK_M),),
            THREADS,
            shared,
            *(np.uint64(a.pointer + 2 * begin), np.int64(plane), b, bias, out),
            *(np.int64(m), np.int32(n), np.int32(inner)),
        )

    def forecast(self, given: DeviceArray, call: DeviceArray, out: np.uint64, batch: int) -> None:
        """Launch the forecasts of windows [batch, rows, features], into float32 [batch] at an address."""
        self.run(given, call, 0, batch)
        self.device.launch(
            self.head_kernels.get_function("forecast"),
            -(-batch // HEAD_WARPS),
            *(*self.last_output(), self.weights.dense, out, np.int32(batch)),
        )


class TrainingStep:
    """One optimizer step; ``launch`` records or launches its kernels.

    Args:
        call: ``struct Call`` in GPU memory.
        steps: the most steps of a call.
        kernel: of the optimizer in kernels/lstm_update.cu.
        clip_norm: largest norm of the gradient; 0: no limit.
    """

    def __init__(
        self,
        device: Device,
        plan: Plan,
        shape: Shape,
        schema: Schema,
        weights: Weights,
        *,
        call: DeviceArray,
        steps: int,
        kernel: str,
        clip_norm: float,
    ) -> None:
        self._device, self._plan, self._shape, self._schema = device, plan, shape, schema
        self._weights, self._call, self._clip_norm = weights, call, np.float32(clip_norm)
        self.forward = Forward(device, plan, shape, weights, training=True)
        sources = Sources(plan, shape.layers, shape.dropout > 0)
        self._chains = [
            device.load(*sources.backward(layer)).get_function(
                "lstm_backward", plan.backward.shared, plan.backward.split > 8
            )
            for layer in range(shape.layers)
        ]
        updates = device.load(*sources.update)
        self._collect, self._update = updates.get_function("collect"), updates.get_function(kernel)
        self._scale = updates.get_function("scale")
        self._pack, self._mean_loss = updates.get_function("pack"), updates.get_function("mean_loss")
        length, units = shape.rows * plan.windows, plan.units
        self._above = device.empty(
            (plan.parts * length * units,), np.uint16, "gradients of a layer's outputs"
        )
        self._last = device.empty((plan.windows * units,), np.float32)
        self._head_blocks = max(1, min(device.multiprocessors, -(-plan.windows // HEAD_WARPS)))
        self._head_sums = device.zeros((steps, self._head_blocks, units + 2), np.float32)
        self._blocks = plan.windows // plan.backward.windows
        self._bias_parts = [device.empty((self._blocks, 4 * units), np.float32) for _ in range(shape.layers)]
        self._matrix_parts = {
            (layer, name): device.empty((self._splits(layer), 4 * units, width), np.float32, "gradients")
            for layer in range(shape.layers)
            for name, width in (("w", units if layer else plan.width), ("u", units))
        }
        self._gradient = device.empty((schema.length,), np.float32)
        self._arrays = [self._array_table(step) for step in range(steps)]
        self._squares = device.empty((self._update_blocks,), np.float64)
        # Of this step and the next.
        words = plan.windows * units // 32 * shape.rows
        masked = shape.layers - 1 if forward_drops(shape) else 0
        self._all_masks = [device.empty((max(1, masked) * words,), np.uint32) for _ in range(2)]
        self._masks = [[one.part(layer * words, words) for layer in range(masked)] for one in self._all_masks]
        self._draw = device.load(*sources.masks).get_function("draw_masks")
        self._branch = device.branch()

    def launch(self, step: int, *, last: bool) -> None:
        """Launch step ``step`` of the call, of which it may be the last."""
        plan, shape, device, forward = self._plan, self._shape, self._device, self.forward
        rows, windows, units = np.int32(shape.rows), np.int32(plan.windows), plan.units
        masks = self._masks[step % 2]
        if masks and step == 0:
            self._draw_masks(step)
        forward.run(None, self._call, step, shape.batch, masks)
        device.launch(
            forward.head_kernels.get_function("head"),
            self._head_blocks,
            *(*forward.last_output(), self._weights.dense, self._call, np.int32(step), self._last),
            np.uint64(self._head_sums.pointer + 4 * step * self._head_blocks * (units + 2)),
            *(np.int32(shape.batch), windows, rows, np.int32(shape.layers - 1), np.int32(shape.units)),
            *(np.uint32(forward.threshold), forward.keep),
        )
        if masks and not last:
            with self._branch:
                self._draw_masks(step + 1)
        for layer in reversed(range(shape.layers)):
            trace, own, top = forward.traces[layer], self._weights.layers[layer], layer + 1 == shape.layers
            device.launch_grid(
                self._chains[layer],
                (self._blocks * plan.backward.split,),
                plan.backward.warps * 32,
                plan.backward.shared,
                *(own.u_back, trace.gates, trace.cells, None if top else self._above, self._last),
                *(None if top or not masks else masks[layer], forward.keep),
                *(self._bias_parts[layer], rows, windows),
            )
            with self._branch:
                self._multiply_columns(layer)
            if own.w_back is not None:
                plane = shape.rows * plan.windows * 4 * units
                forward.multiply_rows(trace.gates, 0, plane, 4 * units, own.w_back, self._above, units)
        self._branch.join()
        arrays, count = self._arrays[step], np.int32(len(self._schema.names) - 1)
        device.launch_grid(
            self._collect,
            (self._update_blocks,),
            COLLECT_THREADS,
            0,
            *(arrays, count, np.int32(shape.units), self._gradient, self._squares),
        )
        device.launch(
            self._update,
            self._update_blocks,
            *(arrays, count, np.int64(self._schema.length), np.int32(shape.units)),
            *(self._gradient, self._squares, self._clip_norm),
            *(self._call, np.int32(step), self._weights.flat, self._weights.moments),
        )

    def launch_mean_loss(self, steps: int, out: DeviceArray) -> None:
        """The mean loss of a call's steps, into float32 [1]."""
        self._device.launch(
            self._mean_loss,
            1,
            *(
                self._head_sums,
                np.int32(steps),
                np.int32(self._head_blocks),
                np.int32(self._shape.batch),
                out,
            ),
        )

    def pack(self) -> None:
        """Launch the packing of weights that came from elsewhere."""
        self._device.launch(
            self._pack,
            self._update_blocks,
            *(self._arrays[0], np.int32(len(self._schema.names) - 1)),
            *(np.int32(self._shape.units), self._weights.flat),
        )

    def scaled(self, vector: DeviceArray, factor: float) -> DeviceArray:
        """A vector of the weights' length times ``factor``, in memory of its own."""
        out = self._device.empty(vector.shape, np.float32)
        self._device.launch(
            self._scale, -(-vector.size // THREADS), *(vector, np.float32(factor), out, np.int64(vector.size))
        )
        return out

    def gradient(self) -> np.ndarray:
        """The last step's gradient, before it was clipped: float32 [P]."""
        return self._gradient.numpy()

    def _draw_masks(self, step: int) -> None:
        plan, shape = self._plan, self._shape
        warps = plan.windows // 8 * (plan.units // 8) * -(-shape.rows // 2) * (shape.layers - 1)
        self._device.launch(
            self._draw,
            min(-(-warps // (THREADS // 32)), 8 * self._device.multiprocessors),
            *(self._call, np.int32(step), np.int32(shape.layers - 1), np.int32(shape.rows)),
            *(np.int32(plan.windows), np.int32(shape.units), np.uint32(self.forward.threshold)),
            self._all_masks[step % 2],
        )

    def _splits(self, layer: int) -> int:
        """Parts that the inner dimension of a layer's weight gradients is cut into."""
        tiles = -(-4 * self._plan.units // BLOCK_M) * self._column_blocks(layer)
        most = max(1, self._shape.rows * self._plan.windows // LEAST_INNER)
        return max(1, min(PRODUCT_WAVES * self._device.multiprocessors // tiles, most))

    def _column_blocks(self, layer: int) -> int:
        """Blocks over the columns of h before and, unless it is narrow, of x."""
        units, width = self._plan.units, self._plan.units if layer else self._plan.width
        block = product_block(units)
        return -(-units // block) + (-(-width // block) if width > EXTRA else 0)

    def _multiply_columns(self, layer: int) -> None:
        """The parts of a layer's weight gradients: dz [length, 4 units]^T [h before, x]."""
        units, windows, rows = self._plan.units, self._plan.windows, self._shape.rows
        m, length, block = 4 * units, rows * windows, product_block(units)
        trace, (x, begin, plane, width) = self.forward.traces[layer], self.forward.input_of(layer)
        u, w = self._matrix_parts[layer, "u"], self._matrix_parts[layer, "w"]
        each = math.ceil(length / len(u) / INNER) * INNER
        shared = columns_shared(block, self._plan.parts, self._plan.product_stages)
        self._device.launch_grid(
            self.forward.products.get_function(f"multiply_columns_{block}", shared),
            (-(-m // BLOCK_M), self._column_blocks(layer), len(u)),
            THREADS,
            shared,
            *(trace.gates, np.int64(length * m)),
            np.array((trace.h.pointer, u.pointer, (rows + 1) * windows * units, units, 0), OPERAND)[()],
            np.array((x.pointer + 2 * begin, w.pointer, plane, width, 0), OPERAND)[()],
            *(np.int32(m), np.int64(length), np.int32(each)),
        )

    def _array_table(self, step: int) -> DeviceArray:
        """The table of kernels/lstm_update.cu, for one step of a call."""
        units, padded, offsets = self._shape.units, self._plan.units, self._schema.offsets
        head = self._head_sums.pointer + 4 * step * self._head_blocks * (padded + 2)
        table = np.zeros(len(self._schema.names) - 1, ARRAY)  # the dense layer's two arrays are one
        blocks = 0
        for number, one in enumerate(table):
            layer, which = divmod(number, 3)
            one["begin"], one["flat"] = blocks, offsets[number]
            if layer == self._shape.layers:
                one["kind"], one["parts"], one["part_size"] = DENSE, self._head_blocks, padded + 2
                one["gradients"], one["copy"] = head, self._weights.dense.pointer
                blocks += -(-(units + 1) // THREADS)
                continue
            own = self._weights.layers[layer]
            if which == 2:
                one["kind"], one["parts"], one["part_size"] = BIAS, self._blocks, 4 * padded
                one["gradients"], one["copy"] = self._bias_parts[layer].pointer, own.bias.pointer
                blocks += -(-4 * units // THREADS)
                continue
            parts = self._matrix_parts[layer, "wu"[which]]
            back = (own.w_back, own.u_back)[which]
            one["kind"], one["inputs"] = MATRIX, units if which or layer else self._shape.features
            one["parts"], one["width"] = len(parts), parts.shape[2]
            one["part_size"], one["gradients"] = 4 * padded * parts.shape[2], parts.pointer
            one["by_gate"] = (own.w, own.u)[which].pointer
            one["by_input"] = back.pointer if back is not None else 0
            one["tiled"] = which == 1 or (layer == 0 and self._plan.folded)
            blocks += -(-int(one["inputs"]) // TILE_INPUTS) * -(-units // TILE_UNITS)
        self._update_blocks = blocks
        return self._device.to_device(table.view(np.uint8))


def forward_drops(shape: Shape) -> bool:
    """Whether a layer below the last one drops outputs."""
    return shape.dropout > 0 and shape.layers > 1


def call_bytes(inputs: int, targets: int, key: int, first: int, constants: list[Any]) -> np.ndarray:
    """``struct Call`` of kernels/lstm_common.cuh.

    Args:
        inputs, targets: addresses.
        key, first: of the dropout masks.
        constants: the optimizer's, for each step.
    """
    header = np.array([(inputs, targets, key, first % 2**32)], HEADER)
    steps = np.zeros((len(constants), CONSTANTS), np.float32)
    for row, values in zip(steps, constants, strict=True):
        row[: len(values)] = values
    return np.concatenate([header.view(np.uint8), steps.reshape(-1).view(np.uint8)])
