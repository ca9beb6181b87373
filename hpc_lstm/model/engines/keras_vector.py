"""A weight vector of TensorFlow's that stays in GPU memory while it is averaged."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

from hpc_lstm.cuda import dlpack
from hpc_lstm.parallel.work import Done


class KerasScaledCopy:
    """A copy of a vector in GPU memory, to be changed in place by its address.

    Attributes:
        address: of its first number.
        length: numbers, float32.
    """

    def __init__(self, tensor: Any) -> None:
        import tensorflow as tf

        self.tensor = tensor
        # Asking for the capsule waits until TensorFlow has written the tensor; the capsule keeps it in place.
        # By the function: a tensor has no ``__dlpack__`` of its own before TensorFlow 2.20.
        self._capsule = tf.experimental.dlpack.to_dlpack(tensor)
        self.address, self.length = dlpack.inspect_capsule(self._capsule).address, int(tensor.shape[0])

    def wait(self) -> None:
        """It is written."""


class KerasVector:
    """One flat float32 variable of TensorFlow's, which does not expose its stream."""

    stream: ClassVar[None] = None

    def __init__(self, variable: Any) -> None:
        self._variable = variable

    def scaled(self, share: float) -> KerasScaledCopy:
        """The vector times ``share``, in memory of its own."""
        return KerasScaledCopy(self._variable.read_value() * share)

    def assign(self, copy: KerasScaledCopy) -> Done:
        """Take what ``copy`` holds now; whoever wrote it has finished."""
        self._variable.assign(copy.tensor)
        return Done()

    def current(self) -> AbstractContextManager[None]:
        """TensorFlow keeps the GPU current."""
        return nullcontext()
