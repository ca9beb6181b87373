"""One run of training, from a market store to a measured model.

Every rank reads its own slice of the store, scales it and cuts it into windows, and trains its own copy of the
network on them. Every few steps the ranks average their weights over MPI. Every few averages they meet other
clusters, if there are any, at an object store, and all agree on new weights. After each epoch the ranks validate
together and keep the best weights. At its interval the state of all ranks is written to a folder or to S3, from
which a stopped or killed run goes on. At the end the model is measured beside the simplest forecasts there are, and
where each rank's time went is written down.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math

import numpy as np

from hpc_lstm.checkpoint.writer import CheckpointWriter
from hpc_lstm.clusters.state import ClusterState
from hpc_lstm.clusters.synchronizer import ClusterSynchronizer, Interrupted
from hpc_lstm.config import RunConfig
from hpc_lstm.errors import CheckpointError, RoundLostError
from hpc_lstm.evaluation import evaluate
from hpc_lstm.files import write_text
from hpc_lstm.market.staging import staged
from hpc_lstm.market.store import MarketStore
from hpc_lstm.model.engines import registry as engines
from hpc_lstm.parallel import gpu
from hpc_lstm.parallel.averaging import Averager
from hpc_lstm.parallel.device_allreduce import device_sum
from hpc_lstm.parallel.world import World
from hpc_lstm.preprocess import prepare
from hpc_lstm.preprocess.sampler import TrainOrder
from hpc_lstm.runs.directory import RunDirectory
from hpc_lstm.runs.history import History
from hpc_lstm.timing import clocks
from hpc_lstm.timing.spans import gather_timing
from hpc_lstm.timing.timeline import Timeline
from hpc_lstm.training import log as account
from hpc_lstm.training import ownership, schedule, state
from hpc_lstm.training.early_stopping import Selection
from hpc_lstm.training.learning_rate import learning_rate
from hpc_lstm.training.progress import ProgressDisplay, Speed, close_log, open_log
from hpc_lstm.training.running_mean import LossSum

# Windows that are forecast at once in validation.
VALIDATION_BATCH = 1024


def train(config: RunConfig, run: RunDirectory, world: World, *, resume: bool = False) -> None:
    """Train as ``config`` says and fill the run directory; collective over all ranks.

    Args:
        resume: go on from the newest whole checkpoint; start afresh if there is none.

    Raises:
        InputError: settings, market store, run directory or storage are wrong, or the memory is not enough.
        StopRequested: a signal asked the run to stop; its state is in a checkpoint.
    """
    world.handle_signals()
    own_gpu = gpu.claim(world)
    with ownership.claimed(run, config, world, resume):
        timeline = Timeline(run.rank_timing(world.rank), world.rank, world.size, world.node)
        log = open_log(run, world)
        try:
            clocks.compare(world, timeline)
            with contextlib.ExitStack() as parts:
                training = Training(config, run, world, own_gpu, timeline, log, parts)
                training.begin(resume)
                if training.complete:
                    log.info("nothing to do: the run was completed; raise train.epochs to train further")
                else:
                    training.run()
                    training.finish()
        finally:
            timeline.close()
            close_log()
        world.barrier()
        if world.rank == 0:
            gather_timing(run.path)


class Training:
    """The parts of a run and how they work together.

    Attributes:
        position: how far the run has come; the same on every rank.
        selection: the best weights so far; the same on every rank.
        since_meeting: what this rank has trained on since the ranks last met.
        clusters: the meetings with other clusters; None where this one trains alone.
    """

    def __init__(
        self,
        config: RunConfig,
        run: RunDirectory,
        world: World,
        own_gpu: gpu.Gpu | None,
        timeline: Timeline,
        log: logging.Logger,
        parts: contextlib.ExitStack,
    ) -> None:
        self.config, self.files, self.world, self.timeline, self.log = config, run, world, timeline, log
        self.gpu = own_gpu
        settings = config.train
        self.threads = settings.threads or world.threads
        self.parts = parts  # to be closed, the last one first
        self.storage = ownership.open_run_storage(run, config, world)
        with timeline.span("load"):
            place = staged(config.data.store, world)
            self.store = world.raise_on_all(lambda: MarketStore(place))
            self.parts.callback(self.store.close)
            backend = world.raise_on_all(lambda: prepare.training_backend(settings, own_gpu))
            self.data = prepare.prepare(self.store, config.data, world, backend)
            self.parts.callback(self.data.close)
        self.backend_name = backend.name
        name = engines.choose(config, threads=self.threads, world=world)
        self.engine = engines.create(config, rank=world.rank, threads=self.threads, name=name)
        self.order = TrainOrder(len(self.data.train), settings.batch_size, settings.seed, world.rank)
        self.pace = schedule.plan(config, self.data.index.total("train"), world.size)
        on_gpu = bool(self.engine.device_vectors(moments=False))
        on_device = device_sum(
            config.average.transport, world, on_gpu, getattr(backend, "device", None), own_gpu
        )
        self.averager = Averager(world, config.average.what, on_device)
        self.averager.warm_up(self.engine)
        self.selection = Selection(settings.patience, settings.min_delta)
        self.position = schedule.Position()
        self.since_meeting = LossSum()
        self.clusters: ClusterSynchronizer | None = None
        self.standing: ClusterState | None = None  # among other clusters, by the checkpoint
        account.describe(self)

    def begin(self, resume: bool) -> None:
        """Go on from the newest whole checkpoint if asked to and there is one, else start from the seed."""
        config, world = self.config, self.world
        with self.timeline.span("checkpoint"):
            if config.sync.cluster:
                self.clusters = ClusterSynchronizer(
                    self.storage.store,
                    self.storage.run_prefix,
                    world,
                    config,
                    self.engine,
                    self.log,
                    self.timeline,
                )
                self.parts.callback(self.clusters.close)
                self.clusters.acquire_lease()
            if not resume:
                ownership.refuse_checkpoints(self.storage.store, self.storage.checkpoint_prefix, world)
            resumed = resume and state.go_on(self)
            if not resumed:
                self.engine.set_parameters(world.bcast_array(self.engine.parameters()))
        if self.clusters is not None and not self.complete:
            self.join(self.clusters, resumed)
        world.raise_on_all(lambda: ownership.sign(self.files, config) if world.rank == 0 else None)
        self.checkpoints = CheckpointWriter(
            self.storage.store,
            self.storage.checkpoint_prefix,
            world,
            config.checkpoint,
            config.storage,
            self.log,
            config=config,
            schema_digest=self.engine.schema.digest(),
            present=self.position.step if resumed else None,
        )
        self.parts.callback(self.checkpoints.close)
        self.history = History(self.files, world.rank == 0, self.position.step)
        self.parts.callback(self.history.close)
        total = self.position.step + self.pace.steps_left(self.position)
        self.display = ProgressDisplay(world.rank == 0, total, config.train.log_every_s, self.log)
        self.parts.callback(self.display.close)
        self.speed = Speed(self.position.samples)

    def join(self, clusters: ClusterSynchronizer, resumed: bool) -> None:
        """Meet the other clusters for the first time, or again, and begin with the weights that they are at."""
        with self.timeline.span("sync"):
            try:
                clusters.join(self.position.samples, self.standing, resumed)
            except Interrupted:
                raise account.interrupted(self) from None

    def run(self) -> None:
        """Train to the last epoch, or until the validation loss falls no more, or until asked to stop."""
        self.timeline.enter("compute")
        departed = self.clusters is not None and self.clusters.already_finished
        while not (self.trained or departed):
            self.take_steps()
            stop = self.pace.meets(self.position) and self.meet()
            if self.clusters is not None and self.pace.averages(self.position) and not stop:
                stop = self.exchange(self.clusters)
            if self.pace.ends_epoch(self.position):
                self.validate()
            if stop or self.pace.checkpoints(self.position):
                self.checkpoint(wait=stop)
            if stop:
                raise account.stopped(self)

    def take_steps(self) -> None:
        """Train on the next batches, up to where something is due."""
        count = min(self.engine.steps_per_call, self.pace.steps_to_boundary(self.position))
        batch_size = self.config.train.batch_size
        with self.timeline.span("preprocess"):
            inputs, targets = self.data.train.next_batch(self.order, count)
        self.timeline.reassign(self.data.train.waited_ns, "compute")  # the GPU was still at earlier steps
        with self.timeline.span("compute"):
            loss = self.engine.step(inputs, targets, self.learning_rates(count))
        self.data.train.used_by(loss)
        self.since_meeting.add(loss, count * batch_size)
        self.position = self.pace.advance(self.position, count, count * batch_size * self.world.size)

    def meet(self) -> bool:
        """Agree with the other ranks on loss and stopping, average if it is due; returns whether to stop."""
        mine = self.since_meeting.samples
        losses = self.since_meeting.loss_sum()
        with self.timeline.span("wait"):  # the first to come waits here for the last
            agreement = self.averager.agree(mine, losses)
        self.timeline.met()
        if self.pace.averages(self.position):
            with self.timeline.span("average"):
                self.averager.average(self.engine, mine, agreement.samples)
        self.since_meeting.set(0, 0.0)
        if not math.isfinite(agreement.loss):
            raise account.diverged(self)
        self.speed.update(self.position.samples)
        account.tell(self, agreement.loss)
        return agreement.stop

    def exchange(self, clusters: ClusterSynchronizer) -> bool:
        """Take up what other clusters have come to, and meet them if it is due; returns whether to stop.

        Raises:
            RoundLostError: this cluster cannot go on with the others; its state is in a checkpoint.
        """
        try:
            with self.timeline.span("sync"):
                clusters.synchronize(self.position.samples, self.pace.syncs(self.position))
        except Interrupted:
            return True
        except RoundLostError:
            self.checkpoint(wait=True)
            raise
        return False

    def depart(self, clusters: ClusterSynchronizer) -> None:
        """Meet the other clusters for the last time, and go on to the end of the run with them.

        Raises:
            StopRequested: see ``train``.
            RoundLostError: see ``exchange``.
        """
        try:
            with self.timeline.span("sync"):
                clusters.finish(self.position.samples)
            return
        except Interrupted:
            pass
        except RoundLostError:
            self.checkpoint(wait=True)
            raise
        self.checkpoint(wait=True)
        raise account.stopped(self)

    def validate(self) -> None:
        """Measure the model of all ranks together on the validation windows; keep it if it is the best."""
        total = self.data.index.total("validation")
        if not total:
            return
        with self.timeline.span("evaluate"):
            own = self.engine.parameters()
            weights = own if self.pace.averages_at_epoch_end else self.averager.mean_of(own)
            self.engine.set_parameters(weights)
            loss = self.validation_error() / total
            self.engine.set_parameters(own)
        best = self.selection.offer(loss, self.position.step, weights)
        self.history.validation(step=self.position.step, epoch=self.position.epoch, loss=loss, best=best)
        self.log.info(
            "epoch %d  validation loss %.6g%s", self.position.epoch, loss, "  best so far" if best else ""
        )

    def validation_error(self) -> float:
        """The sum of the squared errors on all ranks' validation windows, in scaled units."""
        windows = self.data.validation
        error = 0.0
        for start in range(0, len(windows), VALIDATION_BATCH):
            inputs, targets = windows.batch(np.arange(start, min(start + VALIDATION_BATCH, len(windows))))
            error += windows.squared_error(self.engine.predict(inputs), targets)
        return float(self.world.allreduce_sum(np.array([error]))[0])

    def checkpoint(self, *, wait: bool) -> None:
        """Write the state of all ranks; with ``wait``, at the end of a run, return when it is safe."""
        if wait:
            with self.timeline.span("wait"):
                clocks.compare(self.world, self.timeline)
        with self.timeline.span("checkpoint"):
            self.history.flush()
            self.timeline.flush()
            self.checkpoints.save(
                state.take(self),
                step=self.position.step,
                epoch=self.position.epoch,
                samples=self.position.samples,
                validation=self.selection.last,
                wait=wait,
            )

    def finish(self) -> None:
        """Save the run, measure the model that it ends with, and write it with its scaling and metrics.

        Raises:
            CheckpointError: the run could not be saved; the results are written all the same.
        """
        if self.clusters is not None:
            self.depart(self.clusters)
        unsaved: CheckpointError | None = None
        try:
            self.checkpoint(wait=True)
        except CheckpointError as error:
            unsaved = error
        with self.timeline.span("evaluate"):
            self.data.train.close()
            self.engine.set_parameters(self.final_weights())
            metrics = evaluate.evaluate(
                self.engine.predict, self.data, self.world, date_unit=self.store.date_unit
            )
        if self.world.rank == 0:
            self.engine.save(self.files.model)
            self.data.scaler.save(self.files.scaler)
            write_text(self.files.metrics, json.dumps(metrics | account.facts(self), indent=2) + "\n")
            self.log.info("%s", evaluate.comparison_table(metrics))
            self.log.info("results in %s", self.files.path)
        if unsaved is not None:
            raise unsaved

    def final_weights(self) -> np.ndarray:
        """The best weights by validation if they are wanted and known, else the last, of all ranks together.

        ClusterSynchronizer that have met end with the weights of the last round, all of them.
        """
        if self.clusters is not None:
            return self.engine.parameters()
        if self.config.train.restore_best and len(self.selection.weights):
            return self.selection.weights
        weights = self.engine.parameters()
        return weights if self.pace.averages_at_epoch_end else self.averager.mean_of(weights)

    def learning_rates(self, count: int) -> np.ndarray:
        """The learning rate of each of the next ``count`` steps."""
        progress = self.pace.progress(self.position)
        steps = np.arange(count) / self.pace.steps_per_epoch
        return np.array([learning_rate(self.config.train, progress + ahead) for ahead in steps], np.float32)

    @property
    def complete(self) -> bool:
        """True if there is nothing left to do, because an earlier start has done it all."""
        return self.trained and self.world.bcast(self.files.metrics.exists())

    @property
    def trained(self) -> bool:
        """True after the last epoch, or when the validation loss falls no more."""
        return self.pace.done(self.position) or self.selection.exhausted
