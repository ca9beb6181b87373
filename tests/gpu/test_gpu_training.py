"""Training on the GPU end to end: CUDA and host backend give the same run, alone and on two ranks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from visible_gpus import child_environment, given_gpus

from hpc_lstm.jobs.mpiexec import mpiexec_command
from hpc_lstm.market.store_writer import StoreWriter

CONFIG = """
[data]
store = "{store}"
window = 20
features = ["close", "open"]
target = "close"
scaling = "minmax"
[model]
layers = 2
units = 32
dropout = {dropout}
[train]
batch_size = 64
epochs = 2
seed = 3
backend = "{backend}"
gpu_rows_share = {share}
deterministic = true
[average]
every = 4
[checkpoint]
every = 10
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "market.h5"
    generator = np.random.default_rng(0)
    with StoreWriter(path, ["open", "close"], "test") as writer:
        for number, rows in enumerate([900, 300, 1500, 40]):
            walk = 100 * np.exp(np.cumsum(generator.normal(0, 0.01, (rows, 2)), axis=0))
            writer.append(f"S{number}", np.arange(rows, dtype=np.int64), walk)
    return path


def job(folder: Path, store: Path, backend: str, share: float = 0.5, dropout: float = 0.2) -> Path:
    path = folder / f"{backend}.toml"
    path.write_text(CONFIG.format(store=store, backend=backend, share=share, dropout=dropout))
    return path


def run(*arguments: str, ranks: int = 0, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hpc_lstm", *arguments]
    if ranks:
        command = [*mpiexec_command(), "-n", str(ranks), *command]
    done = subprocess.run(command, capture_output=True, text=True, env=child_environment(), timeout=300)
    if check:
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done


def losses(folder: Path, kind: str = "train") -> list[tuple[int, float]]:
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"]) for line in lines if line["kind"] == kind]


def log(folder: Path, rank: int = 0) -> str:
    return (folder / "log" / f"rank-{rank:05d}.log").read_text()


def test_the_backends_give_the_same_loss_curve(tmp_path: Path, store: Path) -> None:
    for backend in ("host", "cuda"):
        run("train", str(job(tmp_path, store, backend)), "--run-dir", str(tmp_path / f"run-{backend}"))
    host, cuda = losses(tmp_path / "run-host"), losses(tmp_path / "run-cuda")
    assert len(host) > 5
    assert [step for step, _ in host] == [step for step, _ in cuda]
    np.testing.assert_allclose([loss for _, loss in cuda], [loss for _, loss in host], rtol=1e-5)
    metrics = json.loads((tmp_path / "run-cuda" / "metrics.json").read_text())
    assert metrics["backend"] == "cuda"
    assert "backend cuda" in log(tmp_path / "run-cuda")
    assert "GPU: " in log(tmp_path / "run-cuda")


def test_rows_that_do_not_fit_are_read_over_the_bus(tmp_path: Path, store: Path) -> None:
    for share in (0.5, 0.0):
        run("train", str(job(tmp_path, store, "cuda", share)), "--run-dir", str(tmp_path / f"run-{share}"))
    np.testing.assert_allclose(
        [loss for _, loss in losses(tmp_path / "run-0.0")],
        [loss for _, loss in losses(tmp_path / "run-0.5")],
        rtol=1e-5,
    )
    assert "pinned host memory" in log(tmp_path / "run-0.0")


@pytest.mark.parametrize("ranks", [1, 2])
def test_ranks_share_a_gpu_resume_and_evaluate(tmp_path: Path, store: Path, ranks: int) -> None:
    config, folder = str(job(tmp_path, store, "cuda")), tmp_path / "run"
    run("train", config, "--run-dir", str(folder), ranks=ranks)
    first = json.loads((folder / "metrics.json").read_text())
    assert first["ranks"] == ranks
    more = run("train", config, "--set", "train.epochs=3", "--run-dir", str(folder), "--resume", ranks=ranks)
    assert "resuming from the checkpoint" in more.stdout + more.stderr + log(folder)
    steps = [step for step, _ in losses(folder)]
    assert steps == sorted(set(steps)), "a gap or a double entry"
    run("evaluate", str(folder), ranks=ranks)
    for rank in range(ranks):
        assert "GPU: " in log(folder, rank)
    if ranks == 2 and given_gpus() == 1:
        assert "shared by 2 ranks" in log(folder)


def test_phases_add_up_with_device_times_in_them(tmp_path: Path, store: Path) -> None:
    folder = tmp_path / "run"
    run("train", str(job(tmp_path, store, "cuda")), "--run-dir", str(folder))
    totals = json.loads((folder / "timing" / "rank-00000.jsonl").read_text().splitlines()[-1])
    assert sum(totals["phases_ns"].values()) == pytest.approx(totals["wall_ns"], rel=0.01)
    assert 0 < totals["phases_ns"]["preprocess"] < totals["phases_ns"]["compute"]
    with h5py.File(folder / "timing.h5") as file:
        assert file


def test_tensorflow_reads_the_very_memory_that_the_kernel_wrote(tmp_path: Path, store: Path) -> None:
    code = """
import numpy as np
from hpc_lstm.cuda import dlpack
from hpc_lstm.parallel import gpu
from hpc_lstm.parallel.world import World
gpu.assign_gpu(World())
from hpc_lstm.preprocess.cuda_backend import CudaBackend
from hpc_lstm.model.engines import tensorflow_runtime
from hpc_lstm.model.engines.keras import tensor
cuda = CudaBackend()
tf = tensorflow_runtime.start_tensorflow()
values = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
array = cuda.device.to_device(values)
there = tensor(tf, array)
assert "GPU" in there.device, there.device
assert dlpack.inspect_capsule(tf.experimental.dlpack.to_dlpack(there)).address == array.pointer
np.testing.assert_array_equal(there.numpy(), values)
back = there * 2
assert cuda.on_device(back).pointer == dlpack.inspect_capsule(tf.experimental.dlpack.to_dlpack(back)).address
np.testing.assert_array_equal(cuda.on_device(back).numpy(), values * 2)
squares, _, _ = cuda.errors(tf.reshape(there, [-1]), tf.reshape(back, [-1]), np.array([0, 60]))
np.testing.assert_allclose(squares[0], np.square(values, dtype=np.float64).sum())
del there
print("same memory")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=child_environment()
    )
    assert "same memory" in done.stdout, done.stderr


def test_without_a_visible_gpu_the_line_says_so(tmp_path: Path, store: Path) -> None:
    config = job(tmp_path, store, "cuda")
    environment = child_environment(CUDA_VISIBLE_DEVICES="")
    command = [sys.executable, "-m", "hpc_lstm", "train", str(config), "--run-dir", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "CUDA_VISIBLE_DEVICES" in done.stderr
