"""Walk-forward: a completed run's settings, trained anew on the days before each of several test blocks.

Each fold is a run of its own in ``walk_forward/<settings>/fold-<n>`` of the run directory, trained by all ranks. A
stopped evaluation goes on where it was: finished folds are read, the one that was stopped is resumed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hpc_lstm import config as configuration
from hpc_lstm.config import RunConfig, StorageConfig, SyncConfig
from hpc_lstm.errors import InputError, StopRequested
from hpc_lstm.evaluation.all_outputs import evaluate_outputs, evaluation_work
from hpc_lstm.evaluation.metrics_file import read_metrics
from hpc_lstm.evaluation.new_rows import refuse_other_prices
from hpc_lstm.evaluation.trained_run import on_fastest_device, open_run
from hpc_lstm.evaluation.walk_forward_table import FoldResult, write_walk_forward
from hpc_lstm.files import expanded
from hpc_lstm.market.staging import stage_store
from hpc_lstm.market.store import MarketStore
from hpc_lstm.parallel.world import World
from hpc_lstm.preprocess import prepare
from hpc_lstm.preprocess.folds import Fold, make_folds
from hpc_lstm.preprocess.host_backend import HostBackend
from hpc_lstm.preprocess.recorded_split import recorded_split
from hpc_lstm.preprocess.split import target_days
from hpc_lstm.runs import directory
from hpc_lstm.runs.directory import RunDirectory
from hpc_lstm.training.loop import train
from hpc_lstm.training.warm_start import WarmStart

# Of the days before a test block, where the run's own split has dates: the defaults of train and validation.
VALIDATION_SHARE = 0.15 / 0.85
# Settings that a run may go on with otherwise, but that change what a finished one has come to.
OF_RESULTS = (
    "train.epochs",
    "train.patience",
    "train.precision",
    "forecast.calibration",
    "forecast.coverage",
)


@dataclass(frozen=True)
class WalkForward:
    """How to walk.

    Attributes:
        folds: test blocks.
        rolling: train days of each fold, at most; 0: all there are.
        refit_every: folds between trainings; 0: the first fold's model is tested on all.
        embargo: days left out at the end of train and of validation.
        warm_start: begin each training with the weights of the one before.
    """

    folds: int
    rolling: int = 0
    refit_every: int = 1
    embargo: int = 0
    warm_start: bool = False

    @property
    def name(self) -> str:
        """Of the folder of its folds: other settings, other folds."""
        window = f"rolling-{self.rolling}" if self.rolling else "expanding"
        warm = "-warm" if self.warm_start else ""
        return f"{self.folds}-{window}-refit-{self.refit_every}-embargo-{self.embargo}{warm}"

    def trained_at(self, fold: int) -> int:
        """The number of the fold whose model is tested on a fold, both from 1."""
        return 1 if not self.refit_every else fold - (fold - 1) % self.refit_every


def walk_forward(
    run_dir: str | Path, how: WalkForward, world: World, store_path: str | Path | None = None
) -> list[FoldResult]:
    """Train and test a run's settings fold by fold, and write ``walk_forward.json``; collective.

    Args:
        store_path: another market store than the run's own.

    Raises:
        InputError: no run, too few days, finished folds of other settings or prices, or what ``train`` raises.
        StopRequested: a signal came; the same call goes on from there.
    """
    files = directory.at(run_dir)
    config = world.raise_on_all(files.load_config)
    if store_path is not None:
        given = world.raise_on_all(lambda: expanded(store_path).absolute())
        config = _with_data(config, {"store": str(given)})
    folds = _find_folds(config, how, world)
    folder = files.path / "walk_forward" / how.name
    results = []
    for fold in folds:
        number = how.trained_at(fold.number)
        trained = RunDirectory(folder / f"fold-{number}")
        if number == fold.number:
            before = folder / f"fold-{how.trained_at(number - 1)}" if how.warm_start and number > 1 else None
            table = _train_fold(_settings(config, fold, how), trained, fold, before, world)
        else:
            table = _test_fold(trained, fold, world)
        results.append(FoldResult(fold.number, number, _days(fold), table))
    asked = {"rolling": how.rolling, "refit_every": how.refit_every, "embargo": how.embargo}
    if world.rank == 0:
        write_walk_forward(files.walk_forward, results, asked)
    world.barrier()
    return results


def _find_folds(config: RunConfig, how: WalkForward, world: World) -> list[Fold]:
    path = stage_store(config.data.store, world)
    with world.raise_on_all(lambda: MarketStore(path)) as store:
        everyone = config.data.model_copy(update={"shard": ""})
        chosen = world.raise_on_all(lambda: np.array(prepare.chosen_symbols(store, everyone), np.int64))
        days = target_days(store, chosen, config.data, world)
    shares = config.data.split_shares
    share = shares[1] / (shares[0] + shares[1]) if shares else VALIDATION_SHARE
    return world.raise_on_all(
        lambda: make_folds(days, how.folds, share, embargo=how.embargo, rolling=how.rolling)
    )


def _settings(config: RunConfig, fold: Fold, how: WalkForward) -> RunConfig:
    """A fold's settings: its days; checkpoints in its own directory; no other clusters."""
    apart = {"storage": StorageConfig(), "sync": SyncConfig()}
    data = fold.applied_to(config.data.model_copy(update={"shard": ""}), how.embargo)
    return config.model_copy(update={"data": data, **apart})


