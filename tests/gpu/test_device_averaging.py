"""Averaging weights in GPU memory, for real: TensorFlow's memory by address, NCCL, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_gpu_training import job, losses, run, store
from visible_gpus import child_environment

from hpc_lstm.jobs.mpiexec import mpiexec_command

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
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=child_environment()
    )
    assert "added up" in done.stdout, done.stderr


IN_THE_GRAPH = """
import sys
import numpy as np
from hpc_lstm import config
from hpc_lstm.parallel import gpu
from hpc_lstm.parallel.averages_within import AveragesWithin
from hpc_lstm.parallel.averaging import Averager
from hpc_lstm.parallel.launch import connect

world = connect()
with world.abort_on_error():
    if gpu.assign_gpu(world).sharers > 1:
        print("shared", flush=True)
        raise SystemExit
    from hpc_lstm.model.engines.cuda.engine import CudaEngine
    from hpc_lstm.parallel.nccl import NcclAllreduce

    units, batch, what = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    tables = {
        "data": {"store": "none", "window": 9, "features": ["open", "close", "volume"]},
        "model": {"layers": 2, "units": units, "dropout": 0.3},
        "train": {"batch_size": batch, "engine": "fused", "precision": "bfloat16"},
    }
    settings = config.parse(tables, "test")
    random = np.random.default_rng(world.rank)
    inputs = random.normal(size=(12, batch, 9, 3)).astype("f")
    targets = random.normal(size=(12, batch, 1)).astype("f")
    found = []
    with Averager(world, what, NcclAllreduce(world)) as averager:
        for every, in_graph in ((1, False), (1, True), (3, False), (3, True)):
            one = CudaEngine(settings, rank=world.rank)
            averager.warm_up(one)
            within = averager.within_calls(one, every) if in_graph else None
            assert isinstance(within, AveragesWithin) == in_graph
            for _ in range(3):
                if within is not None:
                    taken_ns = one.step(inputs, targets, 1e-3, within).wait()
                    assert 0 < taken_ns < 1e9
                    continue
                for at in range(0, 12, every):
                    one.step(inputs[at : at + every], targets[at : at + every], 1e-3)
                    averager.average(one, batch, world.size * batch)
            vectors = (one.parameters(), one.moments()) if what == "weights+moments" else (one.parameters(),)
            found.append(b"".join(vector.tobytes() for vector in vectors))
            assert found[-1] == world.bcast(found[-1]), "all ranks have the same"
            found[-1] += one.moments().tobytes()
    assert found[0] == found[1]
    assert found[2] == found[3]
    assert found[1] != found[3]
    print("the same", flush=True)
"""


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize(
    ("units", "batch", "what"), [(64, 64, "weights"), (128, 1100, "weights"), (256, 64, "weights+moments")]
)
def test_averages_by_nccl_are_the_same_in_the_graph_of_the_steps(
    ranks: int, units: int, batch: int, what: str
) -> None:
    code = [sys.executable, "-c", IN_THE_GRAPH, str(units), str(batch), what]
    command = [*mpiexec_command(), "-n", str(ranks), *code]
    done = subprocess.run(command, capture_output=True, text=True, env=child_environment(), timeout=300)
    assert done.returncode == 0, done.stderr
    if "shared" in done.stdout:
        pytest.skip("NCCL needs a GPU for each rank")
    assert done.stdout.count("the same") == ranks


def test_an_address_that_nccl_cannot_open_ends_all_ranks_together() -> None:
    """NCCL looks for the network before it looks for a GPU, so that it does not matter whether the ranks share one."""
    code = """
from hpc_lstm.errors import CudaError
from hpc_lstm.parallel.launch import connect
from hpc_lstm.parallel.nccl import NcclAllreduce
world = connect()
with world.abort_on_error():
    try:
        NcclAllreduce(world)
    except CudaError as error:
        assert error.on_all_ranks and "ncclGetUniqueId: " in str(error), error
        print(f"refused on {world.rank};", flush=True)
"""
    command = [*mpiexec_command(), "-n", "2", sys.executable, "-c", code]
    environment = {**child_environment(), "NCCL_SOCKET_IFNAME": "=nosuch"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.replace("\n", "").split(";")[:-1]) == ["refused on 0", "refused on 1"]


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
        # Where averages are in the steps' graph, the ranks meet less often, so that losses are means of more steps.
        found, wanted = (losses(tmp_path / name, "validation") for name in ("nccl", "host"))
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
