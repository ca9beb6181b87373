"""hpc_lstm: the parts of ``hpc_lstm.training.loop`` that train, in its order. Started by mpiexec.

Each rank holds its slice's rows and cuts every batch out of them, which is in its time. Averaging sends weights only.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
from worker import Job, serve

from hpc_lstm import config as configuration
from hpc_lstm.errors import HpcLstmError
from hpc_lstm.market.store import MarketStore
from hpc_lstm.model.engine import AveragingEngine, Engine, LossValue
from hpc_lstm.model.engines.registry import choose_engine
from hpc_lstm.parallel import gpu
from hpc_lstm.parallel.averages_within import AveragesWithin
from hpc_lstm.parallel.averaging import Averager
from hpc_lstm.parallel.device_allreduce import create_device_allreduce
from hpc_lstm.parallel.launch import connect
from hpc_lstm.parallel.mpi_allreduce import mpi_takes_device_memory
from hpc_lstm.parallel.work import Work
from hpc_lstm.preprocess import backends, prepare
from hpc_lstm.preprocess.sampler import ShuffledSampler
from hpc_lstm.sweep.environment import OtherLoad, describe_environment
from hpc_lstm.training.garbage import kept_objects
from hpc_lstm.training.running_mean import RunningMean


class HpcLstm:
    def __init__(self, folder: Path, ranks: int) -> None:
        self.world = connect()
        self.job = Job(folder, self.world.size)
        if self.world.size != ranks:
            raise SystemExit(f"{self.world.size} ranks where {ranks} were started")
        self.rank = self.world.rank
        self.gpu = gpu.assign_gpu(self.world) if self.job.gpu else None
        self.store = MarketStore(folder / "market.h5")
        self.backend = backends.create_backend("cuda" if self.job.gpu else "host")
        self.data = prepare.prepare(self.store, self._config(1, {}).data, self.world, self.backend)
        self.engine: Engine | None = None
        self.prepared: tuple[Any, ...] = ()
        self.averagers: dict[str, Averager] = {}
        self.within: AveragesWithin | None = None
        self.withins: list[AveragesWithin] = []

    def _config(self, batch: int, options: dict[str, Any]) -> configuration.RunConfig:
        model = {"units": options.get("units", self.job.units)}
        train = {
            "batch_size": batch,
            "precision": options.get("precision", "float32"),
            "engine": options.get("engine", "auto"),
        }
        tables = self.job.config | {"model": self.job.config["model"] | model, "train": train}
        return configuration.parse(tables, "benchmark")

    def describe(self) -> dict[str, Any]:
        return {
            "environment": describe_environment(self.world, self.world.threads),
            "gpu": self.gpu.describe() if self.gpu else None,
            "backend": self.backend.name,
            "transports": self._transports(),
        }

    def _transports(self) -> list[str]:
        """Those that all ranks have; collective."""
        found = ["host"]
        if self.job.gpu and all(self.world.allgather(_has_nccl())):
            found.insert(0, "nccl")
        if self.job.gpu and all(self.world.allgather(mpi_takes_device_memory(self.world.library))):
            found.append("mpi")
        return found

    def prepare(self, batch: int, options: dict[str, Any]) -> None:
        self.batch, self.every = batch, options["every"]
        chosen = (batch, *(options.get(key) for key in ("units", "precision", "engine")))
        if self.prepared != chosen:
            self._create_engine(batch, options)
            self.prepared = chosen
        self.averager = self._averager(options.get("transport", "auto"))
        self.averager.warm_up(self._engine)
        self.within = self.averager.within_calls(self._engine, self.every)
        if self.within is not None and self.within not in self.withins:
            self.withins.append(self.within)

    def _create_engine(self, batch: int, options: dict[str, Any]) -> None:
        # The memory of the one before goes first.
        self.prepared, self.engine = (), None
        for within in self.withins:
            within.close()
        self.withins.clear()
        config = self._config(batch, options)
        kind = choose_engine(config, threads=self.world.threads, world=self.world)
        self.engine = kind(config, rank=self.rank, threads=self.world.threads)
        if self.job.gpu and not self.engine.device_vectors(moments=False):
            raise SystemExit(f"engine {kind.name} does not train on the GPU")
        self.initial = self.engine.schema.flatten(self.job.weights(config.model.units))
        self.untouched = self.engine.moments(), self.engine.state()
        self.turns = 0

    def _averager(self, transport: str) -> Averager:
        """One for each transport, kept, since NCCL takes a second to connect the ranks."""
        if transport not in self.averagers:
            on_gpu = bool(self._engine.device_vectors(moments=False))
            device = getattr(self.backend, "device", None)
            by = create_device_allreduce(transport, self.world, on_gpu, device, self.gpu)
            self.averagers[transport] = Averager(self.world, "weights", by)
        return self.averagers[transport]

    @property
    def _engine(self) -> Engine:
        assert self.engine is not None
        return self.engine

    def reset(self) -> None:
        self._engine.set_parameters(self.initial)
        self._engine.set_moments(self.untouched[0])
        self._engine.set_state(self.untouched[1])
        self.turns += 1  # dropout's masks are the same in every turn, so that windows come in another order
        self.order = ShuffledSampler(len(self.data.train), self.batch, self.turns, self.rank)
        self.load = OtherLoad(self.world)

    def barrier(self) -> None:
        self.world.barrier()

    def train(self, steps: int) -> None:
        with kept_objects():
            self._train(steps)

    def _train(self, steps: int) -> None:
        engine, taken, since = self._engine, 0, RunningMean()
        self.meetings: list[tuple[int, float, float, float]] = []
        self.begun = time.perf_counter()
        queued = self.averager.is_queued(engine) or (self.world.size == 1 and engine.asynchronous)
        meeting: tuple[RunningMean, Work, int] | None = None
        while taken < steps:
            most = min(engine.steps_per_call, steps - taken)
            together = most - most % self.every if self.within and taken % self.every == 0 else 0
            count = together or min(most, self.every - taken % self.every)
            inputs, targets = self.data.train.next_batch(self.order, count, cut=not engine.cuts_windows)
            rates = np.full(count, self.job.rate, np.float32)
            averages: Work | None = None
            loss: LossValue
            if together:
                loss = averages = cast("AveragingEngine", engine).step(inputs, targets, rates, self.within)
            else:
                loss = engine.step(inputs, targets, rates)
            self.data.train.used_by(loss)
            since.add(loss, count * self.batch)
            taken += count
            if meeting is not None:
                self._end(*meeting)
                meeting = None
            if taken % self.every == 0 or taken == steps:
                if averages is not None:
                    meeting = since, averages, count // self.every
                elif queued:
                    samples = since.samples
                    meeting = since, self.averager.average(engine, samples, samples * self.world.size), 0
                else:
                    self._end(since, None, 0)
                since = RunningMean()
        if meeting is not None:
            self._end(*meeting)

    def _end(self, losses: RunningMean, average: Work | None, within: int) -> None:
        """End a meeting: wait for the loss, agree, and average or wait for the average that was queued.

        Args:
            within: averages in the call whose loss it is.
        """
        samples, loss_sum = losses.samples, losses.loss_sum()
        computed = time.perf_counter()
        if within and average is not None:  # its time was part of the wait for the loss
            computed = max(self.begun, computed - average.wait() / 1e9)
        agreement = self.averager.agree(samples, loss_sum)
        met = time.perf_counter()
        if average is None:
            self.averager.average(self._engine, samples, agreement.samples)
        elif self.world.size > 1:
            averaged_s = self.averager.shortest(average.wait()) / 1e9
            met = max(computed, time.perf_counter() - averaged_s)
        end = time.perf_counter()
        self.meetings.append((max(1, within), computed - self.begun, met - computed, end - met))
        self.begun = end

    def measured(self) -> dict[str, Any]:
        """The time between meetings, and the load of other programs.

        Of each meeting: its averages, and seconds of computing, of waiting for the others, of averaging.
        """
        return {"meetings": self.meetings, "other_load": self.load.share()}

    def validation_loss(self) -> float:
        windows, error = self.data.validation, 0.0
        for start in range(0, len(windows), 1024):
            inputs, targets = windows.batch(np.arange(start, min(start + 1024, len(windows))))
            error += windows.squared_error(self._engine.predict(inputs), targets)
        return float(
            self.world.allreduce_sum(np.array([error, len(windows)]))[0] / self.data.index.total("validation")
        )


def _has_nccl() -> bool:
    from hpc_lstm.parallel.nccl import load_driver, load_nccl

    try:
        load_driver(), load_nccl()
    except HpcLstmError:
        return False
    return True


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    serve(HpcLstm(folder.parent, int(sys.argv[2])), folder)
