"""A training step of the network on a GPU: its arrays, and the kernels that turn one into the next.

The whole way of a step, as it is launched (kernels/lstm_*.cu say what each does):

    x                        = gather_inputs(rows), or stage_inputs(windows)
    h of all layers          = the forward pass: tiles.py and wide.py for large batches, else chains.py
    dh, loss                 = head(h of the last row, targets)
    parts of the gradients   = the backward pass
    gradient                 = collect(parts of the gradients)
    weights                  = adam(weights, gradient), packed for the next step; at once without clipping
    weights                  = take_mean(sum over the ranks of scale(weights)), where an average is due

Beside it, on a second stream, the dropout masks of the step after.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hpc_lstm.cuda.device import THREADS, Device
from hpc_lstm.cuda.device_array import DeviceArray
from hpc_lstm.model.engines.cuda.chains import ChainBackward, ChainForward
from hpc_lstm.model.engines.cuda.gather import Gather
from hpc_lstm.model.engines.cuda.packing import Packing
from hpc_lstm.model.engines.cuda.passes import HEAD_WARPS, BackwardPass, ForwardPass
from hpc_lstm.model.engines.cuda.plan import Plan
from hpc_lstm.model.engines.cuda.tiles import TileBackward, TileForward
from hpc_lstm.model.engines.cuda.update_plan import sum_threads
from hpc_lstm.model.engines.cuda.weights import Shape, Weights, forward_drops
from hpc_lstm.model.engines.cuda.wide import WideBackward, WideForward
from hpc_lstm.model.parameters import Schema
from hpc_lstm.parallel.averages_within import AveragesWithin

# Of kernels/lstm_masks.cu; blocks on a multiprocessor, alone and beside the sums of the weights' gradients.
MASK_THREADS, MASK_BLOCKS, MASK_BLOCKS_BESIDE = 128, 16, 3
# Kernels that wait themselves for the one in front of them; see ``cuda.overlap``.
EARLY = ("gather_inputs", "stage_inputs", "head", "lstm_forward", "multiply_rows")
# And these, where all layers run together. Otherwise other kernels run beside them, whose room they would take while
# they wait.
EARLY_TOGETHER = (
    *("lstm_backward", "multiply_columns"),
    *("multiply_columns_and_narrow", "multiply_column_and_narrow"),
)
# ``struct Call`` of kernels/lstm_common.cuh.
CONSTANTS = 8
HEADER = np.dtype(
    [
        ("inputs", "u8"),
        ("targets", "u8"),
        ("order_keys", "u8"),
        ("position", "i8"),
        ("length", "i8"),
        ("key", "u4"),
        ("first", "u4"),
    ]
)


class TrainingStep:
    """One optimizer step after the other; ``launch_all`` records or launches their kernels.

    Args:
        call: ``struct Call`` in GPU memory.
        steps: the most steps of a call.
        kernel: of the optimizer in kernels/lstm_update.cu.
        clip_norm: largest norm of the gradient; 0: no limit.

    Attributes:
        forward: the way from windows to outputs.
        early: kernels that may begin before the one in front of them has ended.
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
        self.forward, self._backward = _passes(device, plan, shape, weights)
        self.early = early_kernels(plan, shape.layers, kernel)
        sources = self.forward.sources
        updates = device.load(*sources.update)
        self._collect, self._update = updates.get_function("collect"), updates.get_function(kernel)
        self._sum_squares = updates.get_function("sum_squares")
        self._sum_threads = sum_threads(plan, shape.layers)
        self._update_at_once = updates.get_function(f"{kernel}_at_once")
        self._scale = updates.get_function("scale")
        self._mean_loss = updates.get_function("mean_loss")
        units = plan.units
        self._last = device.empty((plan.windows * units,), np.float32)
        self._head_blocks = max(1, min(device.multiprocessors, -(-plan.windows // HEAD_WARPS)))
        self._head_sums = device.zeros((steps, self._head_blocks, head_sums(units, shape)), np.float32)
        self._loss_constants = device.to_device(np.array(shape.head.loss.constants or (0.0,), np.float32))
        self._gradient = device.empty((schema.length,), np.float32)
        self._scaled: DeviceArray | None = None
        self._averages = device.zeros((2,), np.uint64)  # ``struct Averages`` of kernels/lstm_update.cu
        self._packing = Packing(device, plan, shape, schema, weights)
        self._arrays = [self._array_table(step) for step in range(steps)]
        # Of each block, and the sum of all.
        self._squares = device.empty((self._packing.blocks + 1,), np.float64)
        # Of this step and the next.
        words = plan.windows * units // 32 * shape.rows
        masked = shape.layers - 1 if forward_drops(shape) else 0
        self._all_masks = [device.empty((masked * words,), np.uint32) for _ in range(2)]
        self._masks = [[one.part(layer * words, words) for layer in range(masked)] for one in self._all_masks]
        self._draw = device.load(*sources.masks).get_function("draw_masks", little_cache=True)
        self._branch = device.branch()

    def launch_all(self, steps: int, gather: Gather | None, within: AveragesWithin | None = None) -> None:
        """Launch the steps of a call, on windows that ``gather`` cuts, or on those that the call names.

        Args:
            within: the averages to take between them.
        """
        if gather is not None:
            gather.draw(steps)
        for step in range(steps):
            if gather is not None:
                gather.inputs(step)
            else:
                self.forward.stage(None, self._call, step, self._shape.batch)
            self._launch(step, last=step + 1 == steps)
            if within is not None and (step + 1) % within.every == 0:
                self._average(within)

    def _launch(self, step: int, *, last: bool) -> None:
        """Launch step ``step`` of the call, of which it may be the last, on what was brought to the forward pass."""
        plan, shape, device, forward = self._plan, self._shape, self._device, self.forward
        rows, windows, units = np.int32(shape.rows), np.int32(plan.windows), plan.units
        masks = self._masks[step % 2]
        if masks and step == 0:
            self._draw_masks(step, 0, 1)
        elif masks and plan.tiles:
            self._branch.join()
        forward.run_layers(masks)
        device.launch(
            forward.head_kernels.get_function("head"),
            self._head_blocks,
            *(*forward.last_output(), self._weights.dense, self._loss_constants, self._call),
            *(np.int32(step), self._last),
            np.uint64(self._head_sums.pointer + 4 * step * self._head_blocks * head_sums(units, shape)),
            *(np.int32(shape.batch), windows, rows, np.int32(shape.layers - 1), np.int32(shape.units)),
            *(np.uint32(forward.threshold), forward.keep),
        )
        draws = bool(masks) and not last

        def beside(part: int, parts: int) -> None:
            if draws:
                with self._branch:
                    self._draw_masks(step + 1, part, parts)

        self._backward.run(self._last, masks, beside)
        # With large batches, drawing may go on beside the update.
        if draws and not plan.tiles:
            self._branch.join()
        self._launch_update(step)

    def _launch_update(self, step: int) -> None:
        """Launch the sums of all gradients and the optimizer's step."""
        arrays = (self._arrays[step], np.int32(len(self._packing.table)))
        length, units = np.int64(self._schema.length), np.int32(self._shape.units)
        ends = (self._call, np.int32(step), self._weights.flat, self._weights.moments)
        blocks = (self._packing.blocks,)
        if not self._clip_norm:
            gradient = self._gradient
            self._device.launch_grid(
                self._update_at_once, blocks, self._sum_threads, 0, *arrays, length, units, gradient, *ends
            )
            return
        gradient, squares, count = self._gradient, self._squares, self._packing.blocks
        self._device.launch_grid(
            self._collect, blocks, self._sum_threads, 0, *arrays, units, gradient, squares
        )
        self._device.launch(self._sum_squares, 1, squares, np.int32(count))
        square = np.uint64(squares.pointer + 8 * count)
        given = (*arrays, length, units, gradient, square, self._clip_norm)
        self._device.launch_grid(self._update, blocks, THREADS, 0, *given, *ends)

    def _average(self, within: AveragesWithin) -> None:
        """Launch an average over the ranks; the weights come last, in a kernel that packs them and takes the time."""
        device, weights, share = self._device, self._weights, 1 / within.ranks
        averages: DeviceArray | None = self._averages
        length = self._schema.length
        slots = weights.moments.size // length if within.moments else 0
        for vector in (*(weights.moments.part(slot * length, length) for slot in range(slots)), weights.flat):
            copy = self.scaled(vector, share, begins=averages)
            averages = None  # begun
            with device.current():
                within.allreduce_sum(copy.pointer, copy.size, int(device.stream.handle))
            if vector is weights.flat:
                self._packing.take_mean(copy, self._averages)
            else:
                device.copy(vector, copy)

    def launch_mean_loss(self, steps: int, out: DeviceArray) -> None:
        """The mean loss of a call's steps, and the nanoseconds that its averages took, into float32 [2]."""
        self._device.launch(
            self._mean_loss,
            1,
            *(
                self._head_sums,
                np.int32(steps),
                np.int32(self._head_blocks),
                np.int32(self._shape.batch),
                self._averages,
                out,
            ),
        )

    def pack(self) -> None:
        """Launch the packing of weights that came from elsewhere."""
        self._packing.pack()

    def room_for_average(self) -> DeviceArray:
        """Where a rank's share of an average is written: float32 [P]."""
        if self._scaled is None:
            # Kept, since there is one at every average: taking and freeing memory makes the host wait for the GPU.
            self._scaled = self._device.empty((self._schema.length,), np.float32, "averaging the weights")
        return self._scaled

    def scaled(self, vector: DeviceArray, factor: float, begins: DeviceArray | None = None) -> DeviceArray:
        """A vector of the weights' length times ``factor``, in memory that the next call overwrites.

        Args:
            begins: ``struct Averages``, where an average within a call begins.
        """
        copy = self.room_for_average()
        self._device.launch(
            self._scale,
            -(-vector.size // THREADS),
            *(vector, np.float32(factor), copy, np.int64(vector.size), begins),
        )
        return copy

    def gradient(self) -> np.ndarray:
        """The last step's gradient, before it was clipped: float32 [P]."""
        return self._gradient.numpy()

    def _draw_masks(self, step: int, part: int, parts: int) -> None:
        """Draw one of several parts of a step's masks: of a call's first step alone, of others beside other kernels."""
        plan, shape, device = self._plan, self._shape, self._device
        warps = plan.windows // 8 * (plan.units // 8) * -(-shape.rows // 2) * (shape.layers - 1)
        # Beside other kernels, about as many blocks as there is room for on an H100: more would keep those that follow
        # waiting.
        blocks = device.multiprocessors * (MASK_BLOCKS if step == 0 else MASK_BLOCKS_BESIDE)
        device.launch_grid(
            self._draw,
            (min(-(-warps // (MASK_THREADS // 32) // parts), blocks),),
            MASK_THREADS,
            0,
            *(self._call, np.int32(step), np.int32(shape.layers - 1), np.int32(shape.rows)),
            *(np.int32(plan.windows), np.int32(shape.units), np.uint32(self.forward.threshold)),
            *(np.int32(part), np.int32(parts), self._all_masks[step % 2]),
        )

    def _array_table(self, step: int) -> DeviceArray:
        """The packing's table with the parts of the gradients, for one step of a call."""
        padded = self._plan.units
        head = self._head_sums.pointer + 4 * step * self._head_blocks * head_sums(padded, self._shape)
        table = self._packing.table.copy()
        for number, one in enumerate(table):
            layer, which = divmod(number, 3)
            if layer == self._shape.layers:
                one["parts"], one["part_size"] = self._head_blocks, head_sums(padded, self._shape)
                one["gradients"] = head
                continue
            if which == 2:
                bias = self._backward.bias_parts[layer]
                one["parts"], one["part_size"], one["gradients"] = len(bias), 4 * padded, bias.pointer
                continue
            parts = self._backward.matrix_parts[layer, "wu"[which]]
            one["parts"], one["part_size"] = len(parts), 4 * padded * parts.shape[2]
            one["gradients"] = parts.pointer
        return self._device.to_device(table.view(np.uint8))


def head_sums(units: int, shape: Shape) -> int:
    """Numbers of a block's part of the dense gradient and the loss; SUMS of kernels/lstm_head.cu."""
    return shape.head.outputs * (units + 1) + 1


def early_kernels(plan: Plan, layers: int, optimizer: str) -> tuple[str, ...]:
    """Kernels of a step that may begin before the one in front of them has ended.

    Args:
        optimizer: its kernel.
    """
    together = EARLY_TOGETHER if plan.backward.layers == layers else ()
    return (*EARLY, *together, optimizer, f"{optimizer}_at_once")


def forward_pass(
    device: Device, plan: Plan, shape: Shape, weights: Weights, *, training: bool
) -> ForwardPass:
    """The forward pass by the kernels of the plan."""
    kind = WideForward if plan.wide else TileForward if plan.tiles else ChainForward
    return kind(device, plan, shape, weights, training=training)


def _passes(device: Device, plan: Plan, shape: Shape, weights: Weights) -> tuple[ForwardPass, BackwardPass]:
    forward = forward_pass(device, plan, shape, weights, training=True)
    if isinstance(forward, WideForward):
        return forward, WideBackward(forward)
    if isinstance(forward, TileForward):
        return forward, TileBackward(forward)
    assert isinstance(forward, ChainForward)
    return forward, ChainBackward(forward)


def call_bytes(
    inputs: int,
    targets: int,
    key: int,
    first: int,
    constants: list[Any],
    order: tuple[int, int, int] = (0, 0, 0),
) -> np.ndarray:
    """``struct Call`` of kernels/lstm_common.cuh.

    Args:
        inputs, targets: addresses.
        key, first: of the dropout masks.
        constants: the optimizer's, for each step.
        order: of windows that are cut within the call: address of its keys, position, length of a pass.
    """
    header = np.array([(inputs, targets, *order, key, first % 2**32)], HEADER)
    steps = np.zeros((len(constants), CONSTANTS), np.float32)
    for row, values in zip(steps, constants, strict=True):
        row[: len(values)] = values
    return np.concatenate([header.view(np.uint8), steps.reshape(-1).view(np.uint8)])
