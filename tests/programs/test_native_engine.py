"""The C engine against the mathematics in float64, for all shapes, processors and numbers of threads."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from hpc_lstm import config as configuration
from hpc_lstm.errors import InputError
from hpc_lstm.model.engines import keras as keras_engine
from hpc_lstm.model.engines import native_kernels
from hpc_lstm.model.engines import registry as engines
from hpc_lstm.model.engines.native import NativeEngine
from hpc_lstm.model.engines.numpy import NumpyEngine
from hpc_lstm.model.losses import registry as losses
from hpc_lstm.model.parameters import network_schema
from hpc_lstm.model.reference import loss_and_gradient, masks, threefry
from hpc_lstm.native import builds, compiler, library


def fused(
    layers: int = 2, units: int = 5, features: int = 2, window: int = 4, batch: int = 8, **more: Any
) -> NativeEngine:
    threads = more.pop("threads", 2)
    rank = more.pop("rank", 0)
    tables = {
        "data": {
            "store": "none",
            "window": window,
            "features": ["close", "open", "high", "low"][:features],
            "horizon": list(range(1, 1 + more.pop("horizons", 1))),
            "target": more.pop("target", "close"),
        },
        "model": {"layers": layers, "units": units, "dropout": more.pop("dropout", 0.0)},
        "train": {"batch_size": batch, "engine": "fused", **more},
    }
    return NativeEngine(configuration.parse(tables, "test"), rank=rank, threads=threads)


def compare(one: NativeEngine, random: np.random.Generator, dropout: float, batch: int, window: int) -> None:
    """One step of gradient descent at rate 1 shows the gradient."""
    units = one.schema.shapes[1][0]
    # Larger weights make a chaotic network, which shows nothing but the rounding.
    flat = random.normal(0, 0.5 / max(1, units / 16) ** 0.5, one.schema.length).astype("f")
    inputs = random.normal(size=(1, batch, window, one.schema.shapes[0][0])).astype("f")
    targets = random.normal(size=(1, batch, one._head.targets)).astype("f")
    if one._head.loss.kernel == "binary_cross_entropy":
        targets = (targets > 0).astype("f")
    one.set_parameters(flat)
    taken = int(one.state()["steps"])
    loss = one.step(inputs, targets, 1.0)
    layers = (len(one.schema.names) - 2) // 3
    key = (one._dropout_key, taken)
    drops = [masks(key, dropout, layer, batch, window, units) for layer in range(layers)]
    expected, gradient = loss_and_gradient(flat, one.schema, inputs[0], targets[0], drops, one._head.loss)
    scale = np.abs(gradient).max()
    assert loss == pytest.approx(expected, rel=2e-5)
    np.testing.assert_allclose(flat - one.parameters(), gradient, rtol=1e-4, atol=3e-6 * (1 + scale))


@pytest.mark.parametrize("loss", losses.names()[1:])
@pytest.mark.parametrize("horizons", [1, 3, 20])
def test_every_loss_has_the_gradient_of_the_mathematics(loss: str, horizons: int) -> None:
    target = "direction" if loss == "binary-cross-entropy" else ["close", "open"]
    one = fused(2, 20, 3, 5, 31, dropout=0.2, optimizer="sgd", loss=loss, horizons=horizons, target=target)
    assert one.predict(np.zeros((4, 5, 3), "f")).shape == (4, one._head.outputs)
    compare(one, np.random.default_rng(2), 0.2, 31, 5)


@pytest.mark.parametrize("ones", [0, 2**32 - 1])
def test_the_generator_of_masks_is_the_published_one(ones: int) -> None:
    """Known answers of the authors' Random123; the masks' test below takes this generator for the C code's."""
    counter = np.array([ones], np.uint32), np.array([ones], np.uint32)
    with np.errstate(over="ignore"):
        found = [int(part[0]) for part in threefry((ones, ones), counter)]
    assert found == {0: [0x6B200159, 0x99BA4EFE], 2**32 - 1: [0x1CB996FC, 0xBB002BE7]}[ones]


