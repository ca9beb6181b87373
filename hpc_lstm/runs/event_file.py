"""TensorBoard event files with scalars, written without TensorFlow.

Records and summaries are what ``tf.summary.scalar`` writes; the formats are those of tensorboard's protocol buffers
(https://github.com/tensorflow/tensorboard/tree/master/tensorboard/compat/proto).
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path


class EventFile:
    """A new event file in a folder; TensorBoard shows all files of a folder as one run, in order of step.

    Args:
        folder: it is made if it is missing.
    """

    def __init__(self, folder: Path) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads files with "tfevents" in their names, sorted by name: the time comes first.
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}"
        number = sum(1 for _ in folder.glob(f"{name}.*"))
        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        self._metadata = summary_pb2.SummaryMetadata(
            plugin_data=summary_pb2.SummaryMetadata.PluginData(plugin_name="scalars"),
            data_class=summary_pb2.DATA_CLASS_SCALAR,
        )
        self._file = (folder / f"{name}.{number}.v2").open("xb")
        self._records = RecordWriter(self._file)
        self._write(file_version="brain.Event:2")

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Add one point of the curve ``tag``."""
        from tensorboard.compat.proto import tensor_pb2, tensor_shape_pb2, types_pb2

        no_axes = tensor_shape_pb2.TensorShapeProto()
        tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[value], tensor_shape=no_axes)
        point = self._summary.Value(tag=tag, tensor=tensor, metadata=self._metadata)
        self._write(step=step, summary=self._summary(value=[point]))

    def flush(self) -> None:
        """Bring what was added to the disk."""
        self._file.flush()

    def close(self) -> None:
        """Write what is left."""
        self._file.close()

    def _write(self, **fields: object) -> None:
        event = self._event(wall_time=time.time(), **fields)
        self._records.write(event.SerializeToString())
