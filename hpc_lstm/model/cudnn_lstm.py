"""An LSTM layer as one call of cuDNN."""

from __future__ import annotations

from typing import Any


def available(tf: Any) -> bool:
    """True if this TensorFlow sees a GPU that cuDNN drives."""
    return bool(tf.config.list_physical_devices("GPU")) and not tf.sysconfig.get_build_info().get(
        "is_rocm_build"
    )


def cudnn_lstm(tf: Any, values: Any, kernel: Any, recurrent: Any, bias: Any) -> Any:
    """Hidden states [T, B, U] of an LSTM from zero states, in the type of ``values``.

    Keras passes cuDNN the length of every row of the batch, which keeps it from its faster ways, and in bfloat16
    mixes types that the operation refuses (Keras 3.15); here all rows are of one length, and of one type.

    Args:
        values: [T, B, I], float32 or bfloat16; B is static.
        kernel, recurrent, bias: [I, 4U], [U, 4U], [4U]; gates in the order input, forget, cell, output, as in Keras.
    """
    kernel, recurrent, bias = (tf.cast(one, values.dtype) for one in (kernel, recurrent, bias))
    batch, units = values.shape[1], bias.shape[0] // 4
    start = tf.zeros([1, batch, units], values.dtype)
    matrices = [tf.reshape(tf.transpose(one), [-1]) for one in (kernel, recurrent)]
    # cuDNN has a bias of the inputs and one of the states, of which the sum counts.
    weights = tf.concat([*matrices, tf.zeros_like(bias), bias], 0)
    return tf.raw_ops.CudnnRNNV2(
        input=values, input_h=start, input_c=start, params=weights, rnn_mode="lstm", is_training=True
    ).output
