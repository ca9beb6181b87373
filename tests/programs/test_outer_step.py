"""What clusters make of their weights, against plain formulas, and the numbers that they send."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hpc_lstm.clusters import outer_step
from hpc_lstm.clusters.encoding import decode_vector, encode_vector

VECTORS = arrays.arrays(
    np.float32, 7, elements=st.floats(-(2.0**99), 2.0**99, width=32, allow_subnormal=False)
)


@given(st.lists(st.tuples(VECTORS, st.integers(0, 10**6)), min_size=1, max_size=5), VECTORS)
def test_the_average_is_that_of_the_weights_by_samples(members: list, base: np.ndarray) -> None:
    changes = [(weights.astype(np.float64) - base, samples) for weights, samples in members]
    mean = outer_step.WeightedMean(base)
    for change, samples in changes:
        mean.add(change, samples)
    found = mean.result()
    total = sum(samples for _, samples in members)
    if not total:
        assert np.array_equal(found, base)
        return
    wanted = sum(weights.astype(np.float64) * samples for weights, samples in members) / total
    scale = max(np.abs(base).max(), *(np.abs(weights).max() for weights, _ in members), 1)
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12 * float(scale))


def test_the_outer_step_is_that_of_sgd_with_nesterov_momentum() -> None:
    """By hand: m = 0.9 m + g; w = w - lr (g + 0.9 m), as torch.optim.SGD(nesterov=True)."""
    generator = np.random.default_rng(0)
    weights, momentum = generator.normal(size=5).astype(np.float32), np.zeros(5, np.float32)
    reference, m = weights.astype(np.float64), np.zeros(5)
    for _ in range(4):
        target = generator.normal(size=5)
        gradient = weights.astype(np.float64) - target
        found, momentum = outer_step.nesterov_step(weights, target, momentum, 0.7, 0.9)
        m = 0.9 * m + gradient
        reference = weights - 0.7 * (gradient + 0.9 * m)
        np.testing.assert_allclose(found, reference, rtol=1e-6, atol=1e-6)
        weights = found.astype(np.float32)


def test_keras_takes_the_same_outer_step() -> None:
    import keras

    rate, decay = 0.7, 0.9
    variable = keras.Variable(np.float32([1.0, -2.0, 3.0]))
    optimizer = keras.optimizers.SGD(rate, momentum=decay, nesterov=True)
    weights, momentum = np.float32([1.0, -2.0, 3.0]), np.zeros(3, np.float32)
    for target in np.random.default_rng(1).normal(size=(5, 3)):
        optimizer.apply([keras.ops.convert_to_tensor(np.float32(weights - target))], [variable])
        found, momentum = outer_step.nesterov_step(weights, target, momentum, rate, decay)
        weights = found.astype(np.float32)
        np.testing.assert_allclose(variable.numpy(), weights, rtol=1e-4, atol=1e-4)
        variable.assign(weights)


@given(VECTORS)
def test_float32_comes_back_to_the_bit_and_bfloat16_to_the_nearest(vector: np.ndarray) -> None:
    import tensorflow as tf

    back = decode_vector(encode_vector(vector, "float32"), "float32", len(vector))
    assert back.tobytes() == vector.tobytes()
    rounded = decode_vector(encode_vector(vector, "bfloat16"), "bfloat16", len(vector))
    assert rounded.tobytes() == tf.cast(tf.cast(vector, tf.bfloat16), tf.float32).numpy().tobytes()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_neither_sent_nor_taken(bad: float) -> None:
    vector = np.float32([1, bad])
    for encoding in ("float32", "bfloat16"):
        with pytest.raises(ValueError, match="not finite"):
            encode_vector(vector, encoding)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not finite"):
        decode_vector(vector.tobytes(), "float32", 2)
    with pytest.raises(ValueError, match="beyond bfloat16"):
        encode_vector(np.float32([3.4e38]), "bfloat16")
    with pytest.raises(ValueError, match="8 bytes where 3 numbers of float32 have 12"):
        decode_vector(vector.tobytes(), "float32", 3)
