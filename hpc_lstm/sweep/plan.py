"""The runs of a sweep: its points, the length of each run, and their order."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hpc_lstm import config as configuration
from hpc_lstm.config import AGREE_STEPS, RunConfig
from hpc_lstm.errors import ConfigError, HpcLstmError, InputError
from hpc_lstm.storage.stores import check_storage_config
from hpc_lstm.sweep import stores
from hpc_lstm.sweep.settings import SweepConfig
from hpc_lstm.sweep.stores import SyntheticStore
from hpc_lstm.text.counts import counted

# Keys of [sweep] that may change between two calls of the same sweep: they affect no measurement.
CHANGEABLE = ("repeats", "timeout_s", "config")
# Keys of [slurm] that decide on which hardware ranks run, and so must not change; the others may.
PLACEMENT = ("ranks_per_node", "gpus_per_node", "cpus_per_task", "partition", "exclusive")


@dataclass(frozen=True)
class Point:
    """One combination of settings and number of ranks.

    Attributes:
        number: index among all points of the sweep.
        ranks: number of ranks.
        axes: value of each axis, by its key.
        config: the run's settings; ``data.store`` is a placeholder until the store is made.
        warmup, steps: steps of each rank that are not measured, and that are; both whole averaging intervals.
        made: the store to make; None where ``data.store`` names one.
    """

    number: int
    ranks: int
    axes: dict[str, Any]
    config: RunConfig
    warmup: int
    steps: int
    made: SyntheticStore | None

    @property
    def process(self) -> tuple[int, bool]:
        """What the runs of one set of processes have in common: TensorFlow is configured once per process."""
        return self.ranks, self.config.train.deterministic


@dataclass(frozen=True)
class PlannedRun:
    """One measurement of a point."""

    point: Point
    repeat: int

    @property
    def name(self) -> str:
        """Its name in the sweep's folder, the same in every call."""
        return f"p{self.point.number:04d}-r{self.repeat:02d}"


@dataclass(frozen=True)
class SweepPlan:
    """All runs of a sweep, in their order; each launch is one set of processes."""

    sweep: SweepConfig
    points: list[Point]
    launches: list[list[PlannedRun]] = field(repr=False)

    @property
    def runs(self) -> list[PlannedRun]:
        """All runs."""
        return [run for launch in self.launches for run in launch]

    @property
    def fewest(self) -> int:
        """The smallest number of ranks, which efficiency is over."""
        return min(point.ranks for point in self.points)


def plan_sweep(sweep: SweepConfig, base: dict[str, Any], where: str) -> SweepPlan:
    """The runs of a sweep.

    Args:
        base: tables of settings that all runs start from.
        where: source of the settings, for errors.

    Raises:
        ConfigError: a value that a run's settings do not accept; one line.
    """
    points: list[Point] = []
    for values in itertools.product(*sweep.axes.values()):
        axes = dict(zip(sweep.axes, values, strict=True))
        for ranks in sorted(sweep.sweep.ranks):
            if not sweep.skips(ranks, axes):
                points.append(_point(len(points), ranks, axes, sweep, base, where))
    if not points:
        raise ConfigError(f"{where}: skip: leaves out every combination; remove a rule")
    return SweepPlan(sweep, points, _launches(points, sweep))


def fixed_settings(sweep: SweepConfig, base: dict[str, Any]) -> dict[str, Any]:
    """The settings that must not change while a sweep is under way, as ``section.key``: value."""
    found = {
        f"sweep.{key}": value for key, value in sweep.sweep.model_dump().items() if key not in CHANGEABLE
    }
    found["local.launcher"] = sweep.local.launcher
    if sweep.sweep.runner == "slurm":
        found |= {f"slurm.{key}": getattr(sweep.slurm, key) for key in PLACEMENT}
    found["skip"] = sweep.skip
    found |= {f"axes.{key}": value for key, value in sweep.axes.items()}
    found |= {f"settings.{s}.{key}": value for s, table in base.items() for key, value in table.items()}
    store = base["data"].get("store")
    if store and Path(store).exists():
        found["settings.data.store (bytes)"] = Path(store).stat().st_size
    return found


def settings_digest(tables: dict[str, Any]) -> str:
    """SHA-256 of ``fixed_settings``."""
    return hashlib.sha256(json.dumps(tables, sort_keys=True).encode()).hexdigest()


