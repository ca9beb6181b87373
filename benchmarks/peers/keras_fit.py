"""Bare ``keras.fit``: one process on all cores, or on one GPU, that takes the batches of all ranks as one."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf
from worker import Job, serve


class KerasFit:
    rank = 0

    def __init__(self, folder: Path, ranks: int, threads: str) -> None:
        self.job = Job(folder, 1)
        self.ranks = ranks
        if threads == "one_an_operation":
            # Each operation on one thread, several operations side by side; the other way is TensorFlow's own.
            tf.config.threading.set_intra_op_parallelism_threads(1)
            tf.config.threading.set_inter_op_parallelism_threads(self.job.threads)
        for device in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(device, True)
        self.x, self.y = self.job.array("train_x"), self.job.array("train_y")
        self.validation = self.job.array("validation_x"), self.job.array("validation_y")

    def describe(self) -> dict[str, Any]:
        return {
            "versions": {"tensorflow": tf.__version__, "keras": keras.__version__},
            "threads": [tf.config.threading.get_intra_op_parallelism_threads() or "all"],
        }

    def prepare(self, batch: int, options: dict[str, Any]) -> None:
        job, self.batch = self.job, batch * self.ranks
        self.model = keras.Sequential(
            [
                keras.Input(self.x.shape[1:]),
                keras.layers.LSTM(job.units, return_sequences=True),
                keras.layers.Dropout(job.dropout),
                keras.layers.LSTM(job.units),
                keras.layers.Dropout(job.dropout),
                keras.layers.Dense(1),
            ]
        )
        self.model.compile(
            keras.optimizers.Adam(job.rate),
            "mse",
            steps_per_execution=options["steps_per_execution"],
            jit_compile=options["jit"],
        )
        self.model.optimizer.build(self.model.trainable_variables)
        self.untouched = [np.array(v.value) for v in self.model.optimizer.variables]

    def reset(self) -> None:
        for variable, value in zip(self.model.trainable_variables, self.job.weights(), strict=True):
            variable.assign(value)
        for variable, value in zip(self.model.optimizer.variables, self.untouched, strict=True):
            variable.assign(value)

    def barrier(self) -> None:
        """One process."""

    def train(self, steps: int) -> None:
        n, size = steps * self.batch, len(self.x) // self.batch * self.batch
        passes, rest = divmod(n, size)
        if passes:
            self.model.fit(self.x[:size], self.y[:size], self.batch, epochs=passes, shuffle=False, verbose=0)
        if rest:
            self.model.fit(self.x[:rest], self.y[:rest], self.batch, shuffle=False, verbose=0)

    def validation_loss(self) -> float:
        x, y = self.validation
        return float(np.mean(np.square(self.model.predict(x, 1024, verbose=0) - y, dtype=np.float64)))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    serve(KerasFit(folder.parent, int(sys.argv[2]), sys.argv[3]), folder)
