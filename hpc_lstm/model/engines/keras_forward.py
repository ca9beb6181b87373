"""The forward pass of a Keras network, as a function of a flat weight vector."""

from __future__ import annotations

from typing import Any

from hpc_lstm.model.losses.loss import Loss
from hpc_lstm.model.parameters import Schema

# Windows below which a part of a batch is not worth a thread of its own.
LEAST_PART = 8


class Forward:
    """Computes a stack of layers from the flat vector of their weights.

    On CPUs in float32 an LSTM layer is one TensorFlow operation that loops over time in C++ (``BlockLSTMV2``)
    in place of several per row of the window, and the batch is cut into parts that run side by side. It is the
    same mathematics as the Keras layer's, to rounding. On GPUs, where Keras calls cuDNN, and in bfloat16, which
    that operation lacks, the Keras layer itself is used; in bfloat16 without cuDNN, whose gradient of an LSTM was
    wrong there (TensorFlow 2.21 on an H100).

    Args:
        tf: the module ``tensorflow``, started.
        model: a ``keras.Sequential``.
        schema: of its trainable variables.
        threads: parts that may run side by side.
    """

    def __init__(self, tf: Any, model: Any, schema: Schema, threads: int) -> None:
        import keras

        self._tf, self._schema = tf, schema
        on_gpu = bool(tf.config.list_physical_devices("GPU"))
        self._threads = 1 if on_gpu else threads
        self._layers: list[tuple[str, Any]] = []
        for layer in model.layers:
            if isinstance(layer, keras.layers.Dropout):
                self._layers.append(("dropout", layer))
            elif isinstance(layer, keras.layers.LSTM) and layer.compute_dtype == "float32" and not on_gpu:
                self._layers.append(("block lstm", layer))
            else:
                if isinstance(layer, keras.layers.LSTM) and layer.compute_dtype != "float32":
                    layer.use_cudnn = False
                self._layers.append(("keras", layer))

    def __call__(self, flat: Any, inputs: Any, dropout_seed: Any = None) -> Any:
        """Outputs [B, O] of windows [B, T, F], B being static.

        Args:
            flat: weights [P].
            dropout_seed: int64 [2] that the dropout masks depend on; None: no dropout.
        """
        tf = self._tf
        outputs = [
            self._part(flat, values, self._stream(dropout_seed, number))
            for number, values in enumerate(tf.split(inputs, self._sizes(inputs)))
        ]
        return tf.concat(outputs, 0)

    def loss(self, flat: Any, inputs: Any, targets: Any, dropout_seed: Any, loss: Loss) -> tuple[Any, Any]:
        """The mean loss of a batch, and its gradient [P].

        Args:
            targets: [B, K].
            loss: of each target.
            flat, inputs, dropout_seed: as above.
        """
        tf = self._tf
        with tf.GradientTape() as tape:
            tape.watch(flat)
            outputs = tf.reshape(self(flat, inputs, dropout_seed), (*targets.shape, loss.outputs))
            mean = tf.reduce_mean(loss.values(tf, outputs, targets))
        return mean, tape.gradient(mean, flat)

    def _sizes(self, inputs: Any) -> list[int]:
        """Windows of each part."""
        size = int(inputs.shape[0])
        parts = max(1, min(self._threads, size // LEAST_PART))
        return [(i + 1) * size // parts - i * size // parts for i in range(parts)]

    def _stream(self, dropout_seed: Any, part: int) -> Any:
        """A stream of random numbers of its own for every part; the engine's seed differs by rank and step."""
        if dropout_seed is None:
            return None
        return dropout_seed + self._tf.constant([0, (part * len(self._layers)) << 40], self._tf.int64)

    def _part(self, flat: Any, values: Any, dropout_seed: Any) -> Any:
        tf = self._tf
        weights = [
            tf.reshape(array, shape)
            for array, shape in zip(tf.split(flat, self._schema.sizes), self._schema.shapes, strict=True)
        ]
        at = 0
        for number, (kind, layer) in enumerate(self._layers):
            count = len(layer.trainable_variables)
            own, at = weights[at : at + count], at + count
            if kind == "block lstm":
                hidden = block_lstm(tf, tf.transpose(values, [1, 0, 2]), *own)
                values = tf.transpose(hidden, [1, 0, 2]) if layer.return_sequences else hidden[-1]
            elif kind == "keras":
                others = [v.value for v in layer.non_trainable_variables]
                values, _ = layer.stateless_call(own, others, values)
            elif dropout_seed is not None and layer.rate > 0:
                stream = tf.constant([0, number << 40], tf.int64)  # and of its own for every layer
                values = tf.nn.experimental.stateless_dropout(
                    values, layer.rate, dropout_seed + stream, rng_alg="philox"
                )
        return values


def block_lstm(tf: Any, values: Any, kernel: Any, recurrent: Any, bias: Any) -> Any:
    """Hidden states [T, B, U] of an LSTM from zero states, by one operation each way.

    Gates lie in the order input, forget, cell, output, as in Keras. The gradient is given here because the
    one that TensorFlow (to 2.21 at least) registers for ``BlockLSTMV2`` is that of ``BlockLSTM``, whose gates
    lie in another order: it is wrong without an error.

    Args:
        values: [T, B, I].
        kernel, recurrent, bias: [I, 4U], [U, 4U], [4U].
    """
    rows, batch, _ = values.shape
    units = bias.shape[0] // 4
    start, no_peephole = tf.zeros([batch, units]), tf.zeros([units])
    same = {
        "seq_len_max": tf.constant(rows, tf.int64),
        "cs_prev": start,
        "h_prev": start,
        "wci": no_peephole,
        "wcf": no_peephole,
        "wco": no_peephole,
        "use_peephole": False,
    }

    @tf.custom_gradient
    def apply(x: Any, w: Any, b: Any) -> tuple[Any, Any]:
        forward = tf.raw_ops.BlockLSTMV2(x=x, w=w, b=b, cell_clip=0.0, **same)

        def gradient(upstream: Any) -> tuple[Any, Any, Any]:
            backward = tf.raw_ops.BlockLSTMGradV2(
                x=x, w=w, b=b, cs_grad=tf.zeros_like(upstream), h_grad=upstream, **forward._asdict(), **same
            )
            return backward.x_grad, backward.w_grad, backward.b_grad

        return forward.h, gradient

    return apply(values, tf.concat([kernel, recurrent], 0), bias)
