"""Where a rank computes and with what: its GPU, threads, backend, engine and how weights are averaged.

Resolved once, by all ranks together, before anything depends on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpc_lstm.config import RunConfig
from hpc_lstm.model.engines.registry import choose_engine
from hpc_lstm.parallel import gpu as gpus
from hpc_lstm.parallel.device_allreduce import DeviceAllreduce, create_device_allreduce
from hpc_lstm.parallel.gpu import Gpu
from hpc_lstm.parallel.world import World
from hpc_lstm.preprocess.backends import backend_for_training
from hpc_lstm.training.stages import Stages

if TYPE_CHECKING:
    from hpc_lstm.model.engine import Engine
    from hpc_lstm.preprocess.backend import Backend


@dataclass(frozen=True)
class Placement:
    """Where one rank computes.

    Attributes:
        gpu: this rank's GPU; None without one.
        threads: CPU threads of this rank.
        backend: what scales and cuts windows; of the same kind on every rank.
        engine: what computes the steps; of the same kind on every rank.
        allreduce: sums vectors in GPU memory over the ranks; None: averages go through host memory.
    """

    gpu: Gpu | None
    threads: int
    backend: Backend
    engine: Engine
    allreduce: DeviceAllreduce | None


def resolve_placement(config: RunConfig, world: World, stages: Stages) -> Placement:
    """Resolve ``train.engine``, ``train.backend``, ``train.threads`` and ``average.transport``; collective.

    Args:
        stages: are told when the device is opened and when kernels are compiled.

    Raises:
        InputError: what the settings ask for is not available, on some rank.
    """
    stages.begin("opening the device")
    gpu = gpus.assign_gpu(world)
    threads = config.train.threads or world.threads
    engine_class = choose_engine(config, threads=threads, world=world, begin=stages.begin)
    if gpu is not None:
        stages.begin("opening the device")
    device_batches = engine_class.reads_device_batches
    backend = world.raise_on_all(
        lambda: backend_for_training(config.train, gpu, device_batches=device_batches)
    )
    stages.begin("compiling kernels")
    engine: Engine = world.raise_on_all(lambda: engine_class(config, rank=world.rank, threads=threads))
    on_gpu = bool(engine.device_vectors(moments=False))
    allreduce = create_device_allreduce(config.average.transport, world, on_gpu, backend.device, gpu)
    return Placement(gpu, threads, backend, engine, allreduce)
