"""An LSTM layer that XLA compiles well: for small batches on CPUs, where single operations cost more than arithmetic.

What does not depend on the step before is one matrix product over all steps: the inputs' part of the gates, and both
weights' gradients after the backward scan. The scans hold one product and one pass over the gates a step. The cell's
gate is a sigmoid, too, by tanh(x) = 2 sigmoid(2x) - 1, so that all four gates are computed alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def scanned_lstm(tf: Any, values: Any, kernel: Any, recurrent: Any, bias: Any) -> Any:
    """Hidden states [T, B, U] of an LSTM from zero states; gates as in Keras.

    Args:
        values: [T, B, I], of static shape.
        kernel: [I, 4U].
        recurrent: [U, 4U].
        bias: [4U].
    """
    rows, batch, width = values.shape
    units = bias.shape[0] // 4
    # Of the cell's gate (the third), sigmoid takes twice the sum.
    factor = tf.constant(np.repeat(np.array([1, 1, 2, 1], np.float32), units))
    zero = tf.zeros([batch, units])

    def gates_of(stacked: Any) -> list[Any]:
        return [stacked[:, number * units : (number + 1) * units] for number in range(4)]

    def steps(columns: int) -> Any:
        return tf.TensorArray(tf.float32, rows, element_shape=[batch, columns])

    @tf.custom_gradient
    def apply(x: Any, w: Any, r: Any, b: Any) -> tuple[Any, Any]:
        scaled = r * factor
        sums = tf.reshape(
            tf.matmul(tf.reshape(x, [-1, width]), w * factor) + b * factor, [rows, batch, 4 * units]
        )

        def forward(t: Any, h: Any, c: Any, gates: Any, cells: Any, hidden: Any) -> tuple[Any, ...]:
            opened = tf.sigmoid(sums[t] + tf.matmul(h, scaled))
            i, f, n, o = gates_of(opened)
            c = f * c + i * (2.0 * n - 1.0)
            h = o * tf.tanh(c)
            return t + 1, h, c, gates.write(t, opened), cells.write(t, c), hidden.write(t, h)

        start = (0, zero, zero, steps(4 * units), steps(units), steps(units))
        *_, gates, cells, hidden = tf.while_loop(
            lambda t, *_: t < rows, forward, start, maximum_iterations=rows
        )
        gates, cells, hidden = gates.stack(), cells.stack(), hidden.stack()

        def gradient(upstream: Any) -> tuple[Any, ...]:
            transposed = tf.transpose(scaled)
            before = tf.concat([zero[None], cells[:-1]], 0)

            def backward(number: Any, dh: Any, dc: Any, changes: Any) -> tuple[Any, ...]:
                t = rows - 1 - number
                i, f, n, o = gates_of(gates[t])
                turned = tf.tanh(cells[t])
                dh += upstream[t]
                dc += dh * o * (1.0 - turned * turned)
                open_by = tf.concat([dc * (2.0 * n - 1.0), dc * before[t], 2.0 * dc * i, dh * turned], 1)
                change = open_by * gates[t] * (1.0 - gates[t])
                return number + 1, tf.matmul(change, transposed), dc * f, changes.write(t, change)

            start = (0, zero, zero, steps(4 * units))
            *_, changes = tf.while_loop(
                lambda number, *_: number < rows, backward, start, maximum_iterations=rows
            )
            change = tf.reshape(changes.stack(), [-1, 4 * units])
            inputs, states = tf.reshape(x, [-1, width]), tf.reshape(hidden[:-1], [-1, units])
            return (
                tf.reshape(tf.matmul(change, w * factor, transpose_b=True), [rows, batch, width]),
                tf.matmul(inputs, change, transpose_a=True) * factor,
                tf.matmul(states, change[batch:], transpose_a=True) * factor,
                tf.reduce_sum(change, 0) * factor,
            )

        return hidden, gradient

    return apply(values, kernel, recurrent, bias)