def _point(
    number: int, ranks: int, axes: dict[str, Any], sweep: SweepConfig, base: dict[str, Any], where: str
) -> Point:
    tables: dict[str, Any] = {section: dict(table) for section, table in base.items()}
    for key, value in axes.items():
        table, _, name = key.partition(".")
        tables.setdefault(table, {})[name] = value
    given = bool(tables["data"].get("store"))
    section = sweep.sweep
    if not given:
        tables["data"] |= {"store": "made by the sweep", "split": stores.SPLIT}
    train = tables.setdefault("train", {})
    if section.batch == "all":
        batch = configuration.parse(tables, where).train.batch_size
        if batch % ranks:
            raise ConfigError(
                f'{where}: sweep.batch = "all": {ranks} ranks cannot share a train.batch_size of {batch} equally; '
                "choose a multiple of every number of ranks"
            )
        train["batch_size"] = batch // ranks
    train |= {"threads": section.threads, "patience": 0, "epochs": 1}
    tables["checkpoint"] = {"every": "epoch", "keep": 1}
    config = configuration.parse(tables, where)
    check_storage_config(config.storage, where)
    interval = averaging_interval(config)
    if interval > AGREE_STEPS:
        raise ConfigError(
            f"{where}: average.every: a sweep takes at most {AGREE_STEPS}, got {interval}: ranks meet that often "
            'anyway, and all stretches between meetings must be alike; choose less, "epoch" or 0'
        )
    warmup = _round_up(section.warmup, interval)
    # Strong scaling: all ranks together take as many windows as the fewest ranks do, in full batches.
    share = min(section.ranks) / ranks if section.scaling == "strong" and section.batch == "rank" else 1.0
    steps = _round_up(math.ceil(section.steps * share), interval)
    windows = ranks * config.train.batch_size * (warmup + steps)
    if given:
        train_windows = stores.count_train_windows(config.data)
        passes, epoch = windows / train_windows, -(-train_windows // (ranks * config.train.batch_size))
        if epoch < interval:
            raise ConfigError(
                f"{where}: data.store: an epoch of {epoch} steps on {counted(ranks, 'rank')}, fewer than the "
                f"{interval} between two meetings of the ranks; take a larger store, or smaller batches"
            )
        longer = config.train.model_copy(update={"epochs": max(1, math.ceil(passes))})
        return Point(number, ranks, axes, config.model_copy(update={"train": longer}), warmup, steps, None)
    least = stores.min_days(config.data)
    if section.days < least:
        raise ConfigError(
            f"{where}: sweep.days: {section.days} rows of a symbol are too few for data.window = {config.data.window} "
            f"and data.horizon = {config.data.longest_horizon}; choose {least} or more"
        )
    made = stores.smallest_store(windows, config.data, section.days)
    return Point(number, ranks, axes, config, warmup, steps, made)


def averaging_interval(config: RunConfig) -> int:
    """Steps of a cycle: those between two synchronizations of all ranks."""
    every = config.average.every
    return every if isinstance(every, int) and every > 0 else AGREE_STEPS


def averages_every_cycle(config: RunConfig) -> bool:
    """Whether the ranks average at the end of each cycle, and not only at the ends of epochs or never."""
    every = config.average.every
    return isinstance(every, int) and every > 0


def _round_up(steps: int, interval: int) -> int:
    return -(-steps // interval) * interval


def _launches(points: list[Point], sweep: SweepConfig) -> list[list[PlannedRun]]:
    """The runs in sets that share processes; each repeat has a random order of its own."""
    per_repeat = []
    for repeat in range(sweep.sweep.repeats):
        order = np.random.default_rng([sweep.sweep.seed, repeat]).permutation(len(points))
        per_repeat.append([PlannedRun(points[number], repeat) for number in order])
    if sweep.sweep.launch == "run":
        return [[run] for runs in per_repeat for run in runs]
    if sweep.sweep.launch == "repeat":
        return [group for runs in per_repeat for group in _by_process(runs)]
    return _by_process(run for runs in per_repeat for run in runs)


def _by_process(runs: Iterable[PlannedRun]) -> list[list[PlannedRun]]:
    groups: dict[tuple[int, bool], list[PlannedRun]] = {}
    for run in runs:
        groups.setdefault(run.point.process, []).append(run)
    return list(groups.values())


def check_slurm(sweep: SweepConfig) -> None:
    """Check that numbers of ranks fill whole nodes, and that the time limit of the jobs is valid.

    Raises:
        ConfigError: they do not, or it is not.
    """
    from hpc_lstm.jobs import slurm

    each = sweep.slurm.ranks_per_node
    for ranks in sweep.sweep.ranks:
        if ranks > each and ranks % each:
            raise ConfigError(
                f"sweep.ranks: {ranks} ranks do not fill nodes of slurm.ranks_per_node = {each}; choose a multiple"
            )
    if sweep.slurm.time:
        try:
            length = slurm.time_limit_seconds(sweep.slurm.time)
        except InputError as error:
            raise ConfigError(f"slurm.{error}") from None
        if length <= slurm.SIGNAL_BEFORE_S:
            raise ConfigError(
                f"slurm.time: {sweep.slurm.time} is too short: jobs are told to stop {slurm.SIGNAL_BEFORE_S} s before "
                "their end; ask for more"
            )


def nodes_for(ranks: int, per_node: int) -> tuple[int, int]:
    """Number of nodes for so many ranks, and of ranks on each.

    Raises:
        HpcLstmError: the ranks do not fill the nodes.
    """
    if ranks <= per_node:
        return 1, ranks
    if ranks % per_node:
        raise HpcLstmError(f"{ranks} ranks do not fill nodes of {per_node}")
    return ranks // per_node, per_node