@given(
    layers=st.integers(1, 3),
    units=st.integers(1, 70),
    features=st.integers(1, 4),
    window=st.integers(1, 9),
    batch=st.integers(1, 3 * native_kernels.BLOCK_WINDOWS),
    dropout=st.sampled_from([0.0, 0.2, 0.5]),
    threads=st.integers(1, 3),
    seed=st.integers(0, 2**31 - 1),
)
@effort(max_examples=40, deadline=None)
def test_loss_and_gradient_are_right_for_any_shape(
    layers: int,
    units: int,
    features: int,
    window: int,
    batch: int,
    dropout: float,
    threads: int,
    seed: int,
) -> None:
    one = fused(
        *(layers, units, features, window, batch),
        dropout=dropout,
        threads=threads,
        optimizer="sgd",
        seed=seed,
    )
    compare(one, np.random.default_rng(seed), dropout, batch, window)


@pytest.fixture
def no_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without builds of the kernels."""
    monkeypatch.setattr(library, "find_build", lambda *_: None)


LEVELS = [level for level in builds.LEVELS if level.machine == platform.machine()]


@pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.name)
def test_code_for_other_processors_is_right_as_well(
    level: builds.Level, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shorter vectors and smaller tiles than this machine may have: all that an installation has builds for."""
    if not level.flags <= builds.processor_flags():
        pytest.skip(f"this processor has no {' '.join(sorted(level.flags - builds.processor_flags()))}")
    found = compiler.find_compiler()
    monkeypatch.setattr(builds, "processor_flags", lambda: level.flags)  # a build, if there are some
    monkeypatch.setattr(
        compiler,
        "find_compiler",
        lambda: compiler.Compiler(found.command, level.option, found.version),
    )
    monkeypatch.setattr(compiler, "identify_processor", lambda: [level.name])
    for units, batch in ((3, 1), (16, 7), (35, 20), (64, 30)):
        one = fused(2, units, 3, 5, batch, dropout=0.2, optimizer="sgd")
        compare(one, np.random.default_rng(units), 0.2, batch, 5)


def test_long_windows_and_wide_layers_are_right() -> None:
    """Gradients are added up for some steps at a time; layers have several tiles."""
    one = fused(2, 130, 4, 70, 30, dropout=0.1, optimizer="sgd")
    compare(one, np.random.default_rng(5), 0.1, 30, 70)


def test_masks_differ_by_step_rank_and_seed_and_not_by_threads() -> None:
    random = np.random.default_rng(0)
    inputs, targets = (
        random.normal(size=(1, 40, 4, 2)).astype("f"),
        random.normal(size=(1, 40, 1)).astype("f"),
    )

    def losses(**how: Any) -> list[float]:
        one = fused(batch=40, dropout=0.5, **how)
        return [one.step(inputs, targets, 0.0) for _ in range(3)]

    first = losses()
    assert len({*first, *losses(rank=1)}) == 6
    assert losses(seed=1)[0] != first[0]
    for threads in (1, 3):
        np.testing.assert_allclose(losses(threads=threads), first, rtol=1e-6)


@pytest.mark.parametrize("size", [30.0, 1e4, 1e30])
def test_saturated_gates_stay_finite(size: float) -> None:
    one = fused(optimizer="sgd")
    one.set_parameters(one.parameters() * np.float32(size))
    windows = np.random.default_rng(0).normal(size=(8, 4, 2)).astype("f")
    assert np.isfinite(one.predict(windows)).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_not_hidden(bad: float) -> None:
    """The run's check for divergence looks at the loss."""
    one = fused()
    one.set_parameters(np.full(one.schema.length, bad, np.float32))
    windows = np.ones((1, 8, 4, 2), np.float32)
    assert not np.isfinite(one.step(windows, windows[:, :, :1, 0], 0.1))
    one = fused()
    windows[0, 3, 1, 1] = np.nan
    assert np.isnan(one.step(windows, np.ones((1, 8, 1), np.float32), 0.1))


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"train": {"engine": "fused", "precision": "bfloat16"}}, ["float32", '"bfloat16"', '"auto"']),
        ({"train": {"engine": "fused"}, "model": {"layers": 17}}, ["16 layers", "17"]),
    ],
)
def test_what_it_cannot_train_is_refused(tables: dict[str, Any], words: list[str]) -> None:
    config = configuration.parse({"data": {"store": "none"}, **tables}, "test")
    with pytest.raises(InputError, match=r"train\.engine") as caught:
        engines.create_engine(config, threads=1)
    assert all(word in str(caught.value) for word in words)


@pytest.fixture
def real_compiler() -> str:
    """Where gcc is, or clang, or cc."""
    found = next(filter(None, (shutil.which(name) for name in ("gcc", "clang", "cc"))), None)
    assert found is not None
    return found


