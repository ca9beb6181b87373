"""The weights that training begins with, the same for every engine."""

from __future__ import annotations

import math

import numpy as np

from hpc_lstm.model.parameters import Schema


def initial_weights(schema: Schema, seed: int) -> np.ndarray:
    """The weights before the first step, float32 [P]; they depend on shapes and ``seed`` alone.

    Distributions are those of Keras: kernels uniform (Glorot and Bengio 2010), recurrent kernels orthogonal (Saxe et
    al. 2014), biases 0 but for 1 at the forget gates (Jozefowicz et al. 2015).
    """
    arrays = []
    seeds = np.random.SeedSequence(seed).spawn(len(schema.names))
    for name, shape, own_seed in zip(schema.names, schema.shapes, seeds, strict=True):
        generator = np.random.default_rng(own_seed)
        if len(shape) == 1:
            arrays.append(_bias(shape[0], lstm=name != "dense/bias"))
        elif name.endswith("recurrent_kernel"):
            arrays.append(_orthogonal(shape, generator))
        else:
            limit = math.sqrt(6 / sum(shape))
            arrays.append(generator.uniform(-limit, limit, shape).astype(np.float32))
    return schema.flatten(arrays)


def _bias(length: int, *, lstm: bool) -> np.ndarray:
    bias = np.zeros(length, np.float32)
    if lstm:
        bias[length // 4 : length // 2] = 1
    return bias


def _orthogonal(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Orthonormal rows [n, m], m >= n, distributed evenly over all such matrices."""
    q, r = np.linalg.qr(generator.normal(size=shape[::-1]))
    return (q * np.sign(np.diag(r))).T.astype(np.float32)
