"""``hpc-lstm tune``: try settings, and write down which are best on validation."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hpc_lstm import config as configuration
from hpc_lstm.config import RunConfig
from hpc_lstm.errors import InputError
from hpc_lstm.files import expanded, write_text
from hpc_lstm.parallel.world import World
from hpc_lstm.text.counts import counted
from hpc_lstm.tuning.adaptive import run_adaptive
from hpc_lstm.tuning.search import candidates
from hpc_lstm.tuning.settings import TuneConfig, load_tune, with_settings
from hpc_lstm.tuning.tpe import load_optuna
from hpc_lstm.tuning.trials import Trial, run_trials, without_test

SHOWN = 10


def run_command(
    file: str,
    output: str,
    world: World,
    log: Callable[[str], None],
    present: Callable[[Any], None] | None = None,
) -> None:
    """Try the settings that a file names, and write ``trials.csv`` and ``best.toml``; collective.

    Args:
        file: TUNE.toml.
        output: the folder; one that holds other trials is refused.
        log: takes lines for the user.
        present: takes all trials as data, the best first.

    Raises:
        ConfigError, InputError: the file, its config, the store or the folder is wrong, or every trial failed.
        StopRequested: a signal came; the same call goes on from there.
    """
    tune, base = world.raise_on_all(lambda: load_tune(file))
    if tune.tune.search == "tpe":
        world.raise_on_all(load_optuna)
    folder = world.raise_on_all(lambda: expanded(output).absolute())
    common = without_test(base, world)
    world.raise_on_all(lambda: _begin(folder, tune, common) if world.rank == 0 else None)
    if tune.tune.search == "tpe":
        trials = run_adaptive(tune, common, folder, world, log)
    else:
        trials = run_trials(common, candidates(tune), folder, world, log)
    world.raise_on_all(lambda: _finish(folder, base, trials, log) if world.rank == 0 else None)
    if present is not None and world.rank == 0:
        present(_as_data(_ranked(trials)))


def _begin(folder: Path, tune: TuneConfig, common: RunConfig) -> None:
    """Make the folder, or check that it holds trials of the same space; on rank 0."""
    import tomli_w

    # More trials may join: they do not change those that there are.
    asked = {**tune.model_dump(), "common": common.model_dump()}
    del asked["tune"]["trials"]
    text = tomli_w.dumps(asked)
    file = folder / "tune.toml"
    if file.exists():
        if file.read_bytes() != text.encode():
            raise InputError(
                f"{folder}: holds trials of another file, config or store; choose another --output, or remove "
                f"the folder"
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_text(file, text)


def _finish(folder: Path, base: RunConfig, trials: list[Trial], log: Callable[[str], None]) -> None:
    """Write the results and show the best; on rank 0."""
    ranked = _ranked(trials)
    keys = list(trials[0].values)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "validation_rmsse", "epochs", *keys, "failure"])
    for trial in ranked:
        values = [trial.values[key] for key in keys]
        error = "" if trial.error is None else f"{trial.error:.9g}"
        writer.writerow([trial.number, error, f"{trial.epochs:g}", *values, trial.failure])
    write_text(folder / "trials.csv", text.getvalue())
    best = ranked[0]
    if best.error is None:
        raise InputError(f"all {len(trials)} trials failed, the first because: {trials[0].failure}")
    write_text(folder / "best.toml", configuration.dump(with_settings(base, best.values, "best trial")))
    log(f"\n{_table(ranked[:SHOWN], keys)}")
    failed = sum(trial.error is None for trial in trials)
    log(
        f"\nBest of {counted(len(trials), 'trial')}{f' ({failed} failed)' if failed else ''} on validation: trial "
        f"{best.number}. Its "
        "error there flatters it, as it is the smallest of many; test it once:\n"
        f"  hpc-lstm train {shlex.quote(str(folder / 'best.toml'))}\n"
        f"All trials: {folder / 'trials.csv'}"
    )


def _ranked(trials: list[Trial]) -> list[Trial]:
    """The best first, those that failed last."""
    return sorted(trials, key=lambda trial: (trial.error is None, trial.error, trial.number))


def _as_data(trials: list[Trial]) -> list[dict[str, Any]]:
    return [
        {
            "trial": trial.number,
            "validation_rmsse": trial.error,
            "epochs": trial.epochs,
            "settings": trial.values,
            "failure": trial.failure,
        }
        for trial in trials
    ]


def _table(trials: list[Trial], keys: list[str]) -> str:
    rows = [["trial", "RMSSE", *keys]]
    for trial in trials:
        error = "failed" if trial.error is None else f"{trial.error:.4f}"
        rows.append([str(trial.number), error, *(str(trial.values[key]) for key in keys)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
    )
