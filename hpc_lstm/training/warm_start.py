"""Where a run begins: from the seed, or from the model of another run, with a fresh optimizer and its own data."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpc_lstm import config as configuration
from hpc_lstm.clusters.run_owner import require
from hpc_lstm.config import RunConfig
from hpc_lstm.errors import ConfigError, InputError
from hpc_lstm.files import expanded
from hpc_lstm.model.engines.registry import load_forecaster
from hpc_lstm.model.parameters import Schema
from hpc_lstm.parallel.world import World
from hpc_lstm.preprocess.scaler import Scaler
from hpc_lstm.preprocess.split import SplitDates
from hpc_lstm.runs.directory import RunDirectory, at
from hpc_lstm.runs.run_file import FITTED, KEPT, RunFile, read_run_file

# Settings that give weights their meaning: what goes into the network, what comes out, and what it is.
SHARED = (
    *("model.layers", "model.units", "data.features", "data.target", "data.scaling", "data.feature_range"),
    *("train.loss", "train.quantiles"),
)


@dataclass(frozen=True)
class WarmStart:
    """What a user asks for by ``--init-from``.

    Attributes:
        run_dir: of the completed run whose model is the start.
        keep_scaling: scale prices as that run did, instead of by the own train rows.
    """

    run_dir: str | Path
    keep_scaling: bool = False


@dataclass(frozen=True)
class Origin:
    """Where this run begins, the same on every rank.

    Attributes:
        source: the run whose model it begins with; None: it begins from the seed.
        scaler: that run's scaling, if it is kept.
    """

    source: RunDirectory | None = None
    scaler: Scaler | None = None

    @property
    def scaling(self) -> str:
        """FITTED or KEPT, as ``run.json`` has it."""
        return FITTED if self.scaler is None else KEPT

    @property
    def scaling_digest(self) -> str:
        """SHA-256, in hex, of the scaling that is kept; "" where none is."""
        if self.scaler is None:
            return ""
        kept = hashlib.sha256("\0".join([*self.scaler.symbols, *self.scaler.columns]).encode())
        for values in (self.scaler.scale, self.scaler.shift):
            kept.update(np.ascontiguousarray(values, np.float64).tobytes())
        return kept.hexdigest()


def find_origin(
    run: RunDirectory, config: RunConfig, asked: WarmStart | None, world: World, log: logging.Logger
) -> Origin:
    """Where the run in a directory began, or where a new one is to begin; collective.

    Args:
        asked: None: from the seed, or where it began if the directory holds a run.

    Raises:
        InputError: the other run is not complete, or the directory's own; this run began elsewhere; the scaling that is
            kept is missing.
        ConfigError: the other run's network takes or gives something else: the key.
    """

    def find() -> Origin:
        if world.rank:
            return Origin()
        if run.holds_run:
            return _recorded(run, read_run_file(run) or RunFile(), asked)
        return Origin() if asked is None else _asked(run, config, asked, log)

    return world.bcast(world.raise_on_all(find))


def read_weights(origin: Origin, schema: Schema, log: logging.Logger, threads: int) -> np.ndarray:
    """The weights of the other run's model, float32 [P]; on rank 0.

    Args:
        schema: of this run's vector of weights.
        threads: CPU threads of this rank.

    Raises:
        InputError: the model is missing, damaged or another network.
    """
    assert origin.source is not None
    path = require(origin.source, origin.source.model)
    network = load_forecaster(path, threads=threads)
    if network.shapes != schema.shapes:
        raise InputError(
            f"{path}: is not the network that its run's config.toml describes: the files belong to different runs"
        )
    scaling = "as that run scaled them" if origin.scaler is not None else "by the train rows of this run"
    log.info(
        "starting with the model of %s and a fresh optimizer; prices are scaled %s", path.parent, scaling
    )
    return network.parameters()


def days_seen(origin: Origin, cut: SplitDates | None, unit: str) -> list[str]:
    """A sentence if the other run was trained on days that this one is measured on; none where that is not known.

    Args:
        cut: where this run's parts are cut; None: each symbol is split by itself.
        unit: of the store's dates.
    """
    if origin.source is None or cut is None:
        return []
    try:
        record = read_run_file(origin.source) or RunFile()
        trained = SplitDates.from_texts(record.data or {}, unit).train_end
    except (InputError, KeyError, ValueError, TypeError):
        return []  # it split each symbol by itself, is of an older version, or damaged meanwhile
    opens = cut.train_end if cut.validation_opens is None else cut.validation_opens
    if trained <= opens:
        return []
    from hpc_lstm.evaluation.dates import date_text

    return [
        f"{origin.source.path} was trained on days up to {date_text(trained, unit)}, and the validation part of this "
        f"run begins after {date_text(opens, unit)}: its model has seen days that this run is measured on, and the "
        "metrics flatter it; let data.split begin validation later, or start from a model trained on earlier days"
    ]


def _recorded(run: RunDirectory, record: RunFile, asked: WarmStart | None) -> Origin:
    """The origin of a run that has begun."""
    if asked is not None:
        wanted = (str(_absolute(asked.run_dir)), KEPT if asked.keep_scaling else FITTED)
        if wanted != (record.init_from, record.scaling):
            began = f"from the model of {record.init_from}" if record.init_from else "from the seed"
            scaling = ", whose scaling it keeps" if record.scaling == KEPT else ""
            raise InputError(
                f"{run.path}: this run began {began}{scaling}; resume it without --init-from, or start another one "
                "with another --run-dir"
            )
    scaler = None
    if record.scaling == KEPT:
        if not run.scaler.exists():
            raise InputError(
                f"{run.scaler}: missing: this run keeps the scaling of {record.init_from}; copy its scaler.h5 here"
            )
        scaler = Scaler.load(run.scaler)
    return Origin(at(record.init_from) if record.init_from else None, scaler)


def _asked(run: RunDirectory, config: RunConfig, asked: WarmStart, log: logging.Logger) -> Origin:
    """The origin of a new run."""
    source = RunDirectory(_absolute(asked.run_dir))
    if source.path.resolve() == run.path.resolve():
        raise InputError(
            f"--init-from {asked.run_dir}: is the run directory itself; to continue that run, use --resume"
        )
    theirs = source.load_config()
    require(source, source.model)
    differences = configuration.differences(theirs, config)
    for key, was, now in differences:
        if key in SHARED:
            raise ConfigError(
                f"--init-from {asked.run_dir}: its model was trained with {key} = {was!r}, this run has {now!r}; "
                "set the same value, or train from the seed"
            )
    if len(theirs.data.horizons) != len(config.data.horizons):
        raise ConfigError(
            f"--init-from {asked.run_dir}: its model has outputs for data.horizon = {theirs.data.horizon!r}, this run "
            f"for {config.data.horizon!r}; name as many, or train from the seed"
        )
    others = [
        f"{key} {was!r} -> {now!r}"
        for key, was, now in differences
        if key.startswith(("data.", "model.")) and key != "data.store"
    ]
    if others:
        log.info("settings other than those of the run that it starts from: %s", ", ".join(others))
    return Origin(source, Scaler.load(require(source, source.scaler)) if asked.keep_scaling else None)


def _absolute(path: str | Path) -> Path:
    return expanded(path).absolute()