def _with_data(config: RunConfig, changes: dict[str, Any]) -> RunConfig:
    return config.model_copy(update={"data": config.data.model_copy(update=changes)})


def _train_fold(
    config: RunConfig, files: RunDirectory, fold: Fold, before: Path | None, world: World
) -> dict[str, Any]:
    """The metrics of a fold's test part; it is trained unless that is done."""
    done = world.bcast(files.metrics.exists())
    if done:
        _require_same(config, files, world)
    else:
        start = WarmStart(str(before), False) if before is not None else None
        try:
            train(config, files, world, resume=True, warm_start=start)
        except StopRequested:
            stop = StopRequested(f"stopped in fold {fold.number}; run the same command again to continue")
            raise world.on_all_ranks(stop) from None
    return _test_table(world.raise_on_all(lambda: read_metrics(files)), fold, world)


def _require_same(config: RunConfig, files: RunDirectory, world: World) -> None:
    """Refuse a finished fold of other settings, days or prices: its model is not that of this walk; collective.

    Raises:
        InputError: it is one, or damaged.
    """
    advice = f"remove {files.path.parent} to start over"

    def compare_settings() -> None:
        before = files.load_config()
        now = configuration.with_left_out_of(before, config)
        changed = [
            f"{key} (was {was!r}, now {new!r})"
            for key, was, new in configuration.differences(before, now)
            if key in OF_RESULTS or key not in configuration.free_on_resume()
        ]
        if changed:
            raise InputError(f"{files.path}: was trained with other settings: {', '.join(changed)}; {advice}")

    world.raise_on_all(compare_settings)
    refuse_other_prices(files, stage_store(config.data.store, world), world, advice)


def _test_fold(files: RunDirectory, fold: Fold, world: World) -> dict[str, Any]:
    """The metrics of an earlier fold's model on this one's test part."""
    trained = world.raise_on_all(lambda: open_run(files.path, world.threads))
    data = trained.config.data
    path = stage_store(data.store, world)
    with world.raise_on_all(lambda: MarketStore(path)) as store:
        before = world.raise_on_all(lambda: recorded_split(trained.files, trained.config, store.date_unit))
        _, own = prepare.window_index(store, fold.applied_to(data, embargo=0), world)
        assert before is not None
        assert own is not None
        # Train days are those that the model knows, so that baselines know no more; there is no validation.
        cut = replace(
            before,
            validation_end=before.train_end,
            validation_opens=before.train_end,
            test_opens=own.validation_end,
            test_end=own.test_end,
        )
        prepared = prepare.prepare(store, data, world, HostBackend(), trained.scaler, split_dates=cut)
        trained = on_fastest_device(trained, evaluation_work(prepared, world), world)
        found = evaluate_outputs(
            *(trained.predict, trained.head, trained.intervals, prepared, world), date_unit=store.date_unit
        )
        prepared.close()
    return _test_table(found.metrics, fold, world)


def _test_table(metrics: dict[str, Any], fold: Fold, world: World) -> dict[str, Any]:
    table: dict[str, Any] | None = metrics["test"]
    if table is None:
        raise world.on_all_ranks(
            InputError(
                f"fold {fold.number}: no symbol has a window to test from {fold.test_from} to {fold.until}; "
                "ask for fewer folds"
            )
        )
    return table


def _days(fold: Fold) -> dict[str, str]:
    return {
        "train_begins": fold.train_from,
        "validation_begins": fold.validation_from,
        "test_begins": fold.test_from,
        "test_ends": fold.until,
    }
