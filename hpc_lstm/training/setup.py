"""The parts of a run that stay the same while it trains, opened in order and closed in reverse."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpc_lstm.clusters.lease import Lease
from hpc_lstm.config import RunConfig
from hpc_lstm.market.known_rows import KnownRows
from hpc_lstm.market.staging import stage_store
from hpc_lstm.market.store import MarketStore
from hpc_lstm.parallel.averages_within import AveragesWithin
from hpc_lstm.parallel.averaging import Averager
from hpc_lstm.parallel.world import World
from hpc_lstm.preprocess import prepare
from hpc_lstm.preprocess.market_means import know_other_rows
from hpc_lstm.preprocess.recorded_split import split_to_resume
from hpc_lstm.preprocess.usable import know_usable_rows
from hpc_lstm.runs.directory import RunDirectory
from hpc_lstm.runs.loggers.registry import check_loggers
from hpc_lstm.timing.timeline import Timeline
from hpc_lstm.training import log as messages
from hpc_lstm.training.data_warnings import data_warnings
from hpc_lstm.training.log_files import close_log, open_log
from hpc_lstm.training.ownership import RunStorage, open_run_storage
from hpc_lstm.training.placement import Placement, resolve_placement
from hpc_lstm.training.resources import check_resources
from hpc_lstm.training.schedule import Schedule, make_schedule
from hpc_lstm.training.stages import Stages
from hpc_lstm.training.warm_start import Origin, WarmStart, days_seen, find_origin

if TYPE_CHECKING:
    from hpc_lstm.clusters.synchronizer import ClusterSynchronizer
    from hpc_lstm.model.engine import Engine


@dataclass(frozen=True)
class Run:
    """The parts of one rank's run. What changes while it trains is ``state.TrainState``.

    Attributes:
        placement: GPU, threads, backend, engine and transport.
        origin: where the run begins: from the seed, or from another run's model.
        data: this rank's windows, and the scaling of all ranks.
        known: the rows of the store that the run is trained on.
        others: rows of symbols that it is not trained on, from which features take means; None: they take none.
        storage: where checkpoints, and the rounds of clusters, are kept.
        averages_within: averages that the engine takes itself; None: it leaves them to the averager.
        clusters: synchronizes with other clusters; None where this one trains alone.
        owner: the lease by which this job owns the directory, on rank 0.
    """

    config: RunConfig
    directory: RunDirectory
    world: World
    timeline: Timeline
    log: logging.Logger
    placement: Placement
    origin: Origin
    store: MarketStore
    data: prepare.Prepared
    known: KnownRows
    others: KnownRows | None
    schedule: Schedule
    averager: Averager
    averages_within: AveragesWithin | None
    storage: RunStorage
    clusters: ClusterSynchronizer | None
    owner: Lease | None = None

    @property
    def engine(self) -> Engine:
        """Trains this rank's copy of the network."""
        return self.placement.engine


@contextmanager
def recorded(directory: RunDirectory, world: World) -> Iterator[tuple[Timeline, logging.Logger]]:
    """This rank's timeline and log around a run."""
    with ExitStack() as parts:
        timeline = Timeline(directory.rank_timing(world.rank), world.rank, world.size, world.node)
        parts.callback(timeline.close)
        parts.callback(close_log)
        yield timeline, open_log(directory, world)


@contextmanager
def set_up(
    config: RunConfig,
    directory: RunDirectory,
    world: World,
    timeline: Timeline,
    log: logging.Logger,
    *,
    warm_start: WarmStart | None = None,
    owner: Lease | None = None,
    stages: Stages | None = None,
    meetings: tuple[int, ...] = (),
) -> Iterator[Run]:
    """Open the data and everything that trains on it; collective.

    Args:
        warm_start: begin with another run's model; None: from the seed, or where the run of the directory began.
        meetings: steps at which the ranks meet in any case.

    Raises:
        InputError: settings, market store or storage are wrong, or what they ask for is not available.
    """
    stages = stages or Stages(active=False)
    with ExitStack() as parts:
        world.raise_on_all(lambda: check_resources(config))
        world.raise_on_all(lambda: check_loggers(config.train.loggers))
        stages.begin("opening the storage")
        origin = find_origin(directory, config, warm_start, world, log)
        storage = open_run_storage(directory, config, world)
        stages.begin("opening the market store")
        with timeline.span("load"):
            path = stage_store(config.data.store, world)
            store = parts.enter_context(world.raise_on_all(lambda: MarketStore(path)))
        placement = resolve_placement(config, world, stages)
        averager = parts.enter_context(Averager(world, config.average.what, placement.allreduce))
        stages.begin("reading prices")
        with timeline.span("load"):
            columns = world.raise_on_all(lambda: prepare.model_columns(store, config.data))
            known, left_out = know_usable_rows(store, config.data, columns, world)
            others = know_other_rows(store, columns, known.symbols, world)
            cut = world.bcast(
                world.raise_on_all(lambda: None if world.rank else split_to_resume(directory, config, known))
            )
            data = prepare.prepare(
                *(store, config.data, world, placement.backend, origin.scaler),
                split_dates=cut,
                left_out=left_out,
            )
            parts.callback(data.close)
            messages.log_left_out(log, [store.symbols[symbol] for symbol in left_out])
            world.raise_on_all(lambda: prepare.check_windows(data.index.total("train"), world.size))
            seen = world.raise_on_all(
                lambda: [] if world.rank else days_seen(origin, data.split_dates, store.date_unit)
            )
            for warning in (*data_warnings(store, config.data, data, world), *seen):
                log.warning("warning: %s", warning)
        stages.begin("starting to train")
        averager.warm_up(placement.engine)
        schedule = make_schedule(config, data.index.total("train"), world.size, meetings)
        # Clusters may want to meet at any average.
        within = averager.within_calls(placement.engine, 0 if config.sync.cluster else schedule.average_every)
        clusters = None
        if config.sync.cluster:
            from hpc_lstm.clusters.synchronizer import ClusterSynchronizer

            clusters = ClusterSynchronizer(
                *(storage.store, storage.run_prefix, world, config, placement.engine, log, timeline),
                place=storage.place,
                signer=storage.signer,
                scaling=origin.scaling_digest,
            )
            parts.callback(clusters.close)
        run = Run(
            config=config,
            directory=directory,
            world=world,
            timeline=timeline,
            log=log,
            placement=placement,
            origin=origin,
            store=store,
            data=data,
            known=known,
            others=others,
            schedule=schedule,
            averager=averager,
            averages_within=within,
            storage=storage,
            clusters=clusters,
            owner=owner,
        )
        messages.log_setup(
            *(log, config, world, placement, data, run.schedule),
            store_copy=str(store.path),
            signed=storage.signer.active,
        )
        yield run
