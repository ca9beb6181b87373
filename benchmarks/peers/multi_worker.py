"""``tf.distribute.MultiWorkerMirroredStrategy`` with tf_keras (Keras 2), whose ``fit`` knows it; Keras 3's does not.

``fit`` with several steps an execution, or a compiled loop over ``strategy.run`` written by hand.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import tensorflow as tf
import tf_keras
from worker import Job, serve


class MultiWorker:
    def __init__(self, folder: Path, ranks: int, threads: str) -> None:
        self.job, self.rank = Job(folder, ranks), int(os.environ["RANK"])
        if threads == "one_an_operation":
            tf.config.threading.set_intra_op_parallelism_threads(1)
            tf.config.threading.set_inter_op_parallelism_threads(2)
        workers = [f"127.0.0.1:{int(os.environ['MASTER_PORT']) + i}" for i in range(ranks)]
        os.environ["TF_CONFIG"] = json.dumps(
            {"cluster": {"worker": workers}, "task": {"type": "worker", "index": self.rank}}
        )
        how = tf.distribute.experimental.CommunicationImplementation
        options = tf.distribute.experimental.CommunicationOptions(
            implementation=how.NCCL if self.job.gpu else how.RING
        )
        self.strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
        self.validation = self.job.array("validation_x"), self.job.array("validation_y")

    def describe(self) -> dict[str, Any]:
        return {
            "versions": {"tensorflow": tf.__version__, "tf_keras": tf_keras.__version__},
            "threads": [tf.config.threading.get_intra_op_parallelism_threads() or "all"],
        }

    def prepare(self, batch: int, options: dict[str, Any]) -> None:
        job, self.options = self.job, options
        x, y = job.share("train_x", self.rank, batch), job.share("train_y", self.rank, batch)
        self.steps = len(x)
        with self.strategy.scope():
            self.model = tf_keras.Sequential(
                [
                    tf_keras.Input(x.shape[2:]),
                    tf_keras.layers.LSTM(job.units, return_sequences=True),
                    tf_keras.layers.Dropout(job.dropout),
                    tf_keras.layers.LSTM(job.units),
                    tf_keras.layers.Dropout(job.dropout),
                    tf_keras.layers.Dense(1),
                ]
            )
            optimizer = tf_keras.optimizers.Adam(job.rate)
            self.model.compile(optimizer, "mse", steps_per_execution=options["steps_per_execution"])
            optimizer.build(self.model.trainable_variables)
        self.optimizer = optimizer
        self.untouched = [v.numpy() for v in optimizer.variables]
        off = tf.data.Options()
        off.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        # Batches lie in memory as this rank takes them; fit is told a global batch, which is all ranks'.
        batches = tf.data.Dataset.from_tensor_slices((x, y)).with_options(off).repeat().prefetch(4)
        self.batches = batches if options["loop"] else self.strategy.experimental_distribute_dataset(batches)
        self.x, self.y = (tf.constant(x), tf.constant(y)) if options["loop"] else (None, None)
        self.loop = tf.function(self._steps, autograph=False)

    def _steps(self, first: Any, count: Any) -> Any:
        """``count`` steps from ``first`` on, in one call."""

        def step(x: Any, y: Any) -> Any:
            with tf.GradientTape() as tape:
                # The mean over all ranks' windows: each rank gives its share, and gradients are added up.
                loss = tf.reduce_mean(tf.square(self.model(x, training=True) - y)) / self.job.ranks
            variables = self.model.trainable_variables
            self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
            return loss

        def body(number: Any) -> tuple[Any]:
            at = number % self.steps
            self.strategy.run(step, (self.x[at], self.y[at]))
            return (number + 1,)

        return tf.while_loop(lambda n: n < first + count, body, (first,), parallel_iterations=1)

    def reset(self) -> None:
        self.model.set_weights(self.job.weights())
        for variable, value in zip(self.optimizer.variables, self.untouched, strict=True):
            variable.assign(value)

    def barrier(self) -> None:
        self.strategy.reduce("SUM", self.strategy.run(lambda: tf.constant(1.0)), axis=None)

    def train(self, steps: int) -> None:
        if self.options["loop"]:
            together = self.options["steps_per_execution"]
            for first in range(0, steps, together):
                done = self.loop(tf.constant(first), tf.constant(min(together, steps - first)))
            done[0].numpy()
        else:
            self.model.fit(self.batches, steps_per_epoch=steps, epochs=1, verbose=0)

    def validation_loss(self) -> float:
        x, y = self.validation
        parts = [np.asarray(self.model(x[i : i + 1024], training=False)) for i in range(0, len(x), 1024)]
        return float(np.mean(np.square(np.concatenate(parts) - y, dtype=np.float64)))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    serve(MultiWorker(folder.parent, int(sys.argv[2]), sys.argv[3]), folder)