def compiler_of(path: Path, body: str) -> Path:
    """A program that knows its version, and does ``body`` if it is asked for more."""
    path.write_text(f'#!/bin/sh\n[ "$1" = --version ] && exit 0\n{body}\n')
    path.chmod(0o755)
    return path


@pytest.fixture
def no_compiler(no_builds: None, real_compiler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of PATH, empty; an empty cache; and no builds."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("HPC_LSTM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CC", raising=False)
    return folder


@pytest.mark.usefixtures("no_compiler")
def test_without_build_and_compiler_auto_is_keras_and_fused_is_numpy(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "hpc_lstm")
    config = configuration.parse({"data": {"store": "none"}}, "test")
    assert engines.create_engine(config, threads=1).name == "keras"
    assert "engine keras, not fused: no GPU; no C compiler found (cc, gcc, clang)" in caplog.text
    config = configuration.parse({"data": {"store": "none"}, "train": {"engine": "fused"}}, "test")
    assert engines.create_engine(config, threads=1).arithmetic == "fused in NumPy"
    assert "engine fused by NumPy, which is slow: no GPU; no C compiler found (cc, gcc, clang)" in caplog.text


@pytest.mark.usefixtures("no_compiler")
def test_without_keras_auto_is_numpy_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras_engine, "keras_installed", lambda: False)
    config = configuration.parse({"data": {"store": "none"}}, "test")
    assert engines.choose_engine(config, threads=1) is NumpyEngine
    for engine, precision in (("keras", "float32"), ("auto", "bfloat16")):
        train = {"engine": engine, "precision": precision}
        config = configuration.parse({"data": {"store": "none"}, "train": train}, "test")
        with pytest.raises(InputError, match=r'"keras": .*not installed; pip install "hpc-lstm\[keras\]"'):
            engines.choose_engine(config, threads=1)


def test_numpy_takes_the_same_steps() -> None:
    """Dropout included; a checkpoint of one continues with the other."""
    random = np.random.default_rng(0)
    inputs = random.normal(size=(3, 20, 4, 2)).astype("f")
    targets = random.normal(size=(3, 20, 1)).astype("f")
    one, losses = fused(batch=20, dropout=0.5, clip_norm=0.3, seed=3), []
    tables = {
        "data": {"store": "none", "window": 4, "features": ["close", "open"]},
        "model": {"layers": 2, "units": 5, "dropout": 0.5},
        "train": {"batch_size": 20, "engine": "fused", "clip_norm": 0.3, "seed": 3},
    }
    other = NumpyEngine(configuration.parse(tables, "test"), rank=0, threads=1)
    for engine in (one, other):
        losses.append([engine.step(inputs, targets, 0.01), engine.step(inputs[:1], targets[:1], 0.01)])
    np.testing.assert_allclose(*losses, rtol=1e-5)
    np.testing.assert_allclose(one.parameters(), other.parameters(), atol=1e-5)
    np.testing.assert_allclose(one.moments(), other.moments(), atol=1e-5)
    assert one.state() == other.state()
    many = random.normal(size=(600, 4, 2)).astype("f")
    np.testing.assert_allclose(one.predict(many), other.predict(many), atol=1e-5)


@pytest.mark.usefixtures("no_compiler")
def test_a_trained_network_is_computed_by_numpy_where_nothing_else_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = configuration.parse({"data": {"store": "none", "window": 4}}, "test")
    trained = NumpyEngine(config, threads=1)
    trained.save(tmp_path / "model.keras")
    windows = np.random.default_rng(0).normal(size=(5, 4, 1)).astype("f")
    found = engines.load_forecaster(tmp_path / "model.keras", threads=2)
    np.testing.assert_array_equal(found.predict(windows), trained.predict(windows))
    assert "no C compiler found (cc, gcc, clang)" in caplog.text
    assert "slow" in caplog.text


