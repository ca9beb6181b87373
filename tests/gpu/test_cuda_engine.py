"""The CUDA engine against the network in float64: forecasts, losses, every gradient, every optimizer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hpc_lstm import config as configuration
from hpc_lstm.cuda import graph
from hpc_lstm.cuda.overlap import overlap as overlap_edges
from hpc_lstm.model.engines.cuda.engine import CudaEngine
from hpc_lstm.model.engines.speed_table import CHAINS, TILES
from hpc_lstm.model.losses import registry as losses
from hpc_lstm.model.optimizers import registry as optimizers
from hpc_lstm.model.reference import forecasts, loss_and_gradient, masks
from hpc_lstm.parallel.averages_within import AveragesWithin
from hpc_lstm.preprocess.cuda_kernels import CudaKernels

FEATURES = ["open", "high", "low", "close", "volume", *(f"sma(close, {n})" for n in range(2, 40))]
# Largest relative error of a gradient in the Euclidean norm, and of forecasts: float32 is no worse than TF32.
TOLERANCE = {"float32": (2e-4, 1e-4), "bfloat16": (4e-2, 2e-2)}


def engine(
    layers: int = 2, units: int = 16, features: int = 3, window: int = 5, batch: int = 8, **more: Any
) -> CudaEngine:
    rank, kernels = more.pop("rank", 0), more.pop("kernels", "")
    tables = {
        "data": {
            "store": "none",
            "window": window,
            "features": FEATURES[:features],
            "horizon": list(range(1, 1 + more.pop("horizons", 1))),
            "target": more.pop("target", "close"),
        },
        "model": {"layers": layers, "units": units, "dropout": more.pop("dropout", 0.0)},
        "train": {"batch_size": batch, "engine": "fused", **more},
    }
    return CudaEngine(configuration.parse(tables, "test"), rank=rank, kernels=kernels)


def batches(one: CudaEngine, steps: int, batch: int, window: int, features: int, seed: int = 0) -> Any:
    random = np.random.default_rng(seed)
    inputs = random.normal(size=(steps, batch, window, features)).astype("f")
    targets = random.normal(size=(steps, batch, one._shape.head.targets)).astype("f")
    loss = one._shape.head.loss.name
    if loss == "binary-cross-entropy":
        return inputs, (targets > 0).astype("f")
    if loss in ("mae", "quantile"):  # away from the kink, on whose side rounding would decide
        targets += 6 * np.sign(targets)
    return inputs, targets


def weights(one: CudaEngine, units: int, seed: int = 1) -> np.ndarray:
    """Larger ones make a chaotic network, which shows nothing but the rounding."""
    random = np.random.default_rng(seed)
    return random.normal(0, 0.5 / max(1, units / 16) ** 0.5, one.schema.length).astype("f")


def drops(one: CudaEngine, rate: float, step: int, batch: int, window: int, units: int) -> list[np.ndarray]:
    layers = (len(one.schema.names) - 2) // 3
    key = (one._dropout_key, step)
    return [masks(key, rate, layer, batch, window, units) for layer in range(layers)]


SHAPES = [
    # layers, units, features, window, batch, dropout
    (1, 1, 1, 1, 1, 0.0),
    (1, 16, 3, 2, 8, 0.0),
    (2, 64, 5, 12, 64, 0.1),
    (2, 64, 5, 12, 100, 0.5),
    (3, 40, 17, 7, 33, 0.2),
    (2, 128, 5, 9, 70, 0.1),
    (1, 100, 43, 4, 19, 0.3),
    (8, 24, 2, 5, 16, 0.1),
    (2, 31, 1, 60, 9, 0.2),
    (1, 128, 1, 3, 1500, 0.0),
    (2, 64, 4, 3, 3000, 0.2),
    (2, 160, 4, 5, 37, 0.1),
    (2, 256, 4, 5, 50, 0.1),
    (1, 200, 4, 6, 600, 0.0),
    (3, 128, 5, 9, 40, 0.1),
    (2, 64, 5, 12, 1100, 0.1),
    (8, 128, 3, 5, 16, 0.1),
]
# For kernels/lstm_tile_*.cu, with one tile and two a block.
TILED = [
    (1, 64, 1, 1, 1, 0.0),
    (1, 64, 3, 2, 64, 0.0),
    (1, 128, 3, 2, 64, 0.0),
    (2, 64, 5, 12, 100, 0.1),
    (2, 128, 5, 9, 300, 0.1),
    (2, 128, 5, 3, 130, 0.0),
    (3, 64, 16, 7, 200, 0.2),
    (3, 128, 16, 7, 90, 0.0),
    (2, 100, 4, 6, 600, 0.2),
    (8, 60, 2, 5, 70, 0.1),
    (2, 128, 5, 4, 5000, 0.1),
    (2, 64, 4, 3, 9000, 0.1),
]
# For kernels/lstm_wide_*.cu, likewise.
WIDE = [
    (1, 192, 1, 1, 1, 0.0),
    (1, 256, 5, 2, 64, 0.0),
    (2, 256, 5, 3, 100, 0.0),
    (2, 300, 5, 4, 90, 0.1),
    (3, 512, 16, 5, 130, 0.2),
    (2, 512, 5, 4, 1100, 0.1),
    (2, 250, 3, 4, 2200, 0.1),
    (2, 448, 5, 3, 1300, 0.0),
    (4, 192, 5, 7, 200, 0.1),
    (3, 192, 5, 1, 1, 0.1),
    (8, 192, 5, 3, 130, 0.1),
    (5, 512, 5, 3, 300, 0.1),
    (2, 512, 5, 4, 1000, 0.1),
    (2, 256, 5, 40, 300, 0.1),
]
LARGE = [(2, 512, 5, 4, 40, 0.1), (1, 400, 5, 4, 300, 0.0)]
# Of more than 16 features, for which the kernels for large batches are not: blocks exchange through memory.
THROUGH_MEMORY = [(2, 320, 20, 5, 70, 0.1), (1, 512, 20, 4, 300, 0.0), (2, 512, 17, 3, 9, 0.1)]


@pytest.mark.parametrize(
    ("precision", "shape"),
    [("float32", shape) for shape in SHAPES + THROUGH_MEMORY]
    + [("bfloat16", shape) for shape in SHAPES + LARGE],
    ids=str,
)
def test_loss_and_gradient_are_those_of_the_mathematics(precision: str, shape: Any) -> None:
    compare_with_mathematics(precision, shape)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", TILED + WIDE, ids=str)
def test_kernels_for_large_batches_compute_the_same(precision: str, shape: Any) -> None:
    assert compare_with_mathematics(precision, shape, kernels=TILES)._plan.tiles > 0


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("horizons", [1, 3, 20])
@pytest.mark.parametrize("loss", losses.names()[1:])
def test_every_loss_of_several_outputs_has_the_gradient_of_the_mathematics(
    precision: str, horizons: int, loss: str
) -> None:
    target = "direction" if loss == "binary-cross-entropy" else ["close", "open"]
    more = {"loss": loss, "horizons": horizons, "target": target}
    one = compare_with_mathematics(precision, (2, 40, 3, 6, 70, 0.2), **more)
    assert one._shape.head.targets == horizons * (1 if loss == "binary-cross-entropy" else 2)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("loss", ["gaussian", "quantile"])
@pytest.mark.parametrize("shape", [(2, 64, 5, 3, 130, 0.1), (2, 128, 5, 9, 300, 0.0)], ids=str)
def test_kernels_for_large_batches_have_every_output(precision: str, loss: str, shape: Any) -> None:
    one = compare_with_mathematics(precision, shape, loss=loss, horizons=4, kernels=TILES)
    assert one._plan.tiles > 0


def compare_with_mathematics(precision: str, shape: Any, **more: Any) -> CudaEngine:
    layers, units, features, window, batch, dropout = shape
    more |= {"dropout": dropout, "precision": precision, "optimizer": "sgd"}
    one = engine(layers, units, features, window, batch, **more)
    flat = weights(one, units)
    one.set_parameters(flat)
    inputs, targets = batches(one, 2, batch, window, features)
    of_gradient, of_forecast = TOLERANCE[precision]
    for step in range(2):
        loss = float(one.step(inputs[step : step + 1], targets[step : step + 1], 0.0))
        own = drops(one, dropout, step, batch, window, units)
        expected, gradient = loss_and_gradient(
            flat, one.schema, inputs[step], targets[step], own, one._shape.head.loss
        )
        found = one.gradient()
        assert loss == pytest.approx(expected, rel=2 * of_forecast, abs=of_forecast)
        offsets = one.schema.offsets
        for name, start, stop in zip(one.schema.names, offsets, offsets[1:], strict=False):
            # The outputs' biases are sums of errors of both signs, which may cancel.
            least = (1e-2 if name == "dense/bias" else 1e-3) * np.linalg.norm(gradient)
            scale = float(max(np.linalg.norm(gradient[start:stop]), least))
            error = np.linalg.norm(found[start:stop] - gradient[start:stop]) / scale
            assert error < of_gradient, (name, error)
        error = np.linalg.norm(found - gradient) / np.linalg.norm(gradient)
        print(f"{precision} {shape} gradient {error:.1e}")
    wanted = forecasts(flat, one.schema, inputs[0])
    found = one.predict(inputs[0])
    assert np.abs(found - wanted).max() < of_forecast * max(1, np.abs(wanted).max())
    assert found.shape == (batch, one._shape.head.outputs)
    np.testing.assert_array_equal(one.parameters(), flat)
    return one


@pytest.mark.parametrize("name", optimizers.names())
@pytest.mark.parametrize("clip", [0.0, 0.05])
def test_every_optimizer_takes_its_own_step(name: str, clip: float) -> None:
    one = engine(optimizer=name, clip_norm=clip, dropout=0.2, window=4, batch=24)
    flat = weights(one, 16).astype(np.float64)
    one.set_parameters(flat)
    rule = optimizers.create_optimizer(name, configuration.TrainConfig(optimizer=name).model_dump())
    slots = tuple(np.zeros_like(flat) for _ in rule.slots)
    inputs, targets = batches(one, 3, 24, 4, 3)
    rates = np.array([0.01, 0.02, 0.005])
    one.step(inputs, targets, rates)
    for step in range(3):
        own = drops(one, 0.2, step, 24, 4, 16)
        _, gradient = loss_and_gradient(
            flat, one.schema, inputs[step], targets[step], own, one._shape.head.loss
        )
        if clip:
            gradient *= clip / max(clip, np.linalg.norm(gradient))
        flat, slots = rule.step(np, flat, slots, gradient, rates[step], step + 1)
    change = np.linalg.norm(flat - weights(one, 16))
    assert np.linalg.norm(one.parameters() - flat) < 2e-3 * change
    for slot, found in zip(slots, one.moments().reshape(len(slots), -1) if slots else [], strict=True):
        np.testing.assert_allclose(found, slot, rtol=2e-2, atol=1e-3 * np.abs(slot).max())


@pytest.mark.parametrize(("layers", "units"), [(1, 400), (3, 160)])
def test_the_norm_that_is_clipped_is_that_of_all_weights(layers: int, units: int) -> None:
    limit = 1e-3
    found = {}
    for clip in (0.0, limit):
        one = engine(layers, units, 5, 4, 40, precision="bfloat16", optimizer="sgd", clip_norm=clip)
        flat = weights(one, units)
        one.set_parameters(flat)
        inputs, targets = batches(one, 1, 40, 4, 5)
        one.step(inputs, targets, 1.0)
        found[clip] = one.parameters() - flat, one.gradient()
    (whole, gradient), (clipped, same) = found[0.0], found[limit]
    np.testing.assert_array_equal(same, gradient)
    norm = np.linalg.norm(gradient.astype(np.float64))
    assert norm > 10 * limit
    np.testing.assert_allclose(whole, -gradient, atol=2e-7 * np.abs(flat).max())
    np.testing.assert_allclose(clipped, -gradient * (limit / norm), atol=2e-7 * np.abs(flat).max())


@pytest.mark.parametrize(
    ("precision", "units", "batch", "kernels"),
    [
        ("float32", 64, 40, CHAINS),
        ("bfloat16", 64, 40, CHAINS),
        ("bfloat16", 64, 3000, CHAINS),
        ("bfloat16", 128, 3500, TILES),
        ("bfloat16", 128, 9000, TILES),
        ("float32", 64, 9000, TILES),
        ("float32", 128, 3500, TILES),
    ],
)
def test_results_are_the_same_to_the_bit_and_however_steps_are_called(
    precision: str, units: int, batch: int, kernels: str
) -> None:
    found = []
    for parts in ((6,), (6,), (1, 2, 3)):
        one = engine(2, units, 3, 9, batch, dropout=0.3, precision=precision, kernels=kernels)
        inputs, targets = batches(one, 6, batch, 9, 3)
        at = 0
        for count in parts:
            loss = one.step(inputs[at : at + count], targets[at : at + count], 1e-3)
            at += count
        found.append((one.parameters().tobytes(), one.moments().tobytes()))
        assert np.isfinite(float(loss))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    ("layers", "units", "features", "batch", "more"),
    [
        (2, 64, 3, 64, {}),
        (2, 128, 3, 64, {}),  # W in blocks of its own
        (2, 256, 3, 64, {}),  # W in shared memory
        (2, 128, 3, 1024, {}),  # layers apart
        (1, 64, 17, 64, {}),  # a product between the inputs and the layer
        (3, 64, 3, 64, {"precision": "float32"}),
        (3, 128, 3, 1024, {"clip_norm": 0.1}),
        (2, 64, 3, 64, {"clip_norm": 0.1}),
        (2, 64, 3, 9000, {}),
    ],
)
def test_kernels_begin_early_and_compute_the_same(
    layers: int, units: int, features: int, batch: int, more: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    found, counts = [], []
    for early in (True, False):

        def overlap(recorded: Any, kernels: Any, early: bool = early) -> int:
            counts.append(overlap_edges(recorded, kernels) if early else 0)
            return counts[-1]

        monkeypatch.setattr(graph, "overlap", overlap)
        one = engine(layers, units, features, 9, batch, dropout=0.3, **{"precision": "bfloat16", **more})
        inputs, targets = batches(one, 4, batch, 9, features)
        for _ in range(8):
            one.step(inputs, targets, 1e-3)
        found.append((one.parameters().tobytes(), one.moments().tobytes()))
    assert counts[0] > 0
    assert found[0] == found[1]


def test_a_run_continues_from_weights_moments_and_state() -> None:
    first = engine(dropout=0.3)
    inputs, targets = batches(first, 6, 8, 5, 3)
    first.step(inputs[:3], targets[:3], 1e-2)
    second = engine(dropout=0.3)
    second.set_parameters(first.parameters())
    second.set_moments(first.moments())
    second.set_state(first.state())
    for one in (first, second):
        one.step(inputs[3:], targets[3:], 1e-2)
    np.testing.assert_array_equal(first.parameters(), second.parameters())


def test_many_windows_are_forecast_as_few() -> None:
    one = engine(2, 64, 3, 9, 40)
    windows = np.random.default_rng(0).normal(size=(5000, 9, 3)).astype("f")
    together = one.predict(windows)
    np.testing.assert_array_equal(together[4990:], one.predict(windows[4990:]))
    assert one.predict(windows[:0]).shape == (0, 1)
    on_device = one._device.to_device(windows)
    np.testing.assert_array_equal(np.asarray(one.predict(on_device)), together)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("units", "batch", "window", "calls"), [(256, 2000, 12, 4), (512, 1100, 12, 4), (256, 1024, 60, 80)]
)
def test_wide_layers_give_the_same_bits_again(
    units: int, batch: int, window: int, calls: int, precision: str
) -> None:
    # Were a block to read what another has not yet written, the last case would show it: millions of times it waits.
    found = []
    for _ in range(3):
        one = engine(2, units, 3, window, batch, dropout=0.1, precision=precision, kernels=TILES)
        assert one._plan.wide
        inputs, targets = batches(one, 2, batch, window, 3)
        for _ in range(calls):
            loss = one.step(inputs, targets, 1e-2)
        found.append((float(loss), one.parameters().tobytes()))
    assert found[0] == found[1] == found[2]


def test_batches_in_gpu_memory_give_the_same_bits() -> None:
    found = []
    for on_device in (False, True):
        one = engine(dropout=0.2)
        inputs, targets = batches(one, 4, 8, 5, 3)
        if on_device:
            inputs, targets = one._device.to_device(inputs), one._device.to_device(targets)
        loss = one.step(inputs, targets, 1e-2)
        found.append((float(loss), one.parameters().tobytes()))
    assert found[0] == found[1]


def test_the_network_learns() -> None:
    for precision in ("float32", "bfloat16"):
        one = engine(2, 64, 3, 20, 64, precision=precision, dropout=0.1)
        inputs, _ = batches(one, 16, 64, 20, 3)
        targets = inputs[:, :, -3:, 0].sum(2, keepdims=False)[..., None]
        losses = [float(one.step(inputs, targets, 3e-3)) for _ in range(40)]
        assert losses[-1] < 0.2 * losses[0], losses


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_in_the_inputs_makes_the_loss_nan(precision: str, value: float) -> None:
    one = engine(precision=precision)
    inputs, targets = batches(one, 1, 8, 5, 3)
    inputs[0, 3, 2, 1] = value
    assert np.isnan(float(one.step(inputs, targets, 1e-2)))


def test_forecasts_are_there_for_whoever_reads_them_on_another_stream() -> None:
    one = engine(8, 64, 3, 500, 64)
    windows = np.random.default_rng(0).normal(size=(700, 500, 3)).astype("f")
    targets = np.zeros((700, 1), "f")
    kernels = CudaKernels()
    expected = float(np.square(one.predict(windows), dtype=np.float64).sum())
    on_device = kernels.device.to_device(windows)
    for _ in range(3):
        found, _, _ = kernels.errors(one.predict(on_device), targets, np.array([0, 700]))
        assert found[0] == pytest.approx(expected, rel=1e-5)


def test_arrays_of_another_type_or_shape_are_refused() -> None:
    one = engine()
    inputs, targets = batches(one, 1, 8, 5, 3)
    wide = one._device.to_device(inputs.astype(np.float64))
    with pytest.raises(TypeError, match="float64"):
        one.step(wide, one._device.to_device(targets), 1e-2)
    with pytest.raises(ValueError, match="batches"):
        one.step(inputs[:, :, :4], targets, 1e-2)
    with pytest.raises(ValueError, match="no steps"):
        one.step(inputs[:0], targets[:0], 1e-2)


@pytest.mark.parametrize(
    ("layers", "units", "batch", "more"),
    [
        (2, 64, 64, {}),
        (2, 128, 1024, {}),
        (2, 64, 9000, {}),
        (2, 256, 64, {}),
        (1, 24, 8, {"clip_norm": 0.1}),
    ],
)
@pytest.mark.parametrize("moments", [False, True])
def test_averages_within_a_call_are_those_between_calls(
    layers: int, units: int, batch: int, more: dict[str, Any], moments: bool
) -> None:
    """Of two ranks, the other of which has zeros, so that their sum is this one's share."""

    class Sum:
        takes_stream, can_be_recorded = True, True
        sums = 0

        def allreduce_sum(self, address: int, length: int, stream: int | None = None) -> None:
            assert (length, stream) == (one.schema.length, one.device_vectors(moments=False)[0].stream)
            self.sums += 1

        def close(self, *, failed: bool) -> None: ...

    found = []
    for in_call in (False, True):
        one = engine(layers, units, 3, 9, batch, dropout=0.3, precision="bfloat16", **more)
        inputs, targets = batches(one, 6, batch, 9, 3)
        within = AveragesWithin(2, 2, moments, by := Sum())
        for _ in range(3):
            if in_call:
                loss = one.step(inputs, targets, 1e-3, within)
                assert np.isfinite(float(loss))
                assert 0 < loss.wait() < 1e9
                continue
            for at in range(0, 6, 2):
                assert one.step(inputs[at : at + 2], targets[at : at + 2], 1e-3).wait() == 0
                for vector in one.device_vectors(moments=moments):
                    vector.assign(vector.scaled(0.5))
        assert by.sums == (3 * (3 if moments else 1) if in_call else 0), "recorded once"
        assert len(within.calls) == in_call
        within.close()
        assert one.step(inputs, targets, 1e-3).wait() == 0
        found.append((one.parameters().tobytes(), one.moments().tobytes()))
    assert found[0] == found[1]


def test_averaged_vectors_are_taken_over() -> None:
    one = engine(optimizer="adam")
    before = one.parameters()
    vectors = one.device_vectors(moments=True)
    copies = [vector.scaled(1.0) for vector in vectors]
    assert [copy.length for copy in copies] == [one.schema.length] * 3
    assert len({copy.address for copy in copies}) == 1
    one.set_moments(np.arange(2 * one.schema.length, dtype=np.float32))
    for vector in vectors:
        vector.assign(vector.scaled(0.5))
    np.testing.assert_array_equal(one.moments(), 0.5 * np.arange(2 * one.schema.length, dtype=np.float32))
    np.testing.assert_array_equal(one.parameters(), before * np.float32(0.5))
    inputs, _ = batches(one, 1, 8, 5, 3)
    other = engine()
    other.set_parameters(before * np.float32(0.5))
    np.testing.assert_array_equal(one.predict(inputs[0]), other.predict(inputs[0]))
