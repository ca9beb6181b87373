"""A search in batches: as many trials as there are ranks, then suggestions that know how those went.

``suggested.json`` in the folder is the list of all settings that were suggested, in the order of the trials. A call
that goes on, perhaps on another number of ranks, takes them from there.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hpc_lstm.config import RunConfig
from hpc_lstm.errors import damage_in
from hpc_lstm.files import read_text, write_text
from hpc_lstm.parallel.world import World
from hpc_lstm.tuning.settings import TuneConfig
from hpc_lstm.tuning.tpe import suggest
from hpc_lstm.tuning.trials import Trial, run_trials

SUGGESTED = "suggested.json"


def run_adaptive(
    tune: TuneConfig, base: RunConfig, folder: Path, world: World, log: Callable[[str], None]
) -> list[Trial]:
    """Suggest and train until there are ``tune.trials``, or the space holds no more; collective.

    Args:
        base: what ``without_test`` gave.
        folder: of the trials.
        log: takes a line for each trial that this rank has finished.

    Raises:
        InputError: Optuna is not installed, or ``suggested.json`` is damaged.
        StopRequested: a signal came on some rank; the same call goes on from there.
    """
    wanted = tune.tune.trials
    suggested = world.bcast(world.raise_on_all(lambda: _read(folder) if world.rank == 0 else []))[:wanted]
    done: list[Trial] = []
    while len(done) < wanted:
        if len(suggested) == len(done):
            suggested += _next(tune, done, folder, world)
        if len(suggested) == len(done):
            break
        done += run_trials(
            base, suggested[len(done) :], folder, world, log, first=len(done) + 1, total=wanted
        )
    return done


def _next(tune: TuneConfig, done: list[Trial], folder: Path, world: World) -> list[dict[str, Any]]:
    """Suggestions for all ranks, written down before they are tried; collective."""

    def ask() -> list[dict[str, Any]]:
        found = suggest(tune, done, min(world.size, tune.tune.trials - len(done)))
        known = [trial.values for trial in done]
        write_text(folder / SUGGESTED, json.dumps([*known, *found], indent=1) + "\n")
        return found

    return list(world.bcast(world.raise_on_all(lambda: ask() if world.rank == 0 else [])))


def _read(folder: Path) -> list[dict[str, Any]]:
    file = folder / SUGGESTED
    if not file.exists():
        return []
    with damage_in(file, "remove the folder to start over"):
        return [dict(values) for values in json.loads(read_text(file))]