@pytest.mark.parametrize(("code", "said"), [(1, "error: out of luck"), (3, "exit code 3")])
def test_a_broken_compiler_is_named(
    code: int, said: str, no_compiler: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = "echo 'hello.c: error: out of luck' >&2" if code == 1 else ""
    broken = compiler_of(no_compiler / "cc", f"{told}\nexit {code}")
    monkeypatch.setenv("CC", f"{broken} -m64")
    with pytest.raises(compiler.NoCompiler, match=said) as caught:
        native_kernels.load_kernels()
    assert str(broken) in str(caught.value)
    assert "CC" in str(caught.value)


def test_another_compiler_is_taken_where_the_first_is_broken(
    no_compiler: Path, monkeypatch: pytest.MonkeyPatch, real_compiler: str
) -> None:
    compiler_of(no_compiler / "cc", "exit 3")
    monkeypatch.setenv("PATH", f"{no_compiler}:{Path(real_compiler).parent}")
    assert compiler.find_compiler().command == (Path(real_compiler).name,)


def test_signals_to_all_processes_of_a_job_do_not_end_the_compiler(
    no_compiler: Path, monkeypatch: pytest.MonkeyPatch, real_compiler: str
) -> None:
    """Otherwise a job that is told to stop while it starts would call its compiler broken."""
    monkeypatch.setenv("PATH", f"{no_compiler}:{Path(real_compiler).parent}")
    asked = "kill -TERM $$\nkill -USR1 $$\nkill -INT $$"
    monkeypatch.setenv("CC", str(compiler_of(no_compiler / "cc", f'{asked}\nexec {real_compiler} "$@"')))
    assert compiler.find_compiler().native == compiler.NATIVE[0]


def test_code_that_computes_something_else_is_not_taken(
    no_compiler: Path, monkeypatch: pytest.MonkeyPatch, real_compiler: str
) -> None:
    """As that of a compiler whose default is not what the source needs."""
    wrong = compiler_of(
        no_compiler / "cc",
        f"""
for file; do case $file in *lstm.c) sed -i s/0.693359375f/0.69f/ "$file";; esac; done
exec {real_compiler} "$@" -O0  # which takes a twentieth of the time
""",
    )
    monkeypatch.setenv("CC", str(wrong))
    monkeypatch.setenv("PATH", f"{no_compiler}:{Path(real_compiler).parent}")
    with pytest.raises(compiler.NoCompiler, match="computes something else"):
        native_kernels.load_kernels()


@pytest.mark.usefixtures("no_builds")
def test_code_is_kept_and_a_changed_processor_has_its_own(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    real_compiler: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fast = compiler_of(tmp_path_factory.mktemp("fast") / "cc", f'exec {real_compiler} "$@" -O0')
    monkeypatch.setenv("CC", str(fast))
    monkeypatch.setenv("HPC_LSTM_CACHE", str(tmp_path))
    native_kernels.load_kernels()
    (kept,) = tmp_path.iterdir()
    here = compiler.identify_processor()
    away = fast.rename(fast.with_name("away"))
    native_kernels.load_kernels()
    assert list(tmp_path.iterdir()) == [kept]
    kept.chmod(0o666)
    with pytest.raises(compiler.NoCompiler, match="no C compiler"):  # anyone may have written it
        native_kernels.load_kernels()
    kept.chmod(0o600)
    away.rename(fast)
    monkeypatch.setattr(compiler, "identify_processor", lambda: [*here, "flags : avx9"])
    monkeypatch.setattr(compiler.Compiler, "compile", lambda *_: b"other code")
    with pytest.raises(compiler.NoCompiler, match=r"lstm\.c cannot be compiled and loaded"):
        native_kernels.load_kernels()
    assert len(list(tmp_path.iterdir())) == 2


def test_arrays_of_other_shapes_are_refused() -> None:
    one = fused(batch=8, window=4, features=2)
    windows, targets = np.zeros((1, 8, 4, 2), np.float32), np.zeros((1, 8, 1), np.float32)
    for inputs, wanted in ((windows[:, :, 1:], targets), (windows[0], targets), (windows, targets[:, 1:])):
        with pytest.raises(ValueError, match=r"shape|expected"):
            one.step(inputs, wanted, 0.1)
    with pytest.raises(ValueError, match="expected"):
        one.predict(np.zeros((3, 5, 2)))
    with pytest.raises(ValueError, match="expected"):
        one.set_parameters(np.zeros(1))


def test_few_windows_at_once_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for long windows, of which fewer fit into a worker's memory."""
    windows = np.random.default_rng(0).normal(size=(50, 4, 2)).astype("f")
    expected = fused().predict(windows)
    monkeypatch.setattr(native_kernels, "WORKSPACE_BYTES", 1)
    np.testing.assert_allclose(fused().predict(windows), expected, atol=1e-7)
    compare(fused(batch=20, optimizer="sgd"), np.random.default_rng(1), 0.0, 20, 4)


def test_the_schema_is_that_of_the_keras_engine() -> None:
    one = fused(3, 7, 4)
    assert one.schema == network_schema(configuration.ModelConfig(layers=3, units=7), 4)
