"""DLPack capsules, checked with NumPy and TensorFlow on memory of the CPU."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from hpc_lstm.cuda import dlpack


class Lent:
    """An array as DLPack lends it."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack__(self, stream: object = None) -> object:
        address = self.array.__array_interface__["data"][0]
        return dlpack.make_capsule(self, address, self.array.shape, self.array.dtype, (dlpack.CPU, 0))

    def __dlpack_device__(self) -> tuple[int, int]:
        return (dlpack.CPU, 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64, np.uint8])
@pytest.mark.parametrize("shape", [(), (1,), (3, 4), (2, 0, 5), (2, 3, 4, 5)])
def test_numpy_reads_the_same_memory(shape: tuple[int, ...], dtype: type) -> None:
    array = (np.arange(np.prod(shape, dtype=int)) + 3).astype(dtype).reshape(shape)
    taken = np.from_dlpack(Lent(array))
    assert taken.shape == shape
    assert taken.dtype == dtype
    np.testing.assert_array_equal(taken, array)
    if array.size:
        assert np.shares_memory(taken, array)


def test_tensorflow_reads_the_same_memory_and_gives_it_back() -> None:
    import tensorflow as tf

    array = np.arange(4096, dtype=np.float32).reshape(64, 64)
    lent = Lent(array)
    gone = weakref.ref(lent)
    tensor = tf.experimental.dlpack.from_dlpack(lent.__dlpack__())
    found = dlpack.inspect_capsule(tf.experimental.dlpack.to_dlpack(tensor))
    assert found.address == array.__array_interface__["data"][0]
    assert (found.shape, found.dtype) == ((64, 64), np.float32)
    del lent
    gc.collect()
    assert gone() is not None, "the memory must live as long as the tensor"
    np.testing.assert_array_equal(tensor.numpy(), array)
    del tensor
    gc.collect()
    assert gone() is None


def test_a_capsule_that_nobody_takes_lets_go() -> None:
    lent = Lent(np.zeros(3, np.float32))
    gone = weakref.ref(lent)
    capsule = lent.__dlpack__()
    del lent
    gc.collect()
    assert gone() is not None
    del capsule
    gc.collect()
    assert gone() is None


def test_only_dense_arrays_of_known_types_are_taken() -> None:
    import tensorflow as tf

    dense = np.arange(12.0).reshape(3, 4)
    assert dlpack.inspect_capsule(dense.__dlpack__()).dtype == np.float64
    assert dlpack.inspect_capsule(dense[1:].__dlpack__()).address == dense.__array_interface__["data"][0] + 32
    with pytest.raises(TypeError, match="not contiguous"):
        dlpack.inspect_capsule(dense[:, 1:].__dlpack__())
    with pytest.raises(TypeError, match="not contiguous"):
        dlpack.inspect_capsule(dense.T.__dlpack__())
    with pytest.raises(TypeError, match="16 bits is not supported"):
        dlpack.inspect_capsule(tf.experimental.dlpack.to_dlpack(tf.zeros(3, tf.bfloat16)))
    assert dlpack.inspect_capsule(Lent(np.zeros((0, 3), np.float32)).__dlpack__()).shape == (0, 3)
