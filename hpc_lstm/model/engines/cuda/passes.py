"""What the passes over a network have in common, whichever kernels they launch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from hpc_lstm.cuda.device import THREADS, Device
from hpc_lstm.cuda.device_array import DeviceArray
from hpc_lstm.model.engines.cuda.plan import Plan
from hpc_lstm.model.engines.cuda.sources import Sources
from hpc_lstm.model.engines.cuda.weights import Shape, Weights

HEAD_WARPS = 8


class ForwardPass(ABC):
    """The way from windows to the last layer's outputs, for batches of one size.

    Attributes:
        x: the windows as the kernels read them.
        drops: whether outputs are dropped.
        threshold, keep: of dropout; see kernels/lstm_masks.cu and lstm_head.cu.
    """

    def __init__(self, device: Device, plan: Plan, shape: Shape, weights: Weights, *, training: bool) -> None:
        self.device, self.plan, self.shape, self.weights = device, plan, shape, weights
        self.drops = training and shape.dropout > 0
        self.threshold = int(np.float32(shape.dropout) * np.float32(2**24))
        self.keep = np.float32(1) / (np.float32(1) - np.float32(shape.dropout))
        self.sources = Sources(plan, shape.layers, shape.dropout > 0, shape.head)
        self.head_kernels = device.load(*self.sources.head)
        self.length = shape.rows * plan.windows
        self.x = device.empty((plan.parts * self.length * plan.width,), np.uint16, "a batch's inputs")

    def stage(self, given: DeviceArray | None, call: DeviceArray | None, step: int, batch: int) -> None:
        """Launch the bringing of windows into ``x``.

        Args:
            given: windows [batch, rows, features]; None: those of a step of ``call``, which may else be None.
            step: within the call.
            batch: windows that count, at most the plan's.
        """
        plan, shape, device = self.plan, self.shape, self.device
        device.launch(
            self.head_kernels.get_function("stage_inputs"),
            max(1, min(device.multiprocessors * 8, self.length * plan.width // 2 // THREADS)),
            *(given, call, np.int32(step), self.x, np.int32(batch), np.int32(plan.windows)),
            *(np.int32(shape.rows), np.int32(shape.features), np.int32(plan.width)),
        )

    @abstractmethod
    def run_layers(self, masks: list[DeviceArray] | None) -> None:
        """Launch all layers on what ``x`` holds.

        Args:
            masks: of dropout, of all layers but the last; None: no dropout.
        """

    @property
    @abstractmethod
    def outputs(self) -> DeviceArray:
        """The last layer's outputs, after a row of zeros."""

    def last_output(self) -> tuple[np.uint64, np.int64]:
        """Address of the last layer's outputs at the last row, and numbers of a plane."""
        units, windows = self.plan.units, self.plan.windows
        at = self.outputs.pointer + 2 * self.length * units
        return np.uint64(at), np.int64((self.length + windows) * units)

    def forecast(self, given: DeviceArray, out: np.uint64, batch: int) -> None:
        """Launch the outputs of windows [batch, rows, features], into float32 [batch, O] at an address."""
        self.stage(given, None, 0, batch)
        self.run_layers(None)
        self.device.launch(
            self.head_kernels.get_function("forecast"),
            -(-batch // HEAD_WARPS),
            *(*self.last_output(), self.weights.dense, out, np.int32(batch)),
        )


class BackwardPass(Protocol):
    """The way back, to the parts of all gradients.

    Attributes:
        bias_parts: of each layer, float32 [parts, 4 units].
        matrix_parts: of each layer's "w" and "u", float32 [parts, 4 units, width].
    """

    bias_parts: list[DeviceArray]
    matrix_parts: dict[tuple[int, str], DeviceArray]

    def run(self, last: DeviceArray, masks: list[DeviceArray], beside: Callable[[int, int], None]) -> None:
        """Launch the backward pass.

        Args:
            last: gradient of the last layer's outputs at the last row, float32 [windows, units].
            masks: of dropout, as in the forward pass; empty: no dropout.
            beside: launches other work, of which it is given the part and the number of parts, beside the kernel that
                is launched next.
        """


def masks_of(masks: list[DeviceArray] | None, layer: int) -> tuple[DeviceArray | None, np.int64]:
    """The masks of a layer, and the words from there to the next layer's; nothing where it drops no outputs."""
    return (
        (masks[layer], np.int64(masks[layer].size)) if masks and layer < len(masks) else (None, np.int64(0))
    )


def row_of(table: DeviceArray, layer: int) -> np.uint64:
    """The address of a layer's row of a ``pointer_table``."""
    return np.uint64(table.pointer + layer * table.shape[1] * 8)


def pointer_table(device: Device, rows: Sequence[Sequence[DeviceArray | None]]) -> DeviceArray:
    """``struct Layer`` of a kernel for each layer, of pointers alone."""
    pointers = [[one.pointer if one is not None else 0 for one in row] for row in rows]
    return device.to_device(np.array(pointers, np.uint64))
