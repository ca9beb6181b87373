"""TensorBoard event files with scalars and hyper-parameters, written without TensorBoard or TensorFlow.

A file is a sequence of TFRecords, each an ``Event`` protocol buffer as ``tf.summary.scalar`` writes it:
https://www.tensorflow.org/tutorials/load_data/tfrecord and
https://github.com/tensorflow/tensorboard/tree/master/tensorboard/compat/proto.
"""

from __future__ import annotations

import ctypes
import os
import struct
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

# Castagnoli's polynomial, its bits reversed.
CRC32C = 0x82F63B78
# Of protocol buffers: how a field is encoded.
VARINT, FIXED64, BYTES = 0, 1, 2
# Of types.proto and summary.proto.
DT_FLOAT, DATA_CLASS_SCALAR = 1, 1


class EventFile:
    """A new event file in a folder; TensorBoard shows all files of a folder as one run, in order of step.

    Args:
        folder: it is made if it is missing.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads files with "tfevents" in their names, sorted by name: the time comes first.
        name = f"events.out.tfevents.{int(time.time()):010d}.{os.uname().nodename}.{os.getpid()}"
        number = sum(1 for _ in folder.glob(f"{name}.*"))
        self._file = (folder / f"{name}.{number}.v2").open("xb")
        self._write(_field(3, "brain.Event:2"))

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Add one point of the curve ``tag``."""
        single = ctypes.c_float(value).value  # a number that is too large becomes infinite
        plugin = _field(1, "scalars")
        metadata = _field(1, plugin) + _field(4, DATA_CLASS_SCALAR)
        tensor = _field(1, DT_FLOAT) + _field(2, b"") + _field(5, struct.pack("<f", single))
        point = _field(1, tag) + _field(8, tensor) + _field(9, metadata)
        self._write(_field(2, step) + _field(5, _field(1, point)))

    def hyperparameters(self, values: Mapping[str, Any], group: str) -> None:
        """Add the settings of the run, by which TensorBoard's HParams tab compares runs.

        Args:
            values: numbers, truth values and texts by name; anything else is shown as text.
            group: the run's name.
        """
        settings = b"".join(
            _field(1, _field(1, name) + _field(2, _json_value(value))) for name, value in values.items()
        )
        start = settings + _field(4, group) + _key(5, FIXED64) + struct.pack("<d", time.time())
        plugin = _field(1, "hparams") + _field(2, _field(3, start))
        empty = _field(1, DT_FLOAT) + _field(2, _field(2, _field(1, 1))) + _field(5, struct.pack("<f", 0.0))
        point = _field(1, "_hparams_/session_start_info") + _field(8, empty) + _field(9, _field(1, plugin))
        self._write(_field(5, _field(1, point)))

    def flush(self) -> None:
        """Bring what was added to the disk."""
        self._file.flush()

    def close(self) -> None:
        """Write what is left."""
        self._file.close()

    def _write(self, fields: bytes) -> None:
        """Add an ``Event`` of the present time, as a TFRecord."""
        event = _key(1, FIXED64) + struct.pack("<d", time.time()) + fields
        length = struct.pack("<Q", len(event))
        self._file.write(length + _checksum(length) + event + _checksum(event))


def _field(number: int, value: int | str | bytes) -> bytes:
    """One field of a protocol buffer: a whole number of at least 0, a text, or a message."""
    if isinstance(value, int):
        return _key(number, VARINT) + _varint(value)
    content = value.encode() if isinstance(value, str) else value
    return _key(number, BYTES) + _varint(len(content)) + content


def _json_value(value: Any) -> bytes:
    """A ``google.protobuf.Value``."""
    if isinstance(value, bool):
        return _field(4, int(value))
    if isinstance(value, (int, float)):
        return _key(2, FIXED64) + struct.pack("<d", value)
    return _field(3, value if isinstance(value, str) else str(value))


def _key(number: int, encoding: int) -> bytes:
    return bytes([number << 3 | encoding])


def _varint(value: int) -> bytes:
    """A whole number in groups of 7 bits, the lowest first."""
    groups = []
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    return bytes([*groups, value])


def _checksum(content: bytes) -> bytes:
    """The masked CRC-32C of a TFRecord."""
    table, crc = _crc_table(), 0xFFFFFFFF
    for byte in content:
        crc = table[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    masked = (crc >> 15 | crc << 17) + 0xA282EAD8
    return struct.pack("<I", masked & 0xFFFFFFFF)


@cache
def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (CRC32C if byte & 1 else 0)
        table.append(byte)
    return tuple(table)
