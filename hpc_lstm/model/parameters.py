"""The weights of the network as one flat float32 vector in a fixed order.

The order is that of the network's layers, each in the order of Keras:

    lstm_1/kernel [F, 4U], lstm_1/recurrent_kernel [U, 4U], lstm_1/bias [4U], lstm_2/..., ...,
    dense/kernel [U, O], dense/bias [O]

The 4U columns are the gates input, forget, cell, output; the O outputs those of the loss for the first target at the
first horizon, then at the next, then for the next target. Each array lies in row-major order. Averages,
checkpoints and rounds handle this vector alone.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hpc_lstm.config import ModelConfig


@dataclass(frozen=True)
class Schema:
    """Names and shapes of the arrays in the vector, in order.

    Attributes:
        names: such as "lstm_1/kernel"; unique.
        shapes: of the same arrays.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Numbers in each array."""
        return tuple(math.prod(shape) for shape in self.shapes)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """Where each array starts in the vector; one more, the last, is the vector's length."""
        return tuple(sum(self.sizes[:i]) for i in range(len(self.sizes) + 1))

    @property
    def length(self) -> int:
        """Numbers in the vector."""
        return self.offsets[-1]

    def flatten(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """One float32 vector [length] from arrays of the schema's shapes.

        Raises:
            ValueError: the arrays have other shapes.
        """
        shapes = tuple(np.shape(a) for a in arrays)
        if shapes != self.shapes:
            raise ValueError(f"arrays of shapes {shapes} where the schema has {self.shapes}")
        flat = np.empty(self.length, np.float32)
        for array, start, stop in zip(arrays, self.offsets, self.offsets[1:], strict=False):
            flat[start:stop] = np.reshape(array, -1)
        return flat

    def unflatten(self, flat: np.ndarray) -> list[np.ndarray]:
        """Views into the vector [length], of the schema's shapes.

        Raises:
            ValueError: the vector has another length.
        """
        if flat.shape != (self.length,):
            raise ValueError(f"a vector of shape {flat.shape} where the schema has [{self.length}]")
        pairs = zip(self.offsets, self.offsets[1:], self.shapes, strict=False)
        return [flat[start:stop].reshape(shape) for start, stop, shape in pairs]

    def digest(self) -> str:
        """SHA-256, in hex, of names, shapes and number type: equal where vectors mean the same."""
        description = {
            "dtype": "float32",
            "arrays": [[n, list(s)] for n, s in zip(self.names, self.shapes, strict=True)],
        }
        return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()


def network_schema(config: ModelConfig, features: int, outputs: int = 1) -> Schema:
    """The vector of the network that ``config`` describes.

    Args:
        features: columns of its input.
        outputs: numbers that it gives, O.
    """
    arrays: list[tuple[str, tuple[int, ...]]] = []
    width = features
    for layer in range(1, config.layers + 1):
        name = f"lstm_{layer}"
        arrays.append((f"{name}/kernel", (width, 4 * config.units)))
        arrays.append((f"{name}/recurrent_kernel", (config.units, 4 * config.units)))
        arrays.append((f"{name}/bias", (4 * config.units,)))
        width = config.units
    arrays += [("dense/kernel", (width, outputs)), ("dense/bias", (outputs,))]
    names, shapes = zip(*arrays, strict=True)
    return Schema(names, shapes)
