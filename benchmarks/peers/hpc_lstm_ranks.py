"""hpc_lstm: the parts of ``hpc_lstm.training.loop`` that train, in its order. Started by mpiexec.

Each rank holds its slice's rows and cuts every batch out of them, which is in its time. Averaging sends weights only.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from worker import Job, serve

from hpc_lstm import config as configuration
from hpc_lstm.market.store import MarketStore
from hpc_lstm.model.engines import registry as engines
from hpc_lstm.model.engines import tensorflow_runtime
from hpc_lstm.parallel import gpu
from hpc_lstm.parallel.averaging import Averager
from hpc_lstm.parallel.device_allreduce import create_device_allreduce
from hpc_lstm.parallel.world import connect
from hpc_lstm.preprocess import backends, prepare
from hpc_lstm.preprocess.sampler import ShuffledSampler
from hpc_lstm.training.running_mean import RunningMean


class HpcLstm:
    def __init__(self, folder: Path, ranks: int) -> None:
        self.world = connect()
        self.job = Job(folder, self.world.size)
        if self.world.size != ranks:
            raise SystemExit(f"{self.world.size} ranks where {ranks} were started")
        self.rank = self.world.rank
        self.gpu = gpu.assign_gpu(self.world) if self.job.gpu else None
        tensorflow_runtime.start_tensorflow(self.world.threads)  # its import belongs to start-up
        self.store = MarketStore(folder / "market.h5")
        self.backend = backends.create_backend("cuda" if self.job.gpu else "host")
        self.data = prepare.prepare(self.store, self._config(1, {}).data, self.world, self.backend)

    def _config(self, batch: int, options: dict[str, Any]) -> configuration.RunConfig:
        train = {"batch_size": batch, "precision": options.get("precision", "float32")}
        return configuration.parse(self.job.config | {"train": train}, "benchmark")

    def describe(self) -> dict[str, Any]:
        from importlib.metadata import version

        names = ("tensorflow", "keras", "numpy", "mpi4py")
        return {
            "versions": {name: version(name) for name in names} | {"MPI": self.world.library},
            "threads": self.world.threads,
            "gpu": self.gpu.describe() if self.gpu else None,
            "backend": self.backend.name,
        }

    def prepare(self, batch: int, options: dict[str, Any]) -> None:
        config = self._config(batch, options)
        self.batch, self.every = batch, options["every"]
        self.engine = engines.create_engine(config, rank=self.rank, threads=self.world.threads)
        on_gpu = bool(self.engine.device_vectors(moments=False))
        device = getattr(self.backend, "device", None)
        transport = create_device_allreduce(options.get("transport", "auto"), self.world, on_gpu, device)
        self.averager = Averager(self.world, "weights", transport)
        self.initial = self.engine.schema.flatten(self.job.weights())
        self.untouched = self.engine.moments(), self.engine.state()
        self.turns = 0

    def reset(self) -> None:
        self.engine.set_parameters(self.initial)
        self.engine.set_moments(self.untouched[0])
        self.engine.set_state(self.untouched[1])
        self.turns += 1  # dropout's masks are the same in every turn, so that windows come in another order
        self.order = ShuffledSampler(len(self.data.train), self.batch, self.turns, self.rank)

    def barrier(self) -> None:
        self.world.barrier()

    def train(self, steps: int) -> None:
        taken, since = 0, RunningMean()
        while taken < steps:
            count = min(self.engine.steps_per_call, self.every - taken % self.every, steps - taken)
            inputs, targets = self.data.train.next_batch(self.order, count)
            loss = self.engine.step(inputs, targets, np.full(count, self.job.rate, np.float32))
            self.data.train.used_by(loss)
            since.add(loss, count * self.batch)
            taken += count
            if taken % self.every == 0 or taken == steps:
                agreement = self.averager.agree(since.samples, since.loss_sum())
                self.averager.average(self.engine, since.samples, agreement.samples)
                since = RunningMean()

    def validation_loss(self) -> float:
        windows, error = self.data.validation, 0.0
        for start in range(0, len(windows), 1024):
            inputs, targets = windows.batch(np.arange(start, min(start + 1024, len(windows))))
            error += windows.squared_error(self.engine.predict(inputs), targets)
        return float(
            self.world.allreduce_sum(np.array([error, len(windows)]))[0] / self.data.index.total("validation")
        )


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    serve(HpcLstm(folder.parent, int(sys.argv[2])), folder)
