"""Cutting the batches of a call within its graph, by kernels/lstm_gather.cu."""

from __future__ import annotations

import weakref

import numpy as np

from hpc_lstm.cuda.device import THREADS, Device
from hpc_lstm.cuda.device_array import DeviceArray
from hpc_lstm.model.engines.cuda.passes import ForwardPass
from hpc_lstm.parallel.averages_within import Recorded
from hpc_lstm.preprocess.cuda_kernels import Resident

# Of kernels/lstm_gather.cu; blocks on a multiprocessor, if there are rows enough.
ROWS_AHEAD, BLOCKS = 4, 8


class Gather:
    """The kernels that cut a call's windows from rows on the GPU.

    Args:
        resident: the rows, which are freed all the same when nobody else keeps them.
        call: ``struct Call`` in GPU memory.
        steps: the most steps of a call.

    Attributes:
        targets: of the call's windows, float32 [steps, B, targets].
        graphs: calls that were recorded with these rows, by their steps.
    """

    def __init__(
        self, device: Device, forward: ForwardPass, resident: Resident, call: DeviceArray, steps: int
    ) -> None:
        self._device, self._forward, self._call = device, forward, call
        self._resident = weakref.proxy(resident)
        self.graphs: dict[int, Recorded] = {}
        kernels = device.load(*forward.sources.gather)
        self._draw = kernels.get_function("draw_windows")
        self._gather = kernels.get_function("gather_inputs")
        shape = forward.shape
        count = steps * shape.batch
        self._starts = device.empty((count,), np.int64)
        self._segments = device.empty((count,), np.int32)
        self.targets = device.empty((count * shape.head.targets,), np.float32, "the targets of a call")

    def draw(self, steps: int) -> None:
        """Launch the drawing of the windows of all steps of a call."""
        rows, count = self._resident, steps * self._forward.shape.batch
        columns = rows.rows.shape[1]
        self._device.launch(
            self._draw,
            -(-count // THREADS),
            *(self._call, np.int64(count), rows.rows, np.int32(columns)),
            *(np.int32(columns - len(rows.places)), rows.places, np.int32(rows.tail)),
            *(rows.edges, np.int64(len(rows.edges) - 1), rows.scale, rows.shift),
            *(self._starts, self._segments, self.targets),
        )

    def inputs(self, step: int) -> None:
        """Launch the cutting of a step's windows, into what the forward pass reads."""
        plan, shape, rows, device = self._forward.plan, self._forward.shape, self._resident, self._device
        across = -(-plan.windows * (plan.width // 2) // THREADS)
        share = -(-shape.rows * across // (BLOCKS * device.multiprocessors))
        share = -(-share // ROWS_AHEAD) * ROWS_AHEAD
        first = step * shape.batch
        device.launch_grid(
            self._gather,
            (across, -(-shape.rows // share)),
            THREADS,
            0,
            *(rows.rows, np.int32(rows.rows.shape[1]), rows.scale, rows.shift),
            *(self._starts.part(first, shape.batch), self._segments.part(first, shape.batch)),
            *(self._forward.x, np.int32(shape.batch), np.int32(plan.windows), np.int32(shape.rows)),
            *(np.int32(shape.features), np.int32(plan.width), np.int32(share)),
        )
