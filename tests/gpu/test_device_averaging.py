"""Averaging weights in GPU memory, for real: TensorFlow's memory by address, NCCL, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_gpu_training import ROOT, job, losses, run, store

__all__ = ["store"]


SUMS = {
    "NCCL, whose sum over one rank is the vector itself": (
        "from hpc_lstm.parallel.nccl import NcclAllreduce",
        "World()",
        "NcclAllreduce(world)",
        0.5,
    ),
    "pinned memory, in a world that doubles": (
        "from hpc_lstm.cuda.device import Device\nfrom hpc_lstm.parallel.pinned_allreduce import PinnedAllreduce",
        "type('Doubling', (World,), {'allreduce_sum': lambda self, v: np.multiply(v, 2, out=v)})()",
        "PinnedAllreduce(Device(), world)",
        1.0,
    ),
}


@pytest.mark.parametrize("how", SUMS)
def test_sums_reach_what_tensorflow_holds(how: str) -> None:
    imports, world, made, factor = SUMS[how]
    code = f"""
import numpy as np
from hpc_lstm.parallel import gpu
from hpc_lstm.parallel.world import World
world = {world}
own_gpu = gpu.assign_gpu(world)
from hpc_lstm.model.engines import tensorflow_runtime
from hpc_lstm.model.engines.keras_vector import KerasVector
{imports}
tf = tensorflow_runtime.start_tensorflow()
values = np.random.default_rng(0).normal(size=1_000_003).astype(np.float32)
with tf.device("GPU:0"):
    variable = tf.Variable(values)
vector = KerasVector(variable)
copy = vector.scaled(0.5)
transport = {made}
transport.allreduce_sum(copy.address, copy.length)
assert variable.numpy().tobytes() == values.tobytes()
vector.assign(copy)
np.testing.assert_array_equal(variable.numpy(), values * np.float32({factor}))
transport.close(failed=False)
print("added up")
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert "added up" in done.stdout, done.stderr


def test_each_transport_gives_the_same_run_or_says_why_not(tmp_path: Path, store: Path) -> None:
    config = str(job(tmp_path, store, "cuda"))

    def train(transport: str) -> subprocess.CompletedProcess[str]:
        folder = str(tmp_path / transport)
        setting = f"average.transport={transport}"
        return run("train", config, "--set", setting, "--run-dir", folder, ranks=2, check=False)

    host = train("host")
    assert host.returncode == 0, host.stderr
    several = "shared by" not in (tmp_path / "host" / "log" / "rank-00000.log").read_text()
    nccl = train("nccl")
    if several:
        assert nccl.returncode == 0, nccl.stderr
        found, wanted = (losses(tmp_path / name) for name in ("nccl", "host"))
        assert [step for step, _ in found] == [step for step, _ in wanted]
        np.testing.assert_allclose([loss for _, loss in found], [loss for _, loss in wanted], rtol=1e-4)
        assert json.loads((tmp_path / "nccl" / "metrics.json").read_text())["ranks"] == 2
    else:
        assert nccl.returncode == 2
        assert "several ranks share a GPU, which NCCL refuses" in nccl.stderr
    mpi = train("mpi")
    assert mpi.returncode in (0, 2)
    if mpi.returncode == 2:
        assert "does not take GPU memory here" in mpi.stderr
    else:
        np.testing.assert_allclose(
            [loss for _, loss in losses(tmp_path / "mpi")],
            [loss for _, loss in losses(tmp_path / "host")],
            rtol=1e-4,
        )
