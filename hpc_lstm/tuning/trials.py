"""Trials: runs of one rank each, side by side on the ranks, which never see the test part.

They are split on the days on which the config is, and their prices end with the last validation day. So nothing of the
test part can tell which settings are good, and none of its errors can be looked at by mistake.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpc_lstm import config as configuration
from hpc_lstm.config import RunConfig
from hpc_lstm.errors import (
    CheckpointError,
    CheckpointWriteError,
    CudaError,
    GpuMemoryError,
    HpcLstmError,
    InputError,
    StopRequested,
    StorageError,
    TakenError,
    damage_in,
)
from hpc_lstm.evaluation.metrics_file import read_metrics
from hpc_lstm.evaluation.new_rows import refuse_other_prices
from hpc_lstm.files import read_text, write_text
from hpc_lstm.market.staging import stage_store
from hpc_lstm.market.store import MarketStore
from hpc_lstm.parallel import gpu
from hpc_lstm.parallel.world import World
from hpc_lstm.preprocess import prepare
from hpc_lstm.preprocess.split import target_days
from hpc_lstm.runs import directory
from hpc_lstm.training.loop import train
from hpc_lstm.tuning.settings import with_settings

# The metric that trials are judged by: it has no unit, so that targets and windows may differ.
JUDGED_BY = "rmsse"
FAILED = "failed.json"
OF_THE_MACHINE = (OSError, StorageError, CheckpointError, CudaError, TakenError)

# Error numbers of a disk or a quota that takes no more.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass(frozen=True)
class Trial:
    """What became of a trial.

    Attributes:
        number: from 1.
        values: its settings by ``section.key``.
        error: its scaled error on validation; None if it failed.
        epochs: trained.
        failure: why it failed.
    """

    number: int
    values: dict[str, Any]
    error: float | None
    epochs: float = 0.0
    failure: str = ""


def without_test(base: RunConfig, world: World) -> RunConfig:
    """The settings of all trials: the days of the config's split, and nothing after validation; collective.

    Raises:
        InputError: the config splits each symbol by itself, or has no validation part; or the store cannot be used.
    """
    data = base.data
    path = stage_store(data.store, world)
    with world.raise_on_all(lambda: MarketStore(path)) as store:
        chosen = world.raise_on_all(lambda: np.array(prepare.chosen_symbols(store, data), np.int64))
        days = target_days(store, chosen, data, world)
        _, cut = prepare.window_index(store, data, world)
        unit = store.date_unit
    if cut is None:
        raise world.on_all_ranks(
            InputError(
                'data.split_by = "symbol": tuning needs days that are validation for all symbols; use "date"'
            )
        )
    # Where shares cut an intraday store in the midst of a day, no trial is judged by that day.
    following = np.timedelta64(0 if unit != "D" and data.split_shares is not None else 1, "D")
    opens = cut.train_end if cut.validation_opens is None else cut.validation_opens
    tested = cut.validation_end if cut.test_opens is None else cut.test_opens
    trained, end, border = (
        np.array(date, f"datetime64[{unit}]").astype("datetime64[D]")
        for date in (opens, cut.validation_end, tested)
    )
    validation = days[(days > trained) & (days < end + following)]
    if not len(validation):
        raise world.on_all_ranks(
            InputError("data.split: has no validation part, on which tuning judges; give it a share")
        )
    first, last = str(validation[0]), str(validation[-1])
    changes = {"split": [first, str(border + following)], "until": last}
    return base.model_copy(update={"data": configuration.DataConfig(**{**data.model_dump(), **changes})})


def run_trials(
    base: RunConfig,
    candidates: list[dict[str, Any]],
    folder: Path,
    world: World,
    log: Callable[[str], None] = lambda line: None,
    *,
    first: int = 1,
    total: int | None = None,
) -> list[Trial]:
    """Train every candidate, each on one rank; those that are done are read. Collective.

    Args:
        base: what ``without_test`` gave.
        log: takes a line for each trial that this rank has finished.
        first: number of the first candidate's trial.
        total: trials of the search; None: as many as candidates.

    Raises:
        InputError: a trial that is done was trained on other prices; or a disk is full, which no other trial would
            find otherwise.
        StopRequested: a signal came on some rank; the same call goes on from there.
    """
    gpu.assign_gpu(world)
    own = list(enumerate(candidates, first))[world.rank :: world.size]
    # Before any rank trains: one that ends alone would leave the others waiting for it.
    world.raise_on_all(lambda: _refuse_other_prices(base, (_folder(folder, n) for n, _ in own), world))
    mine: list[Trial] = []
    ended: HpcLstmError | None = None
    for number, values in own:
        try:
            trial = _run_trial(base, values, _folder(folder, number), number, world)
        except StopRequested:
            ended = StopRequested("stopped; run the same command again to continue")
            break
        except HpcLstmError as error:
            if not _concerns_all_trials(error):
                raise
            ended = InputError(f"trial {number}: {error}; then run the same command again to continue")
            break
        mine.append(trial)
        log(_line(trial, total or len(candidates)))
    reasons = [reason for reason in world.allgather(ended) if reason is not None]
    if reasons:
        raise world.on_all_ranks(next((one for one in reasons if isinstance(one, StopRequested)), reasons[0]))
    return sorted((trial for rank in world.allgather(mine) for trial in rank), key=lambda trial: trial.number)


def _folder(folder: Path, number: int) -> Path:
    return folder / f"trial-{number:03d}"


def _refuse_other_prices(base: RunConfig, folders: Iterable[Path], world: World) -> None:
    """Refuse trials that are done and were trained on other prices: the folder vouches for their settings alone."""
    for path in folders:
        files = directory.at(path)
        if files.metrics.exists() and not (files.path / FAILED).exists():
            advice = f"remove {files.path}, and the trial runs again"
            refuse_other_prices(files, Path(base.data.store), _alone(world), advice)


def _run_trial(base: RunConfig, values: dict[str, Any], path: Path, number: int, world: World) -> Trial:
    files = directory.at(path)
    failed = files.path / FAILED
    if failed.exists():
        return Trial(number, values, None, failure=_failure(failed))
    try:
        config = with_settings(base, values, f"trial {number}")
        if not files.metrics.exists():
            with _quiet():
                train(config, files, _alone(world), resume=True)
        metrics = read_metrics(files)
    except StopRequested:
        raise
    except HpcLstmError as error:
        if _concerns_all_trials(error):
            raise
        trial = Trial(number, values, None, failure=" ".join(str(error).split()))
        if not _is_of_the_machine(error):
            files.path.mkdir(parents=True, exist_ok=True)
            write_text(failed, json.dumps(asdict(trial)) + "\n")
        return trial
    with damage_in(files.metrics, f"remove the folder {files.path}, and the trial runs again"):
        judged = (metrics["validation"] or {}).get("model", {}).get(JUDGED_BY)
        failure = "" if judged is not None else "no price follows from its forecasts, or they are not finite"
        scaled = None if judged is None else float(judged)
        return Trial(number, values, scaled, float(metrics.get("epochs", 0.0)), failure)


def _is_of_the_machine(error: BaseException) -> bool:
    """True if a disk, an object store, a GPU or another job ended a trial, not its settings: the next call makes it."""
    for link in _causes(error):
        if isinstance(link, GpuMemoryError):  # lower settings would fit
            return False
        if isinstance(link, OF_THE_MACHINE):
            return True
    return False


def _concerns_all_trials(error: BaseException) -> bool:
    """True if nothing can be written any more: another trial would only find the same, after training for nothing."""
    return any(
        isinstance(link, CheckpointWriteError) or (isinstance(link, OSError) and link.errno in FULL)
        for link in _causes(error)
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def _failure(path: Path) -> str:
    """Why a trial failed when it was made.

    Raises:
        InputError: the file is damaged.
    """
    try:
        return str(json.loads(read_text(path))["failure"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"{path}: is damaged; remove it, and the trial runs again") from None


def _alone(world: World) -> World:
    """A world of this rank alone: a trial meets no other rank, but knows what the rank was asked to stop by."""
    return World(node=world.node, threads=world.threads, library=world.library, signals=world.signals)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """A trial's log is in its folder; side by side on one terminal they could not be read."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def _line(trial: Trial, trials: int) -> str:
    settings = ", ".join(f"{key} = {json.dumps(value)}" for key, value in trial.values.items())
    result = f"failed: {trial.failure}" if trial.error is None else f"{trial.error:.4f}"
    return f"trial {trial.number} of {trials}: {result}  {settings}"
