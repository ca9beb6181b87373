"""The Keras engine on the GPU against the Keras layers on the CPU: forecasts, gradients and loss curves."""

from __future__ import annotations

import subprocess
import sys

import pytest
from visible_gpus import child_environment

PROGRAM = """
import sys
import numpy as np
from hpc_lstm import config as configuration
from hpc_lstm.parallel import gpu
from hpc_lstm.parallel.world import World
precision = sys.argv[1]
world = World()
own_gpu = gpu.assign_gpu(world)
config = configuration.parse(
    {
        "data": {"store": "none.h5", "window": 20, "features": ["open", "close", "volume"], "target": "close"},
        "model": {"layers": 2, "units": 32, "dropout": 0.0},
        "train": {"batch_size": 64, "precision": precision, "engine": "keras"},
    },
    "test",
)
from hpc_lstm.model import network
from hpc_lstm.model.engines import registry as engine
import tensorflow as tf
if precision == "float32":
    tf.config.experimental.enable_tensor_float_32_execution(False)
ours = engine.create_engine(config)
flat = ours.parameters()
generator = np.random.default_rng(0)
x = generator.normal(size=(64, 20, 3)).astype(np.float32)
y = x[:, -3:, 0].sum(1, keepdims=True)
keras_model = network.build_network(config.model, 20, 3, 0)
arrays = ours.schema.unflatten(flat)
with tf.device("CPU:0"):
    for variable, array in zip(keras_model.trainable_variables, arrays):
        variable.assign(array)
    with tf.GradientTape() as tape:
        wanted = keras_model(tf.constant(x))
        loss = tf.reduce_mean(tf.square(wanted - y))
    gradients = tape.gradient(loss, keras_model.trainable_variables)
wanted_gradient = ours.schema.flatten([g.numpy() for g in gradients])
tolerance = 1e-4 if precision == "float32" else 5e-2
found = ours.predict(x)
error = np.abs(found - wanted.numpy()).max() / np.abs(wanted.numpy()).max()
print("forecast", error)
assert error < tolerance, error
_, gradient = ours._forward.loss(
    *(tf.constant(flat), tf.constant(x), tf.constant(y, tf.float32), None, ours._head.loss)
)
error = np.linalg.norm(gradient.numpy() - wanted_gradient) / np.linalg.norm(wanted_gradient)
print("gradient", error)
assert error < tolerance, error
losses = [float(ours.step(x[None], y[None].astype(np.float32), 1e-2)) for _ in range(200)]
print("losses", losses[0], losses[-1])
assert losses[-1] < 0.05 * losses[0], losses
print("all well")
"""


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_engine_on_the_gpu_computes_what_keras_does(precision: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, precision], capture_output=True, text=True, env=child_environment()
    )
    assert "all well" in done.stdout, done.stdout + done.stderr[-3000:]
